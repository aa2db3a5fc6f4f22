"""A worker: three connections, the slots' statements and models, and the pipeline, begun anew after an outage."""

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import psycopg

from embedmig.backfill.chunks import Claimant
from embedmig.backfill.gate import Gate
from embedmig.backfill.groups import Group
from embedmig.backfill.hot import HotWatch, has_ann_index
from embedmig.backfill.job_models import JobModels, Loader
from embedmig.backfill.key_text import keep_key_text
from embedmig.backfill.keys import accept_raw_arrays
from embedmig.backfill.pipeline import Crew, WorkerOptions, run_pipeline
from embedmig.backfill.reading import open_source
from embedmig.backfill.targets import open_target
from embedmig.backfill.writing import Written
from embedmig.db import Connection, Database
from embedmig.embedders import load_embedder
from embedmig.errors import DatabaseError
from embedmig.types import Collection, Placement, Slot

PATIENCE_S = 60.0
"""How long a worker tries to reach a server that is gone."""


@dataclass
class WorkerStats:
    """What a worker has to say beyond what it writes into its chunks; read while it changes."""

    groups: int = 0
    rows: int = 0
    queued_again: int = 0
    hot_share: float | None = None
    hot_collapsed: bool = False
    repeated_texts: int = 0
    """Texts that needed no model call, because another row had the same."""
    truncated: int = 0
    """Texts longer than the model takes."""
    outages: int = 0
    requests: int = 0
    retries: int = 0
    """Requests to a provider, and those of them that were sent again."""
    billed: bool = False
    """The provider counts the tokens itself."""
    characters: int = 0
    counted: int = 0
    """Characters of the texts embedded, and about how many tokens they have."""


def run_worker(
    db: Database,
    collection: Collection,
    slots: Sequence[Slot],
    stop: threading.Event,
    *,
    options: WorkerOptions | None = None,
    stats: WorkerStats | None = None,
    load: Loader = load_embedder,
    patience_s: float = PATIENCE_S,
    gate: Gate | None = None,
) -> None:
    """Works on all that is to be done for ``slots`` until ``stop`` is set, together with whoever else does.

    An outage of the database costs the groups in hand: it goes on when the server is back within ``patience_s``, and
    raises DatabaseError else. Raises ProviderError (FingerprintError when the model changed) as the model does.
    """
    options, stats = options or WorkerOptions(), stats or WorkerStats()
    gate = gate or Gate(longest_s=options.longest_hold_s)
    with JobModels(db, load, stop, check_every_s=options.fingerprint_every_s) as models:
        try:
            _work_through_outages(db, collection, slots, stop, options, stats, models, patience_s, gate)
        finally:
            _sum_up(models, stats)


def _work_through_outages(
    db: Database,
    collection: Collection,
    slots: Sequence[Slot],
    stop: threading.Event,
    options: WorkerOptions,
    stats: WorkerStats,
    models: JobModels,
    patience_s: float,
    gate: Gate,
) -> None:
    down_since: float | None = None
    while not stop.is_set():
        groups = stats.groups
        try:
            return _work(db, collection, slots, stop, options, stats, models, gate)
        except DatabaseError as error:
            if not is_outage(error):
                raise
            if down_since is None or stats.groups > groups:
                down_since = time.monotonic()
            if time.monotonic() - down_since > patience_s:
                raise
            stats.outages += 1
            stop.wait(random.uniform(0.2, 1.0))  # noqa: S311


def is_outage(error: DatabaseError) -> bool:
    """Whether the server went away or refused to talk, as opposed to refusing a statement."""
    if not isinstance(error.__cause__, psycopg.OperationalError):
        return False
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P", "25P"))


def _work(
    db: Database,
    collection: Collection,
    slots: Sequence[Slot],
    stop: threading.Event,
    options: WorkerOptions,
    stats: WorkerStats,
    models: JobModels,
    gate: Gate,
) -> None:
    name = name_worker()
    with ExitStack() as stack:
        named = Database(db.url, application_name=name)
        reader, writer, pulse = (stack.enter_context(named.connect()) for _ in range(3))
        for conn in (reader, writer, pulse):
            accept_raw_arrays(conn)
            keep_key_text(conn, collection)
        sources = [open_source(reader, collection, slot) for slot in slots]
        models.learn(reader, slots)
        models.halted.clear()
        claimant = Claimant(name=name, backend=writer.info.backend_pid, lease_s=options.lease_s)
        crew = Crew(
            claimant=claimant,
            sources={source.slot.id: source for source in sources},
            targets={source.slot.id: open_target(writer, source) for source in sources},
            embedder_of=models.of,
            reader=reader,
            writer=writer,
            pulse=pulse,
            options=options,
            on_written=_watch(reader, collection, slots, stop, stats, models),
            gate=gate,
            halted=models.halted,
        )
        try:
            run_pipeline(crew, stop)
        finally:
            # On a broken connection a few tokens go uncounted; why it broke is what must be told.
            with suppress(psycopg.Error):
                models.book_leftover(pulse)


def name_worker() -> str:
    """A name for one worker's connections, by which a stuck one is found."""
    return f"embedmig {socket.gethostname()[:24]}:{os.getpid()}:{random.randrange(16**6):06x}"  # noqa: S311


def _sum_up(models: JobModels, stats: WorkerStats) -> None:
    """Brings what the models counted into the worker's stats."""
    ready = models.ready
    used = [work.usage for work in ready if work.usage is not None]
    stats.repeated_texts = sum(work.repeated for work in ready)
    stats.truncated = sum(work.tokens.truncated for work in ready)
    stats.characters = sum(work.characters for work in ready)
    stats.counted = sum(work.counted for work in ready)
    stats.billed = bool(ready) and len(used) == len(ready)
    stats.requests = sum(usage.requests for usage in used)
    stats.retries = sum(usage.retries for usage in used)


def _watch(
    conn: Connection,
    collection: Collection,
    slots: Sequence[Slot],
    stop: threading.Event,
    stats: WorkerStats,
    models: JobModels,
) -> Callable[[Group, Written, float], None]:
    in_place = any(slot.placement is Placement.COLUMN for slot in slots)
    hot = HotWatch(guarded=in_place and has_ann_index(conn, collection))

    def on_written(group: Group, written: Written, seconds: float) -> None:
        stats.groups += 1
        _sum_up(models, stats)
        stats.rows += written.rows
        stats.queued_again += written.queued_again
        if group.source.slot.placement is Placement.COLUMN and group.actions:
            hot.note(written)
            stats.hot_share, stats.hot_collapsed = hot.share, hot.collapsed
            stop.wait(hot.pause_s(seconds))

    return on_written
