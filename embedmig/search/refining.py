"""Embeds bridged candidates before a search answers: all searches of a process that wait at a moment in one batch."""

import logging
import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from embedmig.backfill.refining import Refinery
from embedmig.db.connection import translated_errors
from embedmig.errors import EmbedmigError, UsageError
from embedmig.search.embedding import load_checked
from embedmig.search.hits import Hit
from embedmig.types import Collection, Key, Slot

ROWS_AT_ONCE = 256
REST_S = 30.0
"""After it failed: without the right to write, say, it would fail for every search."""
_LOOK_AGAIN_S = 0.01

_log = logging.getLogger(__name__)


RefineMode = Literal["background", "inline"]


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """How a searcher has bridged rows embedded."""

    mode: RefineMode | None
    wait_s: float
    top: int


def read_refinement(refine: object = None, refine_ms: object = 200.0, refine_top: object = 20) -> Refinement:
    """Raises UsageError for what cannot be."""
    if refine not in (None, "background", "inline"):
        raise UsageError(f"refine is None, 'background' or 'inline', not {refine!r}")
    if isinstance(refine_ms, bool) or not isinstance(refine_ms, int | float) or not 0 < refine_ms <= 60_000:
        raise UsageError(f"refine_ms is a number of milliseconds up to 60,000, not {refine_ms!r}")
    if isinstance(refine_top, bool) or not isinstance(refine_top, int) or not 1 <= refine_top <= 1000:
        raise UsageError(f"refine_top is a whole number from 1 to 1,000, not {refine_top!r}")
    return Refinement(mode=refine, wait_s=refine_ms / 1000, top=refine_top)


@dataclass(kw_only=True)
class _Wish:
    """What one search waits for."""

    collection: Collection
    slot: Slot
    keys: Sequence[Any]
    deadline: float
    texts: list[Key] = field(default_factory=list)
    done: "Future[bool]" = field(default_factory=Future)
    """True: some of the rows may be true by now."""

    def give(self, refined: bool) -> None:
        if not self.done.done():
            self.done.set_result(refined)


class Refiner:
    """Of one searcher. The thread starts with the first wish, in a forked process anew."""

    def __init__(self, url: str, collection: str) -> None:
        self._url, self._name = url, collection
        self._stopped = threading.Event()
        self._refinery: Refinery | None = None
        self._fails = False
        self._rests_until = 0.0
        self._begin()

    def _begin(self) -> None:
        """In a forked process anew: the parent's wishes are its own to fulfil, its locks may be held for ever, and its
        connection is kept from being closed and never used here."""
        self._wishes: queue.Queue[_Wish | None] = queue.Queue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._inherited, self._refinery = self._refinery, None
        self._process = os.getpid()

    def ask(self, collection: Collection, slot: Slot, hits: Sequence[Hit], wait_s: float) -> "Future[bool] | None":
        """Has the bridged ones among ``hits`` embedded; None where there are none. What is not done when the caller
        gives up waiting is still finished, for everybody."""
        keys = [hit.key for hit in hits if hit.bridged]
        if not keys or self._stopped.is_set() or time.monotonic() < self._rests_until:
            return None
        if self._process != os.getpid():
            self._begin()
        wish = _Wish(collection=collection, slot=slot, keys=keys, deadline=time.monotonic() + wait_s)
        self._wishes.put(wish)
        with self._starting:
            # One thread for all callers: its connection is for one thread.
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"embedmig-refine-{self._name}", daemon=True)
                self._thread.start()
        return wish.done

    def close(self) -> None:
        """Finishes what is in hand; what waits is left to the backfill."""
        self._stopped.set()
        if self._thread is None or self._process != os.getpid():
            return
        self._wishes.put(None)
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._stopped.is_set():
            wishes = self._take()
            if not wishes:
                break
            try:
                with translated_errors():
                    self._fulfil(wishes)
                self._fails = False
            except EmbedmigError as error:
                self._complain(error)
            except Exception:  # noqa: BLE001  (no search may hang on it, whatever is wrong)
                _log.warning("%s: refining failed in an unforeseen way", self._name, exc_info=True)
            for wish in wishes:
                wish.give(refined=False)
        if self._refinery is not None:
            self._refinery.close()

    def _take(self) -> list[_Wish]:
        """One wish and those that wait behind it; none when it is over."""
        first = self._wishes.get()
        wishes = [] if first is None else [first]
        while wishes and sum(len(wish.keys) for wish in wishes) < ROWS_AT_ONCE:
            try:
                another = self._wishes.get_nowait()
            except queue.Empty:
                break
            if another is None:
                self._stopped.set()
                break
            wishes.append(another)
        return wishes

    def _fulfil(self, wishes: Sequence[_Wish]) -> None:
        by_slot: dict[int, list[_Wish]] = defaultdict(list)
        for wish in wishes:
            by_slot[wish.slot.id].append(wish)
        for some in by_slot.values():
            refinery = self._open(some[0].collection)
            for wish in some:
                wish.texts = refinery.key_texts(wish.keys)
            self._refine(refinery, some)

    def _refine(self, refinery: Refinery, wishes: Sequence[_Wish]) -> None:
        """Until nobody else is embedding a row that is waited for, or the last of those who wait has given up."""
        keys = list(dict.fromkeys(key for wish in wishes for key in wish.texts))
        while True:
            refined = refinery.refine(wishes[0].slot, keys)
            busy = set(refined.busy)
            for wish in wishes:
                if refined.held is not None or not busy.intersection(wish.texts):
                    wish.give(refined=refined.held is None)
            waiting = [wish for wish in wishes if not wish.done.done() and wish.deadline > time.monotonic()]
            if not waiting or self._stopped.is_set():
                break
            keys = list(refined.busy)
            time.sleep(_LOOK_AGAIN_S)
        for wish in wishes:
            wish.give(refined=True)

    def _open(self, collection: Collection) -> Refinery:
        if self._refinery is None:
            self._refinery = Refinery(self._url, collection, partial(load_checked, self._url))
        return self._refinery

    def _complain(self, error: EmbedmigError) -> None:
        """Once, until it goes well again; the next wish tries on a new connection."""
        if self._refinery is not None:
            self._refinery.close()
        self._rests_until = time.monotonic() + REST_S
        if not self._fails:
            _log.warning("%s: bridged rows are not refined for now: %s", self._name, error)
        self._fails = True
