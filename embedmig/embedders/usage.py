"""What the use of a model has taken so far."""

import threading
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Usage:
    """A reading; the difference of two is what was used in between."""

    requests: int = 0
    """Sent, those sent again included."""
    retries: int = 0
    """Of these, the ones sent because another had failed."""
    tokens: int = 0
    """Billed, as the provider counts them; estimated where it does not say."""

    def __sub__(self, earlier: "Usage") -> "Usage":
        return Usage(
            requests=self.requests - earlier.requests,
            retries=self.retries - earlier.retries,
            tokens=self.tokens - earlier.tokens,
        )

    def cost(self, price_per_million_tokens: float | None) -> float | None:
        """In the price's currency; None without a price."""
        return None if price_per_million_tokens is None else self.tokens * price_per_million_tokens / 1e6


class UsageMeter:
    """Counts from several threads."""

    def __init__(self) -> None:
        self._usage, self._lock = Usage(), threading.Lock()

    def add(self, *, requests: int = 0, retries: int = 0, tokens: int = 0) -> None:
        """Adds to the reading."""
        with self._lock:
            self._usage = Usage(
                requests=self._usage.requests + requests,
                retries=self._usage.retries + retries,
                tokens=self._usage.tokens + tokens,
            )

    def read(self) -> Usage:
        """What was used since the meter was made."""
        return self._usage
