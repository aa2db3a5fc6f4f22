"""Requests and tokens per minute of a model, shared by all who embed with it, on however many machines."""

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psycopg

from embedmig.db import Connection, Database, Queries
from embedmig.db.connection import translated_errors
from embedmig.errors import UsageError
from embedmig.types import Model

QUERIES = Queries(__package__, "rates.sql")

_BURST_S = 0.25
"""How far a rate may run ahead after a lull: 0.4 % of a minute."""
_UNLIMITED_FOR_S = 5.0
"""How long a model without limits is not asked about again."""


@dataclass(frozen=True, kw_only=True)
class RateLimits:
    """What a provider allows; None: as much as one likes."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


def get_limits(conn: Connection, model: Model) -> RateLimits:
    """The limits of a registered model."""
    row = conn.execute(QUERIES["find_limits"], {"model_id": model.id}).fetchone()
    return RateLimits() if row is None else RateLimits(**row)


def set_limits(conn: Connection, model: Model, limits: RateLimits) -> None:
    """Sets both limits; jobs under way keep to them within seconds. Raises UsageError unless they are above 0."""
    for value in (limits.requests_per_minute, limits.tokens_per_minute):
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"a limit per minute is above 0, not {value:g}; None takes it off")
    conn.execute(
        QUERIES["set_limits"],
        {
            "model_id": model.id,
            "requests_per_minute": limits.requests_per_minute,
            "tokens_per_minute": limits.tokens_per_minute,
        },
    )


class SharedRateLimiter:
    """The limits of one model as ``embedders.RateLimiter`` has them, on a connection of its own. Use it in ``with``.

    A limit that is changed holds from the next booking on; one that is set where there was none, within 5 seconds. A
    connection that broke is opened anew.
    """

    def __init__(self, db: Database, model: Model) -> None:
        self._db, self._model = db, model
        self._lock = threading.Lock()
        self._opened = ExitStack()
        self._conn: Connection | None = None
        self._unlimited_until = -float("inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._close()

    def acquire(self, requests: int, tokens: int) -> float:
        """Books that much, and returns for how many seconds it must not be sent yet. Raises DatabaseError."""
        with self._lock:
            if time.monotonic() < self._unlimited_until:
                return 0.0
            try:
                return self._book(requests, tokens)
            except psycopg.OperationalError:
                self._close()
            with translated_errors():
                return self._book(requests, tokens)

    def _book(self, requests: int, tokens: int) -> float:
        if self._conn is None:
            self._conn = self._opened.enter_context(self._db.connect())
        row = self._conn.execute(
            QUERIES["book_request"],
            {"model_id": self._model.id, "requests": requests, "tokens": tokens, "burst_s": _BURST_S},
        ).fetchone()
        if row is None:
            self._unlimited_until = time.monotonic() + _UNLIMITED_FOR_S
            return 0.0
        wait_s: float = row["wait_s"]
        return max(0.0, wait_s)

    def _close(self) -> None:
        self._conn = None
        self._opened.close()
