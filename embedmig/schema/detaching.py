"""Takes embedmig off a table: triggers, labels, catalog rows, and the slots it made, but for one that may stay."""

from dataclasses import dataclass

from psycopg import sql

from embedmig.catalog import collections, migrations, routes, slots
from embedmig.catalog.events import log_event
from embedmig.db import Connection, Queries, identifiers
from embedmig.errors import ConflictError, NotFoundError, RefusedError
from embedmig.schema.constraints import drop_check_statement
from embedmig.schema.labels import label_columns, unlabel_statements
from embedmig.schema.locking import under_lock
from embedmig.schema.triggers import drop_trigger_statements, replace_trigger
from embedmig.schema.views import drop_view_statement
from embedmig.settings import Settings
from embedmig.types import Collection, Migration, Placement, Slot

QUERIES = Queries(__package__, "detaching.sql")


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """What detach would leave, and take away. Nothing is run by making it."""

    kept: tuple[Slot, ...]
    """Whose vectors stay, written by nobody but the application from then on."""
    dropped: tuple[Slot, ...]
    moved_to: str | None
    """Where a companion that stays is afterwards, as a plain table."""
    sql: tuple[str, ...]


def plan_leaving(conn: Connection, collection: Collection, *, keep: str | None = None) -> Leaving:
    """What would stay. A column that was there before embedmig always does. Of the slots it made, the only slot of a
    collection stays; of two, the source, or the one named ``keep``, which must be named while the target serves.

    Raises RefusedError while the target serves and ``keep`` is not given, or a process is pinned to a slot that would
    go; NotFoundError for a slot that is not there; ConflictError when a companion that stays finds its name taken.
    """
    live = slots.list_slots(conn, collection)
    migration = migrations.find_migration(conn, collection)
    staying = _staying(conn, collection, live, migration, keep)
    dropped = [slot for slot in live if slot is not staying and not _was_found(slot)]
    kept = [slot for slot in live if slot not in dropped]
    _refuse_pinned(conn, collection, dropped)
    moved_to = None
    statements = [drop_view_statement(collection)]
    for slot in dropped:
        statements += _drop_slot(conn, slot)
    for slot in kept:
        statements += _free_slot(conn, slot)
        if slot.placement is Placement.COMPANION:
            moved_to = _refuse_taken(conn, collection, slot)
            statements.append(move_companion_statement(slot, slot.schema, collection.schema))
    return Leaving(kept=tuple(kept), dropped=tuple(dropped), moved_to=moved_to, sql=tuple(statements))


def detach(
    conn: Connection, collection: Collection, leaving: Leaving, *, why: str | None = None, settings: Settings | None
) -> None:
    """Does it, in one short transaction: no trigger is left, and the catalog forgets the collection, but for the log.

    Raises DatabaseError when something of the user's depends on what would go; nothing is changed then.
    """

    def work(inner: Connection) -> None:
        for slot in (*leaving.kept, *leaving.dropped):
            # Chunks before tables: a worker holds its own while it writes.
            slots.drop_slot(inner, slot)
        replace_trigger(inner, collection)
        for statement in leaving.sql:
            inner.execute(statement)
        log_event(
            inner,
            "detach",
            collection.name,
            was=", ".join(slot.name for slot in (*leaving.kept, *leaving.dropped)),
            became=", ".join(slot.name for slot in leaving.kept),
            why=why,
            dropped=[slot.name for slot in leaving.dropped],
            moved_to=leaving.moved_to,
        )
        routes.raise_epoch(inner, collection.group)
        if migrations.find_migration(inner, collection) and not migrations.count_other_open(inner, collection):
            routes.set_share(inner, collection.group, 0)
        collections.delete_collection(inner, collection)

    under_lock(conn, collection, work, settings)


def freeing_sql(conn: Connection, name: str) -> list[str]:
    """What frees the user's writes of our triggers, as SQL to run by hand: those of the collection ``name``, or all
    there are where the catalog cannot say which table that is. Works where the schema embedmig is gone or broken."""
    table = _table_of(conn, name)
    return drop_trigger_statements(conn, *table) if table is not None else drop_trigger_statements(conn)


def _staying(
    conn: Connection, collection: Collection, live: list[Slot], migration: Migration | None, keep: str | None
) -> Slot | None:
    by_name = {slot.name: slot for slot in live}
    if keep is not None:
        if keep not in by_name:
            raise NotFoundError("slot", f"{keep} of {collection.name}", known=list(by_name))
        return by_name[keep]
    if migration is None:
        return live[0] if live else None
    share = routes.get_route(conn, collection.group)
    if share.share_bp > 0:
        names = " or ".join(f"--keep {slot.name}" for slot in live)
        raise RefusedError(
            f"{share.percent:g} % of the requests for {collection.name} are served by the target: say which slot stays,"
            f" {names}, or go back first, embedmig rollback {collection.name}"
        )
    return next(slot for slot in live if slot.id == migration.source_id)


def _was_found(slot: Slot) -> bool:
    """Whether the vectors were there before embedmig, or were given to the application: what it keeps has a hash."""
    return slot.hash_column is None


def _refuse_pinned(conn: Connection, collection: Collection, dropped: list[Slot]) -> None:
    names = {slot.name for slot in dropped}
    pinned = [pin for pin in routes.live_pins(conn, collection) if pin.slot in names]
    if pinned:
        who = ", ".join(f"pid {pin.pid} on {pin.host} ({pin.slot})" for pin in pinned)
        raise RefusedError(
            f"EMBEDMIG_ACTIVE_INDEX pins processes to a slot that would go: {who}. Unset it there, and try again 10"
            " minutes later"
        )


def move_companion_statement(slot: Slot, old: str, new: str) -> str:
    """Puts a companion into another schema."""
    move = sql.SQL("ALTER TABLE {} SET SCHEMA {}")
    return move.format(sql.Identifier(old, slot.table), sql.Identifier(new)).as_string(None)


def _drop_slot(conn: Connection, slot: Slot) -> list[str]:
    if slot.placement is Placement.COMPANION:
        return [sql.SQL("DROP TABLE IF EXISTS {}").format(identifiers.slot_table(slot)).as_string(conn)]
    names = [slot.vector_column, *label_columns(conn, slot)]
    drops = identifiers.comma(sql.SQL("DROP COLUMN IF EXISTS {}").format(sql.Identifier(name)) for name in names)
    check = drop_check_statement(identifiers.slot_table(slot), slot.vector_column)
    alter = sql.SQL("ALTER TABLE {} {}").format(identifiers.slot_table(slot), drops)
    return [check.as_string(conn), alter.as_string(conn)]


def _free_slot(conn: Connection, slot: Slot) -> list[str]:
    """Without its check and labels, which nobody would keep true. A companion keeps its columns: they are its own."""
    table = identifiers.slot_table(slot)
    statements = unlabel_statements(slot, label_columns(conn, slot))
    if slot.placement is Placement.COLUMN and not _was_found(slot):
        comment = sql.SQL("COMMENT ON COLUMN {}.{} IS NULL").format(table, sql.Identifier(slot.vector_column))
        statements.append(comment.as_string(conn))
    return statements


def _refuse_taken(conn: Connection, collection: Collection, slot: Slot) -> str:
    row = conn.execute(QUERIES["name_is_taken"], {"schema": collection.schema, "name": slot.table}).fetchone()
    if row is not None and row["taken"]:
        raise ConflictError(
            f"the companion {slot.table} would stay in schema {collection.schema}, which has a {slot.table} already:"
            " rename that first"
        )
    return f"{collection.schema}.{slot.table}"


def _table_of(conn: Connection, name: str) -> tuple[str, str] | None:
    there = conn.execute(QUERIES["has_catalog"]).fetchone()
    if there is None or not there["has"]:
        return None
    row = conn.execute(QUERIES["table_of"], {"name": name}).fetchone()
    return None if row is None else (row["schema"], row["table"])
