"""A worker's models: within their limits, their fingerprints checked, what they bill counted."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from embedmig.backfill.embedding import SlotEmbedder
from embedmig.backfill.reading import Source
from embedmig.backfill.tokens import TokenCounter
from embedmig.backfill.vector_cache import VectorCache
from embedmig.catalog.models import get_fingerprint
from embedmig.catalog.rates import SharedRateLimiter
from embedmig.db import Connection, Database, Queries
from embedmig.embedders import Embedder, Fingerprint, LoadedEmbedder, check_fingerprint
from embedmig.types import Model, Slot

QUERIES = Queries(__package__, "job_models.sql")

Loader = Callable[[Model], Embedder]

_MOST_THREADS = 8


class JobModels:
    """The slots' models, each loaded when its first text comes, its fingerprint checked then and every few minutes.

    Use it in ``with``: the limits that all workers of a model share are booked on connections that close with it.
    """

    def __init__(self, db: Database, load: Loader, stop: threading.Event, *, check_every_s: float) -> None:
        self.halted = threading.Event()
        """Set while the stages of the worker end because one failed: waits for a provider end too."""
        self._db, self._load, self._stop, self._check_every_s = db, load, stop, check_every_s
        self._lock = threading.Lock()
        self._opened = ExitStack()
        self._fingerprints: dict[int, Fingerprint | None] = {}
        self._ready: dict[int, SlotEmbedder] = {}
        self._checked: dict[int, float] = {}

    def __enter__(self) -> "JobModels":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def learn(self, conn: Connection, slots: Sequence[Slot]) -> None:
        """Reads the fingerprints that the models must still have."""
        for slot in slots:
            stored = get_fingerprint(conn, slot.model)
            self._fingerprints[slot.model.id] = None if stored is None else Fingerprint.from_bytes(stored)

    def of(self, source: Source) -> SlotEmbedder:
        """The slot's model, ready. Raises FingerprintError when it is no longer the one that was registered."""
        slot = source.slot
        with self._lock:
            work = self._ready.get(slot.id)
            if work is None:
                work = self._ready[slot.id] = self._open(slot)
            self._check(work)
        return work

    @property
    def ready(self) -> list[SlotEmbedder]:
        """Those loaded so far."""
        return list(self._ready.values())

    def book_leftover(self, conn: Connection) -> None:
        """Counts for the job what was billed and belongs to no group that was written: what failed, or was dropped."""
        for slot_id, work in list(self._ready.items()):
            tokens = work.take_billed()
            if tokens:
                conn.execute(QUERIES["book_tokens"], {"slot_id": slot_id, "tokens": tokens})

    def _open(self, slot: Slot) -> SlotEmbedder:
        embedder = self._within_limits(self._load(slot.model), slot.model)
        stored = self._fingerprints.get(slot.model.id)
        return SlotEmbedder(
            model=slot.model,
            vector_type=slot.vector_type,
            embedder=embedder,
            tokens=TokenCounter(embedder),
            cache=VectorCache(),
            probe=stored.vectors[0] if stored is not None and embedder.compute_type == "remote" else None,
            threads=max(1, min(_MOST_THREADS, getattr(embedder, "concurrency", 1))),
        )

    def _within_limits(self, embedder: Embedder, model: Model) -> Embedder:
        if not isinstance(embedder, LoadedEmbedder):
            return embedder
        limiter = SharedRateLimiter(self._db, model)
        ours = embedder.for_job(limiter, lambda: self._stop.is_set() or self.halted.is_set())
        if ours is not embedder:
            self._opened.enter_context(limiter)
        return ours

    def _check(self, work: SlotEmbedder) -> None:
        stored, model = self._fingerprints.get(work.model.id), work.model
        checked = self._checked.get(model.id)
        if stored is None or (checked is not None and time.monotonic() - checked < self._check_every_s):
            return
        check_fingerprint(model, stored, work.embedder)
        self._checked[model.id] = time.monotonic()
