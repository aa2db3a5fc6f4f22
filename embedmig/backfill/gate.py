"""Where a worker waits between two batches while the database suffers."""

import threading
import time

_POLL_S = 0.1


class Gate:
    """Open, or closed for a reason. Told from outside, asked by the worker."""

    def __init__(self, *, longest_s: float = 600.0) -> None:
        """``longest_s``: after so long behind a closed gate one batch is let through, so that a job never stands still
        for good."""
        self.reason: str | None = None
        """Why it is closed; None while it is open."""
        self._longest_s = longest_s

    def hold(self, reason: str | None) -> None:
        """Closes the gate, or opens it with None."""
        self.reason = reason

    def wait(self, *over: threading.Event) -> float:
        """Returns when the gate is open, one of ``over`` is set, or the longest wait has passed; gives the seconds."""
        began = time.monotonic()
        while self.reason is not None and not any(event.is_set() for event in over):
            waited = time.monotonic() - began
            if waited >= self._longest_s:
                break
            over[0].wait(min(_POLL_S, self._longest_s - waited)) if over else time.sleep(_POLL_S)
        return time.monotonic() - began
