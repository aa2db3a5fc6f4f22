"""Rows that could not be embedded: kept with the reason, tried again or ignored on request."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from embedmig.backfill.queue import as_json
from embedmig.db import Connection, Queries
from embedmig.types import Key, Slot

QUERIES = Queries(__package__, "failures.sql")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One row that could not be embedded."""

    key: Key
    reason: str
    """Never holds anything of the row's text."""
    attempts: int
    failed_at: datetime
    ignored: bool
    """A person said that the slot is complete without it; an edit, or another failure, takes that back."""


def list_failures(conn: Connection, slot: Slot, *, with_ignored: bool = True, limit: int = 1000) -> list[Failure]:
    """The slot's failures, the newest first."""
    values = {"slot_id": slot.id, "with_ignored": with_ignored, "limit": limit}
    rows = conn.execute(QUERIES["list_failures"], values)
    return [Failure(**(row | {"key": tuple(row["key"])})) for row in rows]


def count_failures(conn: Connection, slot: Slot) -> tuple[int, int]:
    """How many rows failed, and how many of the failures are ignored."""
    row = conn.execute(QUERIES["count_failures"], {"slot_id": slot.id}).fetchone()
    assert row is not None
    return row["failed"], row["ignored"]


def retry_failures(conn: Connection, slot: Slot, keys: Sequence[Key] | None = None) -> int:
    """Queues failed rows to be tried again: ``keys``, or all that are not ignored. Gives how many."""
    return conn.execute(QUERIES["retry"], {"slot_id": slot.id, "keys": _as_json(keys)}).rowcount


def ignore_failures(conn: Connection, slot: Slot, keys: Sequence[Key] | None = None) -> int:
    """Lets the slot count as complete without these rows. Gives how many."""
    return conn.execute(QUERIES["ignore"], {"slot_id": slot.id, "keys": _as_json(keys)}).rowcount


def _as_json(keys: Sequence[Key] | None) -> list[str] | None:
    return None if keys is None else [as_json(key) for key in keys]
