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


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """How the share came to where it is."""

    share_bp: int
    epoch: int
    raised_at: datetime
    """The last rise; without one, the last change."""
    raised_epoch: int
    held_s: float
    """Since the last rise, by the server's clock."""
    left_at: datetime | None
    left_bp: int | None
    """The share before it was lowered in this migration; None when it was not, or rose again since."""
    tripped: str | None
    """What a rollback trigger said when it took the share back; None once a person opened the way again."""


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


def lock_route(conn: Connection, group: str) -> tuple[int, int]:
    """Share (basis points) and epoch, which nobody else changes before this transaction ends."""
    row = conn.execute(QUERIES["lock_route"], {"group": group}).fetchone()
    assert row is not None, f"group {group} has no route"
    return row["share_bp"], row["epoch"]


def read_ladder(conn: Connection, group: str) -> Ladder:
    """The last rise of the share, and what it was before it was taken back."""
    row = conn.execute(QUERIES["read_ladder"], {"group": group}).fetchone()
    assert row is not None, f"group {group} has no route"
    return Ladder(**row)


def mark_left(conn: Connection, group: str, *, left_bp: int, tripped: str | None) -> None:
    """Notes from where the share was taken back; ``tripped``: what the rollback trigger said that did it."""
    conn.execute(QUERIES["mark_left"], {"group": group, "left_bp": left_bp, "tripped": tripped})


def forgive(conn: Connection, group: str) -> None:
    """Opens the way again that a rollback trigger closed."""
    conn.execute(QUERIES["forgive"], {"group": group})


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
