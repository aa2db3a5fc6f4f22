"""Ends a migration: the source's index goes, then the source, and the migration closes. Each is a short transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from psycopg import sql

from embedmig.catalog import migrations, routes, slots
from embedmig.catalog.events import log_event
from embedmig.db import Connection, Queries, identifiers
from embedmig.errors import ConflictError, RefusedError
from embedmig.schema.contract_gates import share_gates
from embedmig.schema.designing import slot_arguments
from embedmig.schema.inspection import AnnIndex, describe_table, find_ann_indexes
from embedmig.schema.labels import label_columns, unlabel_statements
from embedmig.schema.locking import under_lock
from embedmig.schema.operations import RenameEmbeddingColumnOp
from embedmig.schema.operations.drop_embedding_column import drop_slot_statements
from embedmig.schema.slot_arguments import SlotArguments
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
    renamed = _rename(conn, collection, source, target, keep_source=keep_source) if rename_column else None
    indexes = _own_indexes(conn, source)
    ending = Ending(
        collection=collection,
        migration=migration,
        source=source,
        target=target,
        keep_source=keep_source,
        indexes=tuple(indexes),
        renamed=renamed,
        retire_sql=tuple(_drop_index(index) for index in indexes) if migration.retired_at is None else (),
        drop_sql=(),
        save_command=_save_command(conn, collection, source),
        rebuild_commands=tuple(_concurrently(index.definition) for index in indexes),
    )
    return replace(ending, drop_sql=tuple(_closing_statements(conn, ending)))


def _closing_statements(conn: Connection, ending: Ending) -> list[str]:
    collection, source, target = ending.collection, ending.source, ending.target
    if ending.keep_source:
        statements = unlabel_source(conn, source)
    else:
        statements = _drop_statements(conn, collection, source, target)
    statements += index_rename_statements(ending)[0]
    if target.placement is Placement.COMPANION:
        statements += create_view_statements(collection, target)
    if ending.renamed is not None:
        statements += ending.renamed.statements()
    return statements


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
        slots.set_maintainer(inner, source, Maintainer.APP)
        if name is not None:
            slots.set_index(inner, source, name)
        migrations.mark_retired(inner, ending.migration)
        replace_trigger(inner, collection)
        routes.raise_epoch(inner, collection.group)
        _require_full(inner, ending)
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
        if index is not None:
            slots.set_index(inner, target, index)
        migrations.close_migration(inner, ending.migration)
        # The triggers go first: they watch the column that is about to go.
        replace_trigger(inner, collection)
        for statement in ending.drop_sql:
            inner.execute(statement)
        routes.raise_epoch(inner, collection.group)
        _require_full(inner, ending)
        if not migrations.count_other_open(inner, collection):
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


def _require_full(conn: Connection, ending: Ending) -> None:
    """Asked once more with the route's row locked: a rollback may have come between the gates and the table's lock."""
    for gate in share_gates(conn, ending.collection, ending.source):
        raise RefusedError(gate.why)


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


def source_arguments(conn: Connection, collection: Collection, source: Slot, target: Slot) -> SlotArguments:
    """The source as drop_embedding_column names it, with those label columns that are ours."""
    arguments = slot_arguments(conn, collection, source, target, source_label=None)
    ours = label_columns(conn, source)
    return replace(arguments, model_column=source.model_column if source.model_column in ours else None)


def index_rename_statements(ending: Ending) -> tuple[list[str], list[str]]:
    """What gives the new index the old one's name, and what takes it back; nothing where it keeps its own."""
    target = ending.target
    new_name = _new_index_name(ending.source, target, list(ending.indexes), keep_source=ending.keep_source)
    if new_name is None or target.index_name is None:
        return [], []
    return [_rename_index(target.schema, target.index_name, new_name)], [
        _rename_index(target.schema, new_name, target.index_name)
    ]


def _rename_index(schema: str, old: str, new: str) -> str:
    rename = sql.SQL("ALTER INDEX IF EXISTS {} RENAME TO {}")
    return rename.format(sql.Identifier(schema, old), sql.Identifier(new)).as_string(None)


def _drop_statements(conn: Connection, collection: Collection, source: Slot, target: Slot) -> list[str]:
    # The view joins the companion that goes; the one that stays gets its own.
    view = [drop_view_statement(collection)] if source.placement is Placement.COMPANION else []
    arguments = source_arguments(conn, collection, source, target)
    return view + [part.as_string(None) for part in drop_slot_statements(arguments)]


def unlabel_source(conn: Connection, source: Slot) -> list[str]:
    """Takes our label, hash and check off a source that stays."""
    return [] if source.placement is Placement.COMPANION else unlabel_statements(source, label_columns(conn, source))


def _new_index_name(source: Slot, target: Slot, indexes: list[AnnIndex], *, keep_source: bool) -> str | None:
    """The old index's name, where the new one can take it: on the same table, and with the old one gone."""
    old = source.index_name or (indexes[0].name if indexes else None)
    same_table = (source.schema, source.table) == (target.schema, target.table)
    if old is None or target.index_name is None or not same_table or keep_source or old == target.index_name:
        return None
    return old


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
