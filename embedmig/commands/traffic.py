"""served: what was answered by which slot, when."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from embedmig.catalog.collections import get_collection
from embedmig.catalog.traffic import ServedHour, list_served
from embedmig.db import Database
from embedmig.search.latency import add_up, quantile_s


@dataclass(frozen=True, kw_only=True)
class ServedBySlot:
    """What one slot answered in an hour or another stretch of time. Times in milliseconds; None where nothing was
    answered. ``errors`` and ``empty`` are among the requests, ``pinned`` those that an environment variable sent."""

    since: datetime
    slot: str
    epochs: tuple[int, ...]
    requests: int
    errors: int
    empty: int
    pinned: int
    p50_ms: float | None
    p99_ms: float | None
    embed_ms: float | None
    """The embedding of the query, on average; not in the other two."""


def served(db: Database, collection: str, *, hours: float = 24) -> list[ServedBySlot]:
    """What was answered in the last ``hours``, by hour and slot, the newest hour first. Searchers write it down by the
    minute; shadow reads, looks by hand and searches in plain SQL are not in it."""
    with db.connect() as conn:
        found = list_served(conn, get_collection(conn, collection), datetime.now(UTC) - timedelta(hours=hours))
    return [sum_up(list(some)) for _, some in groupby(found, key=lambda row: (row.hour, row.slot))]


def sum_up(rows: Sequence[ServedHour]) -> ServedBySlot:
    """Rows of one slot as one."""
    latency = add_up(row.latency for row in rows)
    answered = sum(row.requests - row.errors for row in rows)
    return ServedBySlot(
        since=min(row.hour for row in rows),
        slot=rows[0].slot,
        epochs=tuple(sorted({row.epoch for row in rows})),
        requests=sum(row.requests for row in rows),
        errors=sum(row.errors for row in rows),
        empty=sum(row.empty for row in rows),
        pinned=sum(row.requests for row in rows if row.chosen_by == "pin"),
        p50_ms=_ms(quantile_s(latency, 0.5)),
        p99_ms=_ms(quantile_s(latency, 0.99)),
        embed_ms=sum(row.embed_us for row in rows) / answered / 1000 if answered else None,
    )


def by_slot(rows: Iterable[ServedHour]) -> list[ServedBySlot]:
    """One row a slot, over all of their time."""
    ordered = sorted(rows, key=lambda row: row.slot_id)
    return [sum_up(list(some)) for _, some in groupby(ordered, key=lambda row: row.slot_id)]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
