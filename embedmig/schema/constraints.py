"""The CHECK that no vector stands without its model, added NOT VALID and validated later in its own transaction."""

from collections.abc import Sequence

from psycopg import sql

from embedmig.db import Connection, Queries
from embedmig.db.identifiers import comma
from embedmig.schema.naming import check_of
from embedmig.types import Collection, Slot

QUERIES = Queries(__package__, "constraints.sql")


def model_condition(vector_column: str, model_column: str, model_ids: Sequence[int]) -> sql.Composed:
    """``e IS NULL OR (m IS NOT NULL AND m IN (...))``: without IS NOT NULL a NULL model would pass."""
    return sql.SQL("{} IS NULL OR ({} IS NOT NULL AND {} IN ({}))").format(
        sql.Identifier(vector_column),
        sql.Identifier(model_column),
        sql.Identifier(model_column),
        comma(sql.Literal(model_id) for model_id in model_ids),
    )


def add_check_statement(
    table: sql.Identifier, vector_column: str, model_column: str, model_ids: Sequence[int]
) -> sql.Composed:
    """Adds the CHECK NOT VALID (no row is read), unless the table has one of that name."""
    add = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} CHECK ({}) NOT VALID").format(
        table, sql.Identifier(check_of(vector_column)), model_condition(vector_column, model_column, model_ids)
    )
    return sql.SQL("""DO $embedmig$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = {}::regclass AND conname = {}) THEN
        {};
    END IF;
END $embedmig$""").format(sql.Literal(_text(table)), sql.Literal(check_of(vector_column)), add)


def drop_check_statement(table: sql.Identifier, vector_column: str) -> sql.Composed:
    """Drops the CHECK; nothing where there is none."""
    return sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}").format(table, sql.Identifier(check_of(vector_column)))


def validate_checks(conn: Connection, collection: Collection, slot: Slot) -> int:
    """Validates the CHECKs of ours that are not yet, on the slot's table and the user's, each in a transaction of its
    own that reads the table under a lock users do not feel; gives how many. Repeating it finds none.

    Raises DatabaseError (23514) when a row has a vector of no, or another, model.
    """
    tables = {(collection.schema, collection.table), (slot.schema, slot.table)}
    validated = 0
    for schema, table in sorted(tables):
        for row in conn.execute(QUERIES["unvalidated_checks"], {"schema": schema, "table": table}).fetchall():
            validate = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}")
            conn.execute(validate.format(sql.Identifier(schema, table), sql.Identifier(row["conname"])))
            validated += 1
    return validated


def _text(table: sql.Identifier) -> str:
    return table.as_string(None)
