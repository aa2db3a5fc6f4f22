"""What searches were answered from: counts by slot and hour, appended by the processes that search."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from embedmig.db import Connection, Queries
from embedmig.types import Collection, Slot

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


def report_served(conn: Connection, counts: Sequence[dict[str, object]]) -> None:
    """Adds counts, as ``search.counting`` gives them."""
    conn.execute(QUERIES["report_served"], {"counts": Jsonb(list(counts))})


def list_served(conn: Connection, collection: Collection, since: datetime) -> list[ServedHour]:
    """The hours from ``since`` on, the newest first."""
    values = {"collection_id": collection.id, "since": since}
    return [ServedHour(**row) for row in conn.execute(QUERIES["list_served"], values)]


def count_served(conn: Connection, slot: Slot, hours: float) -> RecentTraffic:
    """What was answered from the slot in the last ``hours``; shadow reads are no traffic."""
    row = conn.execute(QUERIES["count_served"], {"slot_id": slot.id, "hours": hours}).fetchone()
    assert row is not None
    return RecentTraffic(**row)
