"""The triggers that queue edits of the user's rows. Which slots they queue is decided in the database
(replace_triggers_v1), so that a revision run by ``alembic upgrade``, or rendered to a file, makes the same ones."""

from psycopg import sql

from embedmig.db import Connection, Queries
from embedmig.types import Collection

QUERIES = Queries(__package__, "triggers.sql")


def replace_trigger(conn: Connection, collection: Collection) -> None:
    """Makes the triggers on the collection's table queue exactly the slots whose catalog row says that embedmig
    maintains them; with none, there are no triggers.

    Call it in the transaction that changed those rows: its lock waits for every writer in flight, so no edit falls
    between the old triggers and the new.
    """
    conn.execute(QUERIES["replace_triggers"], {"collection_id": collection.id})


def drop_trigger_statements(conn: Connection, schema: str | None = None, table: str | None = None) -> list[str]:
    """What frees the user's writes of every trigger of ours (of one table, or of the whole database), as SQL. Reads
    Postgres' own catalog only: it works where the schema embedmig is broken."""
    rows = conn.execute(QUERIES["list_triggers"], {"schema": schema, "table": table}).fetchall()
    drop = sql.SQL("DROP TRIGGER IF EXISTS {} ON {}")
    return [
        drop.format(sql.Identifier(row["name"]), sql.Identifier(row["schema"], row["table"])).as_string(conn)
        for row in rows
    ]
