"""The view that joins a user's table with the companion that stayed: rows of the table only, by the reader's rights."""

from psycopg import sql

from embedmig.db import identifiers
from embedmig.schema.naming import SCHEMA, view_of
from embedmig.schema.operations.companion import grant_as
from embedmig.types import Collection, Slot


def create_view_statements(collection: Collection, slot: Slot) -> list[str]:
    """``embedmig.<collection>_vectors``: the key and the companion's columns, for a join by the key. No further column
    of the user's table: a view on it would stand in the way of the user's own ALTER TABLE."""
    view = sql.Identifier(SCHEMA, view_of(collection.name))
    kept = [slot.vector_column, *(name for name in (slot.model_column, slot.hash_column) if name is not None)]
    create = sql.SQL(
        "CREATE VIEW {} WITH (security_invoker = true) AS SELECT {}, {} FROM {} AS d JOIN {} AS s ON {}"
    ).format(
        view,
        identifiers.keys(collection, "d"),
        identifiers.names(kept, "s"),
        identifiers.table(collection),
        identifiers.slot_table(slot),
        identifiers.key_match(collection, "d", "s"),
    )
    statements = [create, grant_as(identifiers.table(collection), view)]
    return [drop_view_statement(collection), *(part.as_string(None) for part in statements)]


def drop_view_statement(collection: Collection) -> str:
    """Drops the view; nothing where there is none."""
    return sql.SQL("DROP VIEW IF EXISTS {}").format(sql.Identifier(SCHEMA, view_of(collection.name))).as_string(None)
