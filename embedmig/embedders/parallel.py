"""Runs the requests of one call side by side."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

Work = Callable[[T, Callable[[], bool]], None]
"""Does one item; the second argument says whether its result is still wanted."""


def for_each(items: Sequence[T], work: Work[T], *, threads: int) -> None:
    """Calls ``work`` on every item, in order, on up to ``threads`` threads; in the caller's own when one is enough.

    Raises the first error as soon as it comes (KeyboardInterrupt too): what is still under way learns that it is no
    longer wanted, ends by itself, and keeps nobody waiting.
    """
    if min(threads, len(items)) <= 1:
        for item in items:
            work(item, lambda: True)
        return
    run = _Run(items, work)
    for _ in range(min(threads, len(items))):
        # Daemons: a request in flight must not hold up the end of the process.
        threading.Thread(target=run.work_off, name="embedmig request", daemon=True).start()
    run.wait()


class _Run(Generic[T]):
    def __init__(self, items: Sequence[T], work: Work[T]) -> None:
        self._items: Iterator[T] = iter(items)
        self._work, self._left = work, len(items)
        self._error: BaseException | None = None
        self._over = threading.Event()
        self._lock = threading.Lock()

    def work_off(self) -> None:
        while (item := self._take()) is not None:
            try:
                self._work(item[0], self._is_wanted)
            except BaseException as error:  # noqa: BLE001
                self._end(error)
            else:
                self._count_down()

    def wait(self) -> None:
        try:
            self._over.wait()
        finally:
            self._over.set()
        if self._error is not None:
            raise self._error

    def _is_wanted(self) -> bool:
        return not self._over.is_set()

    def _take(self) -> tuple[T] | None:
        with self._lock:
            if self._over.is_set():
                return None
            for item in self._items:
                return (item,)
        return None

    def _end(self, error: BaseException) -> None:
        with self._lock:
            if not self._over.is_set():
                self._error = error
                self._over.set()

    def _count_down(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._over.set()
