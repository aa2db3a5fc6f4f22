"""How much is queued for a slot: what can be said of its state without reading the user's table."""

from dataclasses import dataclass

from embedmig.db import Connection, Queries
from embedmig.types import Slot

QUERIES = Queries(__package__, "tails.sql")


@dataclass(frozen=True, kw_only=True)
class Tail:
    """Rows whose edit waits to be embedded."""

    queued: int
    oldest_s: float | None
    """How long ago the oldest of them was queued; None when there is none."""
    failed: int
    """Rows that could not be embedded and are not ignored."""


def get_tail(conn: Connection, slot: Slot) -> Tail:
    """The slot's queue as it stands."""
    row = conn.execute(QUERIES["tail"], {"slot_id": slot.id}).fetchone()
    assert row is not None
    return Tail(**row)
