"""Revisions that match what was done at once: written into the user's environment, a no-op where it is so already, the
same change where it is not (a fresh database, a colleague's). An environment that knows nothing of the slot gets none:
it could not run there."""

from pathlib import Path

from alembic.operations import MigrateOperation
from alembic.operations.ops import ExecuteSQLOp

from embedmig.db import Connection
from embedmig.schema.contracting import Ending, index_rename_statements, source_arguments
from embedmig.schema.inspection import find_ann_indexes
from embedmig.schema.operations import (
    AddEmbeddingColumnOp,
    CreateVectorIndexOp,
    DropEmbeddingColumnOp,
    index_arguments,
)
from embedmig.schema.revisions import Revision, find_environment, find_revision, write_revision
from embedmig.schema.views import create_view_statements, drop_view_statement
from embedmig.settings import Settings
from embedmig.types import Collection, Placement, Slot


def environment_of(settings: Settings, collection: Collection, slot: Slot) -> Path | None:
    """The user's environment, if a revision of it adds the slot. Ask it before anything is done: it raises UsageError
    where a revision could not be written afterwards."""
    ini = find_environment(settings)
    if ini is None or find_revision(ini, "add_embedding_column", collection.name, slot.name) is None:
        return None
    return ini


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


def contract_operations(conn: Connection, ending: Ending) -> tuple[list[MigrateOperation], list[MigrateOperation]]:
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
