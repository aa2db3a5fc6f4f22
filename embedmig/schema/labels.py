"""Which of a slot's columns are ours: told by their comment, since a name could be the user's own."""

from psycopg import sql

from embedmig.db import Connection, Queries
from embedmig.db.identifiers import comma, slot_table
from embedmig.schema.constraints import add_check_statement, drop_check_statement
from embedmig.schema.naming import COMMENT
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


def unlabel_statements(slot: Slot, labels: list[str]) -> list[str]:
    """Takes the check and ``labels`` off a slot whose column stays: nobody would keep them true. A companion keeps its
    columns, which are its own."""
    table = slot_table(slot)
    statements = [drop_check_statement(table, slot.vector_column)]
    if labels and slot.placement is Placement.COLUMN:
        drops = comma(sql.SQL("DROP COLUMN IF EXISTS {}").format(sql.Identifier(name)) for name in labels)
        statements.append(sql.SQL("ALTER TABLE {} {}").format(table, drops))
    return [statement.as_string(None) for statement in statements]


def relabel_statements(slot: Slot, labels: list[str]) -> list[str]:
    """Puts ``labels`` and the check on again: every vector there is takes the slot's model for its own. A companion
    has kept its labels."""
    if slot.model_column is None or slot.model_column not in labels:
        return []
    table = slot_table(slot)
    ids = [slot.model.id, *([] if slot.bridge_model_id is None else [slot.bridge_model_id])]
    check = add_check_statement(table, slot.vector_column, slot.model_column, ids).as_string(None)
    if slot.placement is Placement.COMPANION:
        return [check]
    kinds = {slot.model_column: sql.SQL("int DEFAULT {}").format(sql.Literal(slot.model.id))}
    said = {slot.model_column: f"the model of each {slot.vector_column}, as declared"}
    if slot.hash_column in labels and slot.hash_column is not None:
        kinds[slot.hash_column] = sql.SQL("uuid").format()
        said[slot.hash_column] = f"the hash of the text of each {slot.vector_column}"
    adds = comma(
        sql.SQL("ADD COLUMN IF NOT EXISTS {} {}").format(sql.Identifier(name), kind) for name, kind in kinds.items()
    )
    comments = [
        sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(table, sql.Identifier(name), sql.Literal(COMMENT + what))
        for name, what in said.items()
    ]
    statements = [sql.SQL("ALTER TABLE {} {}").format(table, adds), *comments]
    return [*(statement.as_string(None) for statement in statements), check]
