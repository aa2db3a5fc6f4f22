"""Tells the backfill which bridged rows searches bring up: beside the caller's path, a second at a time, bounded."""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import psycopg
from psycopg import errors as pg

from embedmig.backfill.refining import Refinery
from embedmig.catalog.found import report_found
from embedmig.db.connection import translated_errors
from embedmig.errors import EmbedmigError
from embedmig.search.embedding import load_checked
from embedmig.search.hits import Hit
from embedmig.types import Collection, Slot

EVERY_S = 1.0
REST_S = 60.0
"""After a report failed: on a standby, say, none will go."""
ROWS_KEPT = 5_000
"""So many different rows between two reports; what is shown often comes again."""
EMBEDDED_AT_ONCE = 64

_log = logging.getLogger(__name__)


class Finder:
    """Of one searcher. The thread starts with the first bridged hit, in a forked process anew. ``embeds``: it also
    embeds what was found, beside whatever worker does."""

    def __init__(self, url: str, collection: str, *, embeds: bool) -> None:
        self._url, self._name, self._embeds = url, collection, embeds
        self._slots: dict[int, tuple[Collection, Slot]] = {}
        self._stopped = threading.Event()
        self._refinery: Refinery | None = None
        self._fails = False
        self._rests_until = 0.0
        self._begin()

    def _begin(self) -> None:
        """In a forked process anew: what the parent counted is its own to tell, its locks may be held for ever, and its
        connection is kept from being closed and never used here."""
        self._lock, self._working = threading.Lock(), threading.Lock()
        self._shown: dict[int, Counter[Any]] = {}
        self._inherited, self._refinery = self._refinery, None
        self._runs, self._process = False, os.getpid()

    def note(self, collection: Collection, slot: Slot, hits: Sequence[Hit]) -> None:
        """Takes the bridged ones among what was shown. Returns at once."""
        keys = [hit.key for hit in hits if hit.bridged]
        if not keys or self._stopped.is_set():
            return
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            self._slots[slot.id] = (collection, slot)
            shown = self._shown.setdefault(slot.id, Counter())
            for key in keys:
                if len(shown) < ROWS_KEPT or key in shown:
                    shown[key] += 1
            starts, self._runs = not self._runs, True
        if starts:
            threading.Thread(target=self._run, name=f"embedmig-found-{self._name}", daemon=True).start()

    def flush(self) -> None:
        """Reports what was found since the last time, and embeds it where that is asked for. Never raises."""
        if self._process != os.getpid():
            self._begin()
        if time.monotonic() < self._rests_until:
            return
        with self._working:
            with self._lock:
                taken, self._shown = self._shown, {}
            for slot_id, shown in taken.items():
                collection, slot = self._slots[slot_id]
                try:
                    with translated_errors():
                        self._tell(collection, slot, shown)
                except EmbedmigError as error:
                    self._complain(error)
                else:
                    self._fails = False

    def close(self) -> None:
        """Reports the rest, embeds nothing more, and ends the thread."""
        self._stopped.set()
        self.flush()
        with self._working:
            if self._refinery is not None:
                self._refinery.close()

    def _run(self) -> None:
        while not self._stopped.wait(EVERY_S):
            self.flush()

    def _tell(self, collection: Collection, slot: Slot, shown: Counter[Any]) -> None:
        refinery = self._open(collection)
        given = [key for key, _ in shown.most_common()]
        keys = refinery.key_texts(given)
        report_found(refinery.connection(), slot.id, {text: shown[key] for text, key in zip(keys, given, strict=True)})
        for start in range(0, len(keys) if self._embeds else 0, EMBEDDED_AT_ONCE):
            if self._stopped.is_set() or refinery.refine(slot, keys[start : start + EMBEDDED_AT_ONCE]).held:
                return

    def _open(self, collection: Collection) -> Refinery:
        if self._refinery is None:
            self._refinery = Refinery(self._url, collection, partial(load_checked, self._url))
        return self._refinery

    def _complain(self, error: EmbedmigError) -> None:
        """Once, until it goes well again. A standby takes no report, and its searches go on without."""
        cause = error.__cause__
        if isinstance(cause, psycopg.OperationalError | pg.ReadOnlySqlTransaction):
            assert self._refinery is not None
            self._refinery.close()
        self._rests_until = time.monotonic() + REST_S
        if not self._fails:
            _log.warning("%s: what searches find is not embedded first for now: %s", self._name, error)
        self._fails = True
