"""SQL conditions that several statements of the backfill share; aliases as in ``db.identifiers``."""

from psycopg import sql

from embedmig.db import identifiers as ident
from embedmig.types import Collection, Placement, Slot


def is_unwanted(collection: Collection, slot: Slot) -> sql.Composed:
    """A vector that embedmig wrote, on a row that has no text any more or left the row filter. Where no text is
    recorded the vector is the application's: another collection of the same table may own it."""
    ours = sql.SQL("true") if slot.placement is Placement.COMPANION else has_recorded_text(slot)
    return sql.SQL("({} IS NOT NULL AND {} AND NOT {})").format(
        ident.vector(slot), ours, ident.wants_vector(collection, "d")
    )


def has_recorded_text(slot: Slot) -> sql.Composed:
    """Whether the hash of the vector's text stands beside it."""
    return sql.SQL("{} IS NOT NULL").format(ident.recorded_hash(slot))


def vectors_without_row(collection: Collection, slot: Slot) -> sql.Composed:
    """A SELECT of the keys (``text[]``, as ``key``) of companion rows whose row is gone; none in column placement."""
    if slot.placement is Placement.COLUMN:
        return sql.SQL("SELECT NULL::text[] AS key WHERE false").format()
    return sql.SQL(
        "SELECT {key} AS key FROM {slot} AS s WHERE NOT EXISTS (SELECT FROM {table} AS d WHERE {on})"
    ).format(
        key=ident.key_array(collection, "s"),
        slot=ident.slot_table(slot),
        table=ident.table(collection),
        on=ident.key_match(collection, "d", "s"),
    )
