"""Revisions that match what was done at once: written into the user's environment, a no-op where it is so already, the
same change where it is not (a fresh database, a colleague's). An environment that knows nothing of the slot gets none:
it could not run there."""

from collections.abc import Sequence
from pathlib import Path

from alembic.operations import MigrateOperation
from alembic.operations.ops import ExecuteSQLOp

from embedmig.db import Connection
from embedmig.schema.contracting import Ending, index_rename_statements, source_arguments, unlabel_source
from embedmig.schema.detaching import Leaving, move_companion_statement
from embedmig.schema.expanding import drop_operation
from embedmig.schema.inspection import find_ann_indexes
from embedmig.schema.labels import label_columns, relabel_statements
from embedmig.schema.operations import (
    AddEmbeddingColumnOp,
    CreateVectorIndexOp,
    DropEmbeddingColumnOp,
    FollowEmbedmigOp,
    index_arguments,
)
from embedmig.schema.operations.add_embedding_column import add_slot_statements
from embedmig.schema.operations.follow_embedmig import DETACH, KEEP_SOURCE, RETIRE
from embedmig.schema.revisions import Revision, find_environment, find_revision, write_revision
from embedmig.schema.slot_arguments import SlotArguments
from embedmig.schema.views import create_view_statements, drop_view_statement
from embedmig.settings import Settings
from embedmig.types import Collection, Placement, Slot

Operations = tuple[list[MigrateOperation], list[MigrateOperation]]
"""What a revision does, and what its downgrade does."""


def environment_of(settings: Settings, collection: Collection, slot: Slot) -> Path | None:
    """The user's environment, if a revision of it adds the slot. Ask it before anything is done: it raises UsageError
    where a revision could not be written afterwards."""
    ini = find_environment(settings)
    if ini is None or find_revision(ini, "add_embedding_column", collection.name, slot.name) is None:
        return None
    return ini


def environment_of_any(settings: Settings, collection: Collection, slots: Sequence[Slot]) -> Path | None:
    """The same, if a revision of it adds any of ``slots``."""
    return next((ini for slot in slots if (ini := environment_of(settings, collection, slot)) is not None), None)


def match_index(ini: Path, conn: Connection, collection: Collection, slot: Slot) -> Revision | None:
    """The revision for the slot's indexes: the one there is, or one written now; None when the slot has no index."""
    # Of the slot that there is now: before a detach there may have been another of its name.
    added = find_revision(ini, "add_embedding_column", collection.name, slot.name)
    found = find_revision(ini, "create_vector_index", collection.name, slot.name, after=added)
    if found is not None:
        return found
    indexes = find_ann_indexes(conn, slot.schema, slot.table, slot.vector_column)
    own = [index for index in indexes if (index.schema, index.table) == (slot.schema, slot.table)]
    if not own:
        return None
    creates = [CreateVectorIndexOp(index_arguments(index, collection, slot)) for index in own]
    drops = [create.reverse() for create in reversed(creates)]
    return write_revision(ini, f"index {slot.name} of {collection.name}", creates, drops)


def contract_operations(conn: Connection, ending: Ending) -> Operations:
    """What a revision does that drops the source, and what its downgrade does: the same columns, empty, as the target
    of a migration back. Call it while the source is still there."""
    collection, source, target = ending.collection, ending.source, ending.target
    arguments = source_arguments(conn, collection, source, target)
    up: list[MigrateOperation] = []
    down: list[MigrateOperation] = [AddEmbeddingColumnOp(arguments)]
    if source.placement is Placement.COMPANION:
        up.append(ExecuteSQLOp(drop_view_statement(collection)))
    up.append(DropEmbeddingColumnOp(arguments))
    there, back = index_rename_statements(ending)
    up += [ExecuteSQLOp(statement) for statement in there]
    down = [ExecuteSQLOp(statement) for statement in back] + down
    if target.placement is Placement.COMPANION:
        up += [ExecuteSQLOp(statement) for statement in create_view_statements(collection, target)]
        down.insert(0, ExecuteSQLOp(drop_view_statement(collection)))
    if ending.renamed is not None:
        up.append(ending.renamed)
        down.insert(0, ending.renamed.reverse())
    return up, down


def retire_operations(ending: Ending) -> Operations:
    """What a revision does that drops the source's indexes alone."""
    undo = [_unless_there(index.definition) for index in ending.indexes]
    return _followed(ending.collection, RETIRE, ending.source, list(ending.retire_sql), undo)


def keep_operations(conn: Connection, ending: Ending) -> Operations:
    """What a revision does that leaves the source as an ordinary column. Call it while the source is still labelled."""
    source, target = ending.source, ending.target
    do = [*ending.retire_sql, *unlabel_source(conn, source)]
    undo = [*relabel_statements(source, label_columns(conn, source))]
    undo += [_unless_there(index.definition) for index in ending.indexes if ending.retire_sql]
    if target.placement is Placement.COMPANION:
        do += create_view_statements(ending.collection, target)
        undo.insert(0, drop_view_statement(ending.collection))
    return _followed(ending.collection, KEEP_SOURCE, source, do, undo)


def detach_operations(conn: Connection, collection: Collection, leaving: Leaving) -> Operations:
    """What a revision does that takes embedmig off a table. Call it before that is done. Its downgrade puts labels on
    again, and makes what was dropped anew, empty."""
    undo: list[str] = []
    for slot in leaving.kept:
        if slot.placement is Placement.COMPANION and leaving.moved_to is not None:
            undo.append(move_companion_statement(slot, collection.schema, slot.schema))
        undo += relabel_statements(slot, label_columns(conn, slot))
    for slot in leaving.dropped:
        undo += [part.as_string(None) for part in add_slot_statements(_arguments_of(conn, collection, slot))]
    return _followed(collection, DETACH, None, list(leaving.sql), undo)


def _arguments_of(conn: Connection, collection: Collection, slot: Slot) -> SlotArguments:
    """Either slot of the open migration as an operation names it."""
    operation, source, target = drop_operation(conn, collection)
    return operation.slot if slot.id == target.id else source_arguments(conn, collection, source, target)


def _followed(collection: Collection, verb: str, slot: Slot | None, do: list[str], undo: list[str]) -> Operations:
    if not do:
        return [], []
    op = FollowEmbedmigOp(collection.name, verb, slot=None if slot is None else slot.name, statements=do, undo=undo)
    return [op], [op.reverse()]


def _unless_there(definition: str) -> str:
    return definition.replace(" INDEX ", " INDEX IF NOT EXISTS ", 1)
