"""Finds what the queue does not know of: triggers can be bypassed (replica role, restores, DISABLE TRIGGER)."""

from psycopg import sql

from embedmig.backfill import fragments
from embedmig.db import Connection, Queries
from embedmig.db import identifiers as ident
from embedmig.types import Collection, Slot

QUERIES = Queries(__package__, "sweep.sql")


def sweep(conn: Connection, collection: Collection, slot: Slot) -> int:
    """Queues stale rows and orphans that are not queued; gives how many. Missing rows are the job's, not the queue's.
    Forgets failures of rows that are gone."""
    _run(conn, "drop_failures", collection, slot)
    return _run(conn, "queue_stale", collection, slot) + _run(conn, "queue_orphans", collection, slot)


def queue_missing(conn: Connection, collection: Collection, slot: Slot) -> int:
    """Queues rows with text and no vector that are not queued: before those of a slot that was bridged are replaced.
    Gives how many."""
    return _run(conn, "queue_missing", collection, slot)


def _run(conn: Connection, name: str, collection: Collection, slot: Slot) -> int:
    parts: dict[str, sql.Composable] = {
        "table": ident.table(collection),
        "keys": ident.keys(collection, "d"),
        "keys_of_f": ident.key_from_array(collection, sql.SQL("f.key")),
        "key_array": ident.key_array(collection, "d"),
        "join_slot": ident.join_slot(collection, slot),
        "wants": ident.wants_vector(collection, "d"),
        "missing": ident.is_missing(slot),
        "stale": ident.is_stale(collection, slot),
        "unwanted": fragments.is_unwanted(collection, slot),
        "gone": fragments.vectors_without_row(collection, slot),
    }
    return conn.execute(QUERIES.fill(name, parts), {"slot_id": slot.id}).rowcount
