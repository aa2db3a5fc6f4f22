"""Counts the rows of a collection by the state of their vectors in a slot: exact, in SQL, changing nothing."""

from dataclasses import dataclass

from psycopg import sql

from embedmig.backfill import fragments
from embedmig.db import Connection, Queries
from embedmig.db import identifiers as ident
from embedmig.types import Collection, Key, Slot

QUERIES = Queries(__package__, "census.sql")


@dataclass(frozen=True, kw_only=True)
class Census:
    """Rows of one slot. ``rows`` = without_text + true + bridged + missing + other_model; stale, unrecorded and queued
    rows are among those. A row with a failure is not among the ``not_queued`` ones: it is known."""

    rows: int
    """Rows of the table, those of the row filter when there is one."""
    without_text: int
    """NULL or empty text: no vector, by design."""
    true: int
    """With a vector by the slot's model."""
    bridged: int
    """With a vector mapped from another model's."""
    missing: int
    """With text and no vector."""
    other_model: int
    """With a vector labelled as another model's."""
    stale: int
    """With a vector of another text than the row has now."""
    unrecorded: int
    """With a vector whose text is not recorded: the application brought it."""
    missing_not_queued: int
    stale_not_queued: int
    orphans: int
    """Vectors that embedmig wrote for rows that are gone, have no text any more, or left the row filter."""
    orphans_not_queued: int
    queued: int
    """Distinct keys that edits queued."""
    oldest_queued_s: float | None
    """How long ago the oldest of them was queued; None when there is none."""
    failed: int
    """Rows that could not be embedded and are not ignored."""
    ignored: int

    @property
    def with_text(self) -> int:
        """Rows that are to have a vector."""
        return self.rows - self.without_text

    @property
    def wrong(self) -> int:
        """Rows whose state is wrong and known to nobody: what ``verify`` fails on."""
        return self.missing_not_queued + self.stale_not_queued + self.orphans_not_queued + self.other_model


@dataclass(frozen=True, kw_only=True)
class WrongRow:
    """One row that is not as it should be."""

    key: Key
    what: str
    """missing, stale, other_model or orphan."""
    queued: bool
    failure: str | None
    """Why it could not be embedded, when that was tried."""
    ignored: bool


def count_rows(conn: Connection, collection: Collection, slot: Slot) -> Census:
    """Reads the whole table once, in one snapshot."""
    query = QUERIES["count_rows"].format(**_parts(collection, slot), in_scope=ident.in_scope(collection, "d"))
    row = conn.execute(query, _values(slot)).fetchone()
    assert row is not None
    return Census(**row)


def find_wrong_rows(conn: Connection, collection: Collection, slot: Slot, *, limit: int) -> list[WrongRow]:
    """The rows behind the counts of missing, stale, other_model and orphans, by key."""
    query = QUERIES["wrong_rows"].format(**_parts(collection, slot), keys=ident.keys(collection, "d"))
    rows = conn.execute(query, _values(slot) | {"limit": limit})
    return [WrongRow(**(row | {"key": tuple(row["key"])})) for row in rows]


def _parts(collection: Collection, slot: Slot) -> dict[str, sql.Composable]:
    return {
        "table": ident.table(collection),
        "join_slot": ident.join_slot(collection, slot),
        "wants": ident.wants_vector(collection, "d"),
        "vector": ident.vector(slot),
        "model": ident.model_id(slot),
        "hash": ident.recorded_hash(slot),
        "stale": ident.is_stale(collection, slot),
        "unwanted": fragments.is_unwanted(collection, slot),
        "key": ident.key_array(collection, "d"),
        "gone": fragments.vectors_without_row(collection, slot),
    }


def _values(slot: Slot) -> dict[str, int | None]:
    return {"slot_id": slot.id, "model_id": slot.model.id, "bridge_id": slot.bridge_model_id}
