"""Routes and their epochs, and the processes that are pinned against them."""

from dataclasses import dataclass
from datetime import datetime

from embedmig.db import Connection, Queries
from embedmig.types import Collection, Route

QUERIES = Queries(__package__, "routes.sql")


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A process whose environment names its slot, as it reported itself at a search."""

    host: str
    pid: int
    pin: str
    slot: str
    epoch: int
    seen_at: datetime


def ensure_route(conn: Connection, group: str) -> None:
    """Makes the group's route, at 0, when there is none."""
    conn.execute(QUERIES["ensure_route"], {"group": group})


def get_route(conn: Connection, group: str) -> Route:
    """The group's route as it stands."""
    row = conn.execute(QUERIES["find_route"], {"group": group}).fetchone()
    assert row is not None, f"group {group} has no route"
    return Route(group=group, share_bp=row["share_bp"], epoch=row["epoch"], changed_at=row["changed_at"])


def full_since(conn: Connection, group: str) -> datetime | None:
    """Since when the share is 100, else None."""
    row = conn.execute(QUERIES["find_route"], {"group": group}).fetchone()
    assert row is not None, f"group {group} has no route"
    since: datetime | None = row["full_since"]
    return since


def set_share(conn: Connection, group: str, share_bp: int) -> Route:
    """Changes the share and raises the epoch."""
    row = conn.execute(QUERIES["set_share"], {"group": group, "share_bp": share_bp}).fetchone()
    assert row is not None, f"group {group} has no route"
    conn.execute(QUERIES["notify"], {"group": group})
    return Route(group=group, share_bp=row["share_bp"], epoch=row["epoch"], changed_at=row["changed_at"])


def raise_epoch(conn: Connection, group: str) -> None:
    """Makes every planned search of the group be planned anew."""
    conn.execute(QUERIES["raise_epoch"], {"group": group})
    conn.execute(QUERIES["notify"], {"group": group})


def live_pins(conn: Connection, collection: Collection) -> list[Pin]:
    """Pinned processes that reported themselves in the last 10 minutes."""
    return [Pin(**row) for row in conn.execute(QUERIES["live_pins"], {"collection_id": collection.id})]


def report_pin(
    conn: Connection, collection: Collection, *, host: str, pid: int, pin: str, slot_id: int, epoch: int
) -> None:
    """A pinned process says so."""
    conn.execute(
        QUERIES["report_pin"],
        {"collection_id": collection.id, "host": host, "pid": pid, "pin": pin, "slot_id": slot_id, "epoch": epoch},
    )
