"""The ways from one slot to another."""

from embedmig.db import Connection, Queries
from embedmig.errors import RefusedError
from embedmig.types import Collection, Migration, Slot

QUERIES = Queries(__package__, "migrations.sql")


def open_migration(conn: Connection, source: Slot, target: Slot) -> Migration:
    """Opens the way from source to target; a collection has one open migration at most (a unique index)."""
    row = conn.execute(
        QUERIES["open_migration"],
        {"collection_id": source.collection_id, "source_id": source.id, "target_id": target.id},
    ).fetchone()
    assert row is not None
    return Migration(**row)


def find_migration(conn: Connection, collection: Collection) -> Migration | None:
    """The open migration, if there is one."""
    row = conn.execute(QUERIES["find_open"], {"collection_id": collection.id}).fetchone()
    return None if row is None else Migration(**row)


def count_other_open(conn: Connection, collection: Collection) -> int:
    """How many other collections of the group have an open migration: with none, nothing of the group has a target."""
    row = conn.execute(
        QUERIES["count_other_open"], {"group": collection.group, "collection_id": collection.id}
    ).fetchone()
    assert row is not None
    return int(row["open"])


def get_migration(conn: Connection, collection: Collection) -> Migration:
    """The open migration. Raises RefusedError when there is none."""
    migration = find_migration(conn, collection)
    if migration is None:
        begin = f"embedmig expand {collection.name} --to MODEL"
        raise RefusedError(f"{collection.name} has no open migration: begin one, {begin}")
    return migration


def mark_handover(conn: Connection, migration: Migration, *, source_model_gone: bool) -> Migration:
    """Notes that embedmig maintains the source from now on; with the old model gone, when the way back ended."""
    row = conn.execute(
        QUERIES["mark_handover"], {"id": migration.id, "source_model_gone": source_model_gone}
    ).fetchone()
    assert row is not None
    return Migration(**row)


def unmark_handover(conn: Connection, migration: Migration) -> None:
    """Takes the handover back."""
    conn.execute(QUERIES["unmark_handover"], {"id": migration.id})


def accept_no_way_back(conn: Connection, migration: Migration, why: str) -> None:
    """Notes that a person goes on though what is written since the old model went has no vector in the source."""
    conn.execute(QUERIES["accept_no_way_back"], {"id": migration.id, "why": why})


def mark_retired(conn: Connection, migration: Migration) -> None:
    """Notes that the source's index is gone, and with it the instant way back."""
    conn.execute(QUERIES["mark_retired"], {"id": migration.id})


def close_migration(conn: Connection, migration: Migration) -> None:
    """Closes the migration."""
    conn.execute(QUERIES["close_migration"], {"id": migration.id})
