"""How far a job is: numbers from the database, so that they are the same for all who work on it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from embedmig.db import Connection, Queries
from embedmig.types import Slot

QUERIES = Queries(__package__, "progress.sql")

_WINDOW_S = 30.0


@dataclass(frozen=True, kw_only=True)
class WorkLeft:
    """One slot's numbers at a moment."""

    rows_planned: int
    limit_rows: int | None
    state: str
    """running, paused, cancelled, or done when no job is open."""
    rows_done: int
    open_chunks: int
    held_chunks: int
    rows_written: int
    """By all workers there ever were, for the job and from the queue."""
    tokens: int
    queued: int
    lag_s: float
    waiting: int
    failures: int

    @property
    def target_rows(self) -> int:
        """How many rows of the job are to be done now."""
        return self.rows_planned if self.limit_rows is None else min(self.rows_planned, self.limit_rows)

    @property
    def filled(self) -> bool:
        """No chunk is left to be claimed or to be waited for."""
        at_limit = self.limit_rows is not None and self.rows_done >= self.limit_rows
        return self.open_chunks == 0 or (at_limit and self.held_chunks == 0)


@dataclass(frozen=True, kw_only=True)
class ReembedProgress:
    """A step of a run, all slots together."""

    collection: str
    phase: str
    """planning, embedding, draining, checking, following, paused."""
    seconds: float
    rows_planned: int
    rows_done: int
    rows_written: int
    """In this run, by all workers: rows of the job and of the queue."""
    tokens: int
    rows_per_s: float
    tokens_per_s: float
    eta_s: float | None
    queued: int
    """Entries of the queue: the lag in rows, about."""
    lag_s: float
    """How long the oldest of them waits."""
    failures: int
    hot_share: float | None = None
    """Of the in-place updates: 0 to 1."""
    held_back: str | None = None
    """What slows the run down."""


def fetch_work_left(conn: Connection, slot: Slot, since: datetime) -> WorkLeft:
    """The slot's numbers now; ``since``: see ``waiting``."""
    row = conn.execute(QUERIES["work_left"], {"slot_id": slot.id, "since": since}).fetchone()
    assert row is not None
    return WorkLeft(**row)


def fetch_now(conn: Connection) -> datetime:
    """The server's clock."""
    row = conn.execute(QUERIES["now"]).fetchone()
    assert row is not None
    now: datetime = row["now"]
    return now


class Speed:
    """Rows and tokens a second over the last half minute."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int, int]] = deque()

    def note(self, seconds: float, rows: int, tokens: int) -> tuple[float, float]:
        """Takes in the totals at ``seconds``; gives the rates (rows, tokens)."""
        self._points.append((seconds, rows, tokens))
        while len(self._points) > 2 and seconds - self._points[0][0] > _WINDOW_S:
            self._points.popleft()
        first = self._points[0]
        elapsed = seconds - first[0]
        if elapsed <= 0:
            return 0.0, 0.0
        return (rows - first[1]) / elapsed, (tokens - first[2]) / elapsed


def sum_up(
    collection: str,
    phase: str,
    work: Sequence[WorkLeft],
    *,
    seconds: float,
    rows_before: int,
    tokens_before: int,
    speed: Speed,
    hot_share: float | None = None,
    held_back: str | None = None,
) -> ReembedProgress:
    """One step out of the slots' numbers."""
    rows = sum(left.rows_written for left in work) - rows_before
    tokens = sum(left.tokens for left in work) - tokens_before
    rows_per_s, tokens_per_s = speed.note(seconds, rows, tokens)
    planned, done = sum(left.target_rows for left in work), sum(left.rows_done for left in work)
    return ReembedProgress(
        collection=collection,
        phase=phase,
        seconds=seconds,
        rows_planned=planned,
        rows_done=done,
        rows_written=rows,
        tokens=tokens,
        rows_per_s=rows_per_s,
        tokens_per_s=tokens_per_s,
        eta_s=(planned - done) / rows_per_s if rows_per_s > 0 and planned > done else None,
        queued=sum(left.queued for left in work),
        lag_s=max((left.lag_s for left in work), default=0.0),
        failures=sum(left.failures for left in work),
        hot_share=hot_share,
        held_back=held_back,
    )
