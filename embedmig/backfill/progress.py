"""How far a job is: numbers from the database, so that they are the same for all who work on it."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from embedmig.backfill.chunks import describe_left_behind
from embedmig.backfill.worker import WorkerStats
from embedmig.db import Connection, Queries
from embedmig.types import Slot

QUERIES = Queries(__package__, "progress.sql")

_WINDOW_S = 30.0
_COLLAPSED = (
    "hardly any update leaves the table's ANN index alone (HOT): is a transaction held open somewhere?"
    " A companion would leave the table alone"
)


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
    """By the length of the texts that are left, from a sample of them; None before anything is measured."""
    cost: float | None
    """In this run, in the currency of the models' prices; None without one."""
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
    """Rows and tokens a second over the last half minute, from when something was first done: loading a model is no
    part of it."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int, int]] = deque()

    def note(self, seconds: float, rows: int, tokens: int) -> tuple[float, float]:
        """Takes in the totals at ``seconds``; gives the rates (rows, tokens)."""
        if len(self._points) == 1 and self._points[0][1:] == (rows, tokens):
            self._points.clear()
        self._points.append((seconds, rows, tokens))
        while len(self._points) > 2 and seconds - self._points[0][0] > _WINDOW_S:
            self._points.popleft()
        first = self._points[0]
        elapsed = seconds - first[0]
        if elapsed <= 0:
            return 0.0, 0.0
        return (rows - first[1]) / elapsed, (tokens - first[2]) / elapsed


class ProgressMeter:
    """Reads the slots' numbers now and then, and passes a step on each time."""

    def __init__(self, collection: str, on_progress: Callable[[ReembedProgress], object] | None) -> None:
        self.last: ReembedProgress
        """The last step; there is none before the first ``read``."""
        self._collection, self._on_progress = collection, on_progress
        self._began, self._speed = time.monotonic(), Speed()
        self._before: dict[int, WorkLeft] = {}
        """Each slot's numbers when the run first saw it."""
        self.held_back: str | None = None
        """What the throttle says; shown with the next step."""
        self._waits_for: str | None = None
        """A lease that has to run out before work goes on."""
        self.mean_characters: float | None = None
        """Of the texts to be embedded, by a sample; None: not known."""

    def read(
        self,
        conn: Connection,
        slots: Sequence[Slot],
        phase: str,
        *,
        since: datetime | None = None,
        stats: Sequence[WorkerStats] = (),
    ) -> list[WorkLeft]:
        """The numbers of each slot; ``since``: see ``WorkLeft.waiting``."""
        since = since or fetch_now(conn)
        work = [fetch_work_left(conn, slot, since) for slot in slots]
        for slot, left in zip(slots, work, strict=True):
            self._before.setdefault(slot.id, left)
        all_held = any(left.open_chunks and left.open_chunks == left.held_chunks for left in work)
        self._waits_for = describe_left_behind(conn, [slot.id for slot in slots]) if all_held else None
        self.last = self._step(phase, slots, work, stats)
        if self._on_progress is not None:
            self._on_progress(self.last)
        return work

    def _step(
        self, phase: str, slots: Sequence[Slot], work: Sequence[WorkLeft], stats: Sequence[WorkerStats]
    ) -> ReembedProgress:
        before = [self._before[slot.id] for slot in slots]
        seconds = time.monotonic() - self._began
        rows = sum(left.rows_written for left in work) - sum(left.rows_written for left in before)
        tokens = sum(left.tokens for left in work) - sum(left.tokens for left in before)
        rows_per_s, tokens_per_s = self._speed.note(seconds, rows, tokens)
        planned, done = sum(left.target_rows for left in work), sum(left.rows_done for left in work)
        costs = [_cost(slot, left.tokens - first.tokens) for slot, left, first in zip(slots, work, before, strict=True)]
        hot = [stat.hot_share for stat in stats if stat.hot_share is not None]
        return ReembedProgress(
            collection=self._collection,
            phase=phase,
            seconds=seconds,
            rows_planned=planned,
            rows_done=done,
            rows_written=rows,
            tokens=tokens,
            rows_per_s=rows_per_s,
            tokens_per_s=tokens_per_s,
            eta_s=seconds_left(
                planned - done,
                rows_per_s=rows_per_s,
                tokens_per_s=tokens_per_s,
                mean_tokens=self._mean_tokens(stats),
                seen=rows / planned if planned else 1.0,
            ),
            cost=sum(cost for cost in costs if cost is not None) if any(cost is not None for cost in costs) else None,
            queued=sum(left.queued for left in work),
            lag_s=max((left.lag_s for left in work), default=0.0),
            failures=sum(left.failures for left in work),
            hot_share=min(hot, default=None),
            held_back=self.held_back
            or self._waits_for
            or (_COLLAPSED if any(stat.hot_collapsed for stat in stats) else None),
        )

    def _mean_tokens(self, stats: Sequence[WorkerStats]) -> float | None:
        """Tokens a row of those planned, by the sample's length and what our workers counted in what they embedded."""
        characters, counted = sum(stat.characters for stat in stats), sum(stat.counted for stat in stats)
        if self.mean_characters is None or not counted:
            return None
        return self.mean_characters * counted / characters


def _cost(slot: Slot, tokens: int) -> float | None:
    price = slot.model.price_per_million_tokens
    return None if price is None else tokens * price / 1e6


def seconds_left(
    rows_left: int,
    *,
    rows_per_s: float,
    tokens_per_s: float,
    mean_tokens: float | None,
    seen: float,
) -> float | None:
    """How long the rest takes. Pure.

    By tokens, where a sample says how many the texts have: a chunk's short texts come first, so that rows a second are
    far too good at the start. By rows without a sample, and the more the larger the share ``seen`` (0 to 1) is already.
    """
    if rows_left <= 0 or rows_per_s <= 0:
        return None
    by_rows = rows_left / rows_per_s
    if mean_tokens is None or tokens_per_s <= 0:
        return by_rows
    seen = min(1.0, seen)
    by_tokens = rows_left * mean_tokens / tokens_per_s
    return seen * by_rows + (1 - seen) * by_tokens
