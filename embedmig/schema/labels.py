"""Which of a slot's columns are ours: told by their comment, since a name could be the user's own."""

from embedmig.db import Connection, Queries
from embedmig.types import Placement, Slot

QUERIES = Queries(__package__, "labels.sql")


def label_columns(conn: Connection, slot: Slot) -> list[str]:
    """The model and hash columns that embedmig added for ``slot``; those that the user made are not among them."""
    names = [name for name in (slot.model_column, slot.hash_column) if name is not None]
    if slot.placement is Placement.COMPANION:
        return names
    rows = conn.execute(QUERIES["ours_among"], {"schema": slot.schema, "table": slot.table, "names": names}).fetchall()
    ours = {row["name"] for row in rows}
    return [name for name in names if name in ours]


def declared_label(conn: Connection, slot: Slot) -> str | None:
    """The model column that a source, as it was found, got with its migration; None where it has none, or its own."""
    if slot.model_column is None or slot.placement is Placement.COMPANION:
        return None
    names = {"schema": slot.schema, "table": slot.table, "name": slot.model_column}
    row = conn.execute(QUERIES["is_declared"], names).fetchone()
    return slot.model_column if row is not None and row["declared"] else None
