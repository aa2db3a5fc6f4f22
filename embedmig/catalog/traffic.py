"""What searches were answered from: counts by slot and hour, appended by the processes that search."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from embedmig.db import Connection, Queries
from embedmig.types import Collection, Migration, Slot

QUERIES = Queries(__package__, "traffic.sql")


@dataclass(frozen=True, kw_only=True)
class ServedHour:
    """Requests answered from one slot within one hour, at one epoch, chosen in one way."""

    hour: datetime
    slot: str
    slot_id: int
    epoch: int
    chosen_by: str
    """``key``, ``share`` or ``pin``."""
    requests: int
    errors: int
    empty: int
    embed_us: int
    latency: Sequence[int]
    """Of the statements, counts by bucket: see ``search/latency.py``."""


@dataclass(frozen=True, kw_only=True)
class RecentTraffic:
    """How much a slot answered lately, and in which hour for the last time."""

    requests: int
    last_hour: datetime | None


@dataclass(frozen=True, kw_only=True)
class ShadowHour:
    """Requests that both slots of a migration were asked within one hour, at one epoch, under one label."""

    hour: datetime
    epoch: int
    label: str
    """'' where the caller gave none."""
    drawn: bool
    """Taken by chance alone; the others count for their label only."""
    overlap: Sequence[int]
    """(11,) pairs by overlap@10 in tenths."""
    errors: Sequence[int]
    """(4,) pairs in which neither slot, the source only, the target only, both failed."""
    empty: Sequence[int]
    """(4,) the same for answers without a hit, of pairs without an error."""
    source_embed_us: int
    target_embed_us: int
    source_latency: Sequence[int]
    target_latency: Sequence[int]
    dropped_queue: int
    dropped_epoch: int
    not_shadowed: int


@dataclass(frozen=True, kw_only=True)
class ShadowQuery:
    """A text that was shadowed, where the application said that texts may be kept."""

    text: str
    label: str
    times: int


def report_served(conn: Connection, counts: Sequence[dict[str, object]]) -> None:
    """Adds counts, as ``search.counting`` gives them."""
    conn.execute(QUERIES["report_served"], {"counts": Jsonb(list(counts))})


def report_shadows(conn: Connection, counts: Sequence[dict[str, object]]) -> None:
    """Adds counts, as ``search.shadow_counts`` gives them; those of a migration that was closed meanwhile are lost."""
    conn.execute(QUERIES["report_shadows"], {"counts": Jsonb(list(counts))})


def report_queries(conn: Connection, collection_id: int, queries: Sequence[dict[str, object]]) -> None:
    """Adds texts of shadowed queries: ``text``, ``label``, ``times`` each."""
    conn.execute(QUERIES["report_queries"], {"collection_id": collection_id, "queries": Jsonb(list(queries))})


def list_served(conn: Connection, collection: Collection, since: datetime) -> list[ServedHour]:
    """The hours from ``since`` on, the newest first."""
    values = {"collection_id": collection.id, "since": since}
    return [ServedHour(**row) for row in conn.execute(QUERIES["list_served"], values)]


def count_served(conn: Connection, slot: Slot, hours: float) -> RecentTraffic:
    """What was answered from the slot in the last ``hours``; shadow reads are no traffic."""
    row = conn.execute(QUERIES["count_served"], {"slot_id": slot.id, "hours": hours}).fetchone()
    assert row is not None
    return RecentTraffic(**row)


def list_shadows(conn: Connection, migration: Migration, since: datetime, *, epoch: int = 0) -> list[ShadowHour]:
    """The hours from ``since`` on, from ``epoch`` on, the newest first."""
    pair = {"source_id": migration.source_id, "target_id": migration.target_id}
    rows = conn.execute(QUERIES["list_shadows"], {**pair, "since": since, "epoch": epoch})
    return [ShadowHour(**row) for row in rows]


def list_shadow_queries(conn: Connection, collection: Collection, *, limit: int = 10_000) -> list[ShadowQuery]:
    """The texts that were kept, the most frequent first."""
    rows = conn.execute(QUERIES["list_queries"], {"collection_id": collection.id, "limit": limit})
    return [ShadowQuery(**row) for row in rows]


def forget_shadow_queries(conn: Connection, collection: Collection) -> int:
    """Deletes the texts that were kept; gives how many."""
    return conn.execute(QUERIES["forget_queries"], {"collection_id": collection.id}).rowcount
