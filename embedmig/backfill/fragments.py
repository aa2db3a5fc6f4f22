"""SQL conditions that several statements of the backfill share; aliases as in ``db.identifiers``."""

from psycopg import sql

from embedmig.db import identifiers as ident
from embedmig.types import Collection, Placement, Slot


def is_unwanted(collection: Collection, slot: Slot) -> sql.Composed:
    """A vector that embedmig wrote, on a row that has no text any more or left the row filter. Where no text is
    recorded the vector is the application's: another collection of the same table may own it."""
    return sql.SQL("({} IS NOT NULL AND {} AND NOT {})").format(
        ident.vector(slot), is_ours(slot), ident.wants_vector(collection, "d")
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


def is_ours(slot: Slot) -> sql.Composable:
    """Whether embedmig wrote the vector that is there."""
    return sql.SQL("true") if slot.placement is Placement.COMPANION else has_recorded_text(slot)


def lacks_vector(slot: Slot) -> sql.Composed:
    """No vector, or one by another model: a bridged one."""
    return sql.SQL("({} IS NULL OR {} IS DISTINCT FROM {})").format(
        ident.vector(slot), ident.model_id(slot), sql.Literal(slot.model.id)
    )


def vector_identity(slot: Slot) -> sql.Composed:
    """What tells the vector on the user's row from any other, so that one which the application brought meanwhile is
    not overwritten; NULL where there is none."""
    send = sql.SQL({"vector": "vector_send", "halfvec": "halfvec_send", "bit": "bit_send"}[slot.vector_type])
    return sql.SQL("CASE WHEN {0} IS NOT NULL THEN md5({1}({0}))::uuid END").format(ident.vector(slot), send)


def look_up_slot(collection: Collection, slot: Slot, row: str) -> sql.Composable:
    """The companion's row of each row ``row``, always by its primary key; nothing for a column slot."""
    if slot.placement is Placement.COLUMN:
        return sql.SQL("")
    return sql.SQL("LEFT JOIN LATERAL (SELECT * FROM {} AS s WHERE {} OFFSET 0) AS s ON true").format(
        ident.slot_table(slot), ident.key_match(collection, "s", row)
    )
