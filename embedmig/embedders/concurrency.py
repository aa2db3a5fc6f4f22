"""How many requests may be under way at once: more as they go well, half as many when the provider is too busy."""

import threading
import time
from collections.abc import Callable

_START = 4
_POLL_S = 0.1


class AdaptiveConcurrency:
    """Additive increase, multiplicative decrease. Until the provider first says that it is too busy, the limit grows by
    one a request; later by one for each round of requests. All requests wait while a pause that the provider asked for
    lasts."""

    def __init__(self, maximum: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._maximum, self._clock = maximum, clock
        self._limit, self._under_way = float(min(_START, maximum)), 0
        self._starting = True
        self._slowed_at = self._closed_until = -float("inf")
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """Requests that may be under way at present."""
        return int(self._limit)

    def enter(self, check: Callable[[], None], *, urgent: bool = False) -> float:
        """Waits for a place, calling ``check``, which may raise to end that; ``urgent`` does not wait. Returns when the
        request starts, for ``leave``."""
        with self._changed:
            while not urgent and not self._has_place():
                check()
                self._changed.wait(_POLL_S)
            self._under_way += 1
            return self._clock()

    def leave(
        self, started_at: float, *, went_well: bool = False, too_busy: bool = False, pause_s: float = 0.0
    ) -> None:
        """Gives the place back with what came of the request; ``pause_s``: how long the provider wants no other."""
        with self._changed:
            if too_busy:
                self._slow_down(started_at)
            elif went_well and self._under_way >= self.limit:
                # Fewer at once than the limit say nothing about it.
                self._limit = min(self._maximum, self._limit + (1 if self._starting else 1 / self._limit))
            self._under_way -= 1
            if pause_s > 0:
                self._closed_until = max(self._closed_until, self._clock() + pause_s)
            self._changed.notify_all()

    def _has_place(self) -> bool:
        return self._under_way < self.limit and self._clock() >= self._closed_until

    def _slow_down(self, started_at: float) -> None:
        self._starting = False
        # Requests that were under way when the limit was last halved say nothing about the new one.
        if started_at >= self._slowed_at:
            self._limit, self._slowed_at = max(1.0, self._limit / 2), self._clock()
