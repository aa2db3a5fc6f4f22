"""Requests and tokens per minute: what a limiter is, and one for a single process."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

BURST_S = 0.25
"""How far a limiter that was idle lets the rate run ahead: 0.4 % of a minute."""


class RateLimiter(Protocol):
    """Shares a budget of requests and tokens per minute among all who ask it."""

    def acquire(self, requests: int, tokens: int) -> float:
        """Books that much, and returns for how many seconds it must not be sent yet: 0 when it may go at once.

        What is booked stays booked, even if it is never sent. Called from several threads."""
        ...


class LocalRateLimiter:
    """For the callers of one process. The limits are attributes and may be changed at any time; what was booked before
    keeps its place. None: no limit."""

    def __init__(
        self,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        self._clock, self._lock = clock, threading.Lock()
        self._requests_free_at = self._tokens_free_at = -float("inf")

    def acquire(self, requests: int, tokens: int) -> float:
        """See RateLimiter."""
        with self._lock:
            now = self._clock()
            requests_at, self._requests_free_at = _book(self._requests_free_at, now, requests, self.requests_per_minute)
            tokens_at, self._tokens_free_at = _book(self._tokens_free_at, now, tokens, self.tokens_per_minute)
            return max(0.0, requests_at - now, tokens_at - now)


def _book(free_at: float, now: float, amount: int, per_minute: float | None) -> tuple[float, float]:
    """When the amount may be sent, and when the next may: the amount takes the time in which its rate lets it through.
    Nothing that large need fit into a burst, and a changed rate holds from the next booking on."""
    if per_minute is None:
        return now, free_at
    starts = max(free_at, now - BURST_S)
    return starts, starts + amount * 60 / per_minute
