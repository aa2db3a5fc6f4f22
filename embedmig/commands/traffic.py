"""served: what was answered by which slot, when."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from embedmig.catalog.collections import get_collection
from embedmig.catalog.traffic import ServedHour, ShadowHour, list_served
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


@dataclass(frozen=True, kw_only=True)
class LabelOverlap:
    """Shadow reads of one kind of request."""

    label: str
    pairs: int
    overlap_at_10: float


@dataclass(frozen=True, kw_only=True)
class ShadowsSeen:
    """What both slots of a migration gave for the same requests. Times in milliseconds, of the statement alone."""

    since: datetime
    pairs: int
    overlap_at_10: float | None
    """Of what chance drew, 0 to 1; None where nothing was drawn, or nothing was answered by both."""
    labels: tuple[LabelOverlap, ...]
    source_alone_failed: int
    target_alone_failed: int
    source_alone_empty: int
    target_alone_empty: int
    source_p99_ms: float | None
    target_p99_ms: float | None
    source_embed_ms: float | None
    """The embedding of the query, on average."""
    target_embed_ms: float | None
    dropped_queue: int
    """More waited than may."""
    dropped_epoch: int
    """The route changed between the answer and its shadow."""
    not_shadowed: int
    """The other slot was not fit to be asked, or the query came as a vector."""


def served(db: Database, collection: str, *, hours: float = 24) -> list[ServedBySlot]:
    """What was answered in the last ``hours``, by hour and slot, the newest hour first. Searchers write it down by the
    minute; shadow reads and looks by hand are not in it, searches from SQL where their clients call ``count_v1``."""
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
        embed_ms=_mean_ms(sum(row.embed_us for row in rows), answered),
    )


def by_slot(rows: Iterable[ServedHour]) -> list[ServedBySlot]:
    """One row a slot, over all of their time."""
    ordered = sorted(rows, key=lambda row: row.slot_id)
    return [sum_up(list(some)) for _, some in groupby(ordered, key=lambda row: row.slot_id)]


def sum_up_shadows(rows: Sequence[ShadowHour]) -> ShadowsSeen | None:
    """All of them as one; None of none."""
    if not rows:
        return None
    by_label = {label: [row for row in rows if row.label == label] for label in sorted({row.label for row in rows})}
    labels = [(label, *_overlap(some)) for label, some in by_label.items() if label]
    source, target = (add_up(getattr(row, name) for row in rows) for name in ("source_latency", "target_latency"))
    return ShadowsSeen(
        since=min(row.hour for row in rows),
        pairs=sum(sum(row.errors) for row in rows),
        overlap_at_10=_overlap([row for row in rows if row.drawn])[1],
        labels=tuple(
            LabelOverlap(label=label, pairs=pairs, overlap_at_10=mean)
            for label, pairs, mean in labels
            if mean is not None
        ),
        source_alone_failed=sum(row.errors[1] for row in rows),
        target_alone_failed=sum(row.errors[2] for row in rows),
        source_alone_empty=sum(row.empty[1] for row in rows),
        target_alone_empty=sum(row.empty[2] for row in rows),
        source_p99_ms=_ms(quantile_s(source, 0.99)),
        target_p99_ms=_ms(quantile_s(target, 0.99)),
        source_embed_ms=_mean_ms(sum(row.source_embed_us for row in rows), sum(source)),
        target_embed_ms=_mean_ms(sum(row.target_embed_us for row in rows), sum(target)),
        dropped_queue=sum(row.dropped_queue for row in rows),
        dropped_epoch=sum(row.dropped_epoch for row in rows),
        not_shadowed=sum(row.not_shadowed for row in rows),
    )


def _overlap(rows: Sequence[ShadowHour]) -> tuple[int, float | None]:
    """Pairs that both slots answered, and their mean overlap."""
    tenths = [sum(row.overlap[tenth] for row in rows) for tenth in range(11)]
    pairs = sum(tenths)
    return pairs, sum(tenth * count for tenth, count in enumerate(tenths)) / 10 / pairs if pairs else None


def _mean_ms(total_us: int, of: int) -> float | None:
    return total_us / of / 1000 if of else None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
