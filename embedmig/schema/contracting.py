"""Ends a migration: the source's index goes, then the source, and the migration closes. Each is a short transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from psycopg import sql

from embedmig.catalog import migrations, routes, slots
from embedmig.catalog.events import log_event
from embedmig.db import Connection, Queries, identifiers
from embedmig.errors import ConflictError
from embedmig.schema.designing import slot_arguments
from embedmig.schema.inspection import AnnIndex, describe_table, find_ann_indexes
from embedmig.schema.labels import label_columns
from embedmig.schema.locking import under_lock
from embedmig.schema.naming import check_of
from embedmig.schema.operations import RenameEmbeddingColumnOp
from embedmig.schema.operations.drop_embedding_column import drop_slot_statements
from embedmig.schema.triggers import replace_trigger
from embedmig.schema.views import create_view_statements, drop_view_statement
from embedmig.settings import Settings
from embedmig.types import Collection, Maintainer, Migration, Placement, Slot

QUERIES = Queries(__package__, "contracting.sql")


@dataclass(frozen=True, kw_only=True)
class Ending:
    """A migration that is to end: what each step runs. Nothing is run by making it."""

    collection: Collection
    migration: Migration
    source: Slot
    target: Slot
    keep_source: bool
    indexes: tuple[AnnIndex, ...]
    """The source's own, gone once retired."""
    renamed: RenameEmbeddingColumnOp | None
    retire_sql: tuple[str, ...]
    drop_sql: tuple[str, ...]
    save_command: str
    """Saves the source's vectors to a file, for psql."""
    rebuild_commands: tuple[str, ...]
    """What would bring the source's indexes back."""


def plan_ending(
    conn: Connection,
    collection: Collection,
    migration: Migration,
    *,
    keep_source: bool = False,
    rename_column: bool = False,
) -> Ending:
    """What contract would do to the open migration. Reads the database, changes nothing.

    Raises ConflictError when ``rename_column`` has no name to give, or one that is taken.
    """
    by_id = {slot.id: slot for slot in slots.list_slots(conn, collection)}
    source, target = by_id[migration.source_id], by_id[migration.target_id]
    indexes = _own_indexes(conn, source)
    renamed = _rename(conn, collection, source, target, keep_source=keep_source) if rename_column else None
    drop = _unlabel_statements(conn, source) if keep_source else _drop_statements(conn, collection, source, target)
    drop += _index_rename(source, target, indexes, keep_source=keep_source)
    if target.placement is Placement.COMPANION:
        drop += create_view_statements(collection, target)
    if renamed is not None:
        drop += renamed.statements()
    return Ending(
        collection=collection,
        migration=migration,
        source=source,
        target=target,
        keep_source=keep_source,
        indexes=tuple(indexes),
        renamed=renamed,
        retire_sql=tuple(_drop_index(index) for index in indexes) if migration.retired_at is None else (),
        drop_sql=tuple(drop),
        save_command=_save_command(conn, collection, source),
        rebuild_commands=tuple(_concurrently(index.definition) for index in indexes),
    )


def retire(
    conn: Connection, ending: Ending, *, why: str | None = None, forced: Sequence[str] = (), settings: Settings | None
) -> None:
    """Drops the source's indexes and ends its care: the instant way back ends here. Whether the application still
    writes the source is watched on, for the drop."""
    collection, source = ending.collection, ending.source
    # The name is kept for the new index, which takes it when the source is dropped.
    name = source.index_name or (ending.indexes[0].name if ending.indexes else None)

    def work(inner: Connection) -> None:
        inner.execute(QUERIES["retire_work"], {"slot_id": source.id})
        for statement in ending.retire_sql:
            inner.execute(statement)
        slots.update_slot(inner, replace(source, maintained_by=Maintainer.APP, index_name=name))
        migrations.mark_retired(inner, ending.migration)
        replace_trigger(inner, collection)
        routes.raise_epoch(inner, collection.group)
        log_event(
            inner,
            "contract",
            collection.name,
            was=source.name,
            became="retired",
            why=why,
            forced=list(forced),
            indexes=[index.name for index in ending.indexes],
        )

    under_lock(conn, collection, work, settings)


def drop_source(
    conn: Connection, ending: Ending, *, why: str | None = None, forced: Sequence[str] = (), settings: Settings | None
) -> None:
    """Drops the source (or leaves it as an ordinary column), closes the migration and makes the target the only slot,
    whatever the share; the last open migration of the group takes the share to 0 with it."""
    collection, source, target = ending.collection, ending.source, ending.target
    index = _new_index_name(source, target, list(ending.indexes), keep_source=ending.keep_source)

    def work(inner: Connection) -> None:
        slots.drop_slot(inner, source)
        slots.update_slot(inner, replace(target, index_name=index or target.index_name))
        migrations.close_migration(inner, ending.migration)
        # The triggers go first: they watch the column that is about to go.
        replace_trigger(inner, collection)
        for statement in ending.drop_sql:
            inner.execute(statement)
        if migrations.count_other_open(inner, collection):
            routes.raise_epoch(inner, collection.group)
        else:
            routes.set_share(inner, collection.group, 0)
        log_event(
            inner,
            "contract",
            collection.name,
            was=source.name,
            became=target.name,
            why=why,
            forced=list(forced),
            kept=ending.keep_source,
            renamed=None if ending.renamed is None else ending.renamed.new_name,
        )

    under_lock(conn, collection, work, settings)


def build_seconds(conn: Connection, collection: Collection) -> float | None:
    """How long the newest index build of the collection took; None when none is in the log."""
    row = conn.execute(QUERIES["build_seconds"], {"collection": collection.name}).fetchone()
    return None if row is None else row["seconds"]


def _own_indexes(conn: Connection, slot: Slot) -> list[AnnIndex]:
    """The slot's ANN indexes; those of partitions go with their parent's."""
    found = find_ann_indexes(conn, slot.schema, slot.table, slot.vector_column)
    return [index for index in found if (index.schema, index.table) == (slot.schema, slot.table)]


def _drop_index(index: AnnIndex) -> str:
    return sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(index.schema, index.name)).as_string(None)


def _drop_statements(conn: Connection, collection: Collection, source: Slot, target: Slot) -> list[str]:
    arguments = slot_arguments(conn, collection, source, target, source_label=None)
    ours = label_columns(conn, source)
    model = source.model_column if source.model_column in ours else None
    kept = replace(arguments, model_column=model)
    # The view joins the companion that goes; the one that stays gets its own.
    view = [drop_view_statement(collection)] if source.placement is Placement.COMPANION else []
    return view + [part.as_string(None) for part in drop_slot_statements(kept)]


def _unlabel_statements(conn: Connection, source: Slot) -> list[str]:
    """Takes our label, hash and check off a source that stays: nobody would keep them true."""
    if source.placement is Placement.COMPANION:
        return []
    drops = [
        sql.SQL("DROP CONSTRAINT IF EXISTS {}").format(sql.Identifier(check_of(source.vector_column))),
        *(sql.SQL("DROP COLUMN {}").format(sql.Identifier(name)) for name in label_columns(conn, source)),
    ]
    alter = sql.SQL("ALTER TABLE {} {}").format(identifiers.slot_table(source), identifiers.comma(drops))
    return [alter.as_string(None)]


def _new_index_name(source: Slot, target: Slot, indexes: list[AnnIndex], *, keep_source: bool) -> str | None:
    """The old index's name, where the new one can take it: on the same table, and with the old one gone."""
    old = source.index_name or (indexes[0].name if indexes else None)
    same_table = (source.schema, source.table) == (target.schema, target.table)
    if old is None or target.index_name is None or not same_table or keep_source or old == target.index_name:
        return None
    return old


def _index_rename(source: Slot, target: Slot, indexes: list[AnnIndex], *, keep_source: bool) -> list[str]:
    new_name = _new_index_name(source, target, indexes, keep_source=keep_source)
    if new_name is None:
        return []
    assert target.index_name is not None
    rename = sql.SQL("ALTER INDEX IF EXISTS {} RENAME TO {}")
    return [rename.format(sql.Identifier(target.schema, target.index_name), sql.Identifier(new_name)).as_string(None)]


def _rename(
    conn: Connection, collection: Collection, source: Slot, target: Slot, *, keep_source: bool
) -> RenameEmbeddingColumnOp:
    if keep_source or Placement.COMPANION in (source.placement, target.placement):
        raise ConflictError(
            f"slot {target.name} of {collection.name} cannot take the name of {source.name}'s column: --rename-column"
            " is for two columns of one table, of which the old one goes"
        )
    new, ours = source.vector_column, label_columns(conn, source)
    also = {
        old: f"{new}{end}"
        for old, end in ((target.model_column, "_model"), (target.hash_column, "_hash"))
        if old is not None
    }
    taken = {column.name for column in describe_table(conn, collection.schema, collection.table).columns} - set(ours)
    for name in also.values():
        if name in taken:
            raise ConflictError(
                f"{collection.qualified} has a column {name} of its own: contract without --rename-column"
            )
    return RenameEmbeddingColumnOp(
        collection.table,
        target.vector_column,
        new,
        collection=collection.name,
        slot=target.name,
        schema=collection.schema,
        also=also,
    )


def _save_command(conn: Connection, collection: Collection, source: Slot) -> str:
    """``\\copy`` writes where psql runs, and needs no right on the server's files."""
    columns = [source.vector_column, *label_columns(conn, source)]
    select = sql.SQL("SELECT {}, {} FROM {} WHERE {} IS NOT NULL").format(
        identifiers.keys(collection),
        identifiers.names(columns),
        identifiers.slot_table(source),
        sql.Identifier(source.vector_column),
    )
    file = f"{collection.name}_{source.name}.csv".replace("'", "").replace("/", "_")
    return f"\\copy ({select.as_string(conn)}) TO '{file}' WITH (FORMAT csv, HEADER)"


def _concurrently(definition: str) -> str:
    return definition.replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
