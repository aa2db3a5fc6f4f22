"""Opens a migration: makes the target beside the source, and takes it back."""

from dataclasses import dataclass

from embedmig.catalog import migrations, slots
from embedmig.db import Connection, Queries
from embedmig.errors import RefusedError
from embedmig.schema.constraints import validate_checks
from embedmig.schema.designing import design_target, new_label_of, resolve_placement, slot_arguments
from embedmig.schema.labels import declared_label
from embedmig.schema.locking import run_statements
from embedmig.schema.operations import AddEmbeddingColumnOp, DropEmbeddingColumnOp
from embedmig.settings import Settings
from embedmig.types import Collection, Migration, Model, Placement, Slot

QUERIES = Queries(__package__, "expanding.sql")


@dataclass(frozen=True, kw_only=True)
class Expanded:
    """A migration just opened."""

    source: Slot
    target: Slot
    migration: Migration
    why_placed: str
    sql: tuple[str, ...]
    """What was run, in order, as one transaction."""


@dataclass(frozen=True, kw_only=True)
class Undone:
    """A target that was taken back."""

    source: Slot
    target: Slot
    sql: tuple[str, ...]


def refuse_expand(conn: Connection, collection: Collection) -> None:
    """Raises RefusedError while a migration is open, the group's share is not 0, or a process is pinned to ``old`` or
    ``new``: those words would mean another slot from then on."""
    row = conn.execute(QUERIES["refuse_expand"], {"collection_id": collection.id}).fetchone()
    assert row is not None
    if row["reason"] is not None:
        raise RefusedError(row["reason"])


def source_of(conn: Connection, collection: Collection) -> Slot:
    """The collection's only slot, which the next migration comes from."""
    live = slots.list_slots(conn, collection)
    if len(live) != 1:
        names = ", ".join(slot.name for slot in live) or "none"
        raise RefusedError(f"{collection.name} has the slots {names}: a migration begins where there is one")
    return live[0]


def add_operation(
    conn: Connection, collection: Collection, model: Model, placement: Placement | None = None
) -> tuple[AddEmbeddingColumnOp, Slot, Slot]:
    """The operation that would open a migration to ``model``, its source, and its target (id 0). Refuses what
    ``expand`` refuses; changes nothing."""
    refuse_expand(conn, collection)
    source = source_of(conn, collection)
    target = design_target(conn, collection, source, model, placement)
    arguments = slot_arguments(conn, collection, target, source, source_label=new_label_of(source, target))
    return AddEmbeddingColumnOp(arguments), source, target


def expand(
    conn: Connection,
    collection: Collection,
    model: Model,
    placement: Placement | None = None,
    *,
    settings: Settings | None = None,
) -> Expanded:
    """Adds the target, opens the migration and begins to queue edits for it, in one short transaction; then validates
    the checks in one of their own. A crash between leaves checks that hold for new rows only: run validate_checks.

    Raises RefusedError, ConflictError or UnsupportedError with nothing changed; LockedError, naming who holds it.
    """
    _, why = resolve_placement(conn, collection, placement)
    op, source, target = add_operation(conn, collection, model, placement)
    statements = op.statements()
    run_statements(conn, collection, statements, settings)
    made = slots.get_slot(conn, collection, target.name)
    validate_checks(conn, collection, made)
    return Expanded(
        source=slots.get_slot(conn, collection, source.name),
        target=made,
        migration=migrations.get_migration(conn, collection),
        why_placed=why,
        sql=tuple(statements),
    )


def drop_operation(conn: Connection, collection: Collection) -> tuple[DropEmbeddingColumnOp, Slot, Slot]:
    """The operation that would take the open migration's target back, its source, and the target."""
    migration = migrations.get_migration(conn, collection)
    by_id = {slot.id: slot for slot in slots.list_slots(conn, collection)}
    source, target = by_id[migration.source_id], by_id[migration.target_id]
    arguments = slot_arguments(conn, collection, target, source, source_label=declared_label(conn, source))
    return DropEmbeddingColumnOp(arguments), source, target


def undo_expand(conn: Connection, collection: Collection, *, settings: Settings | None = None) -> Undone:
    """Drops the target and closes the migration, with the label that came with it.

    Raises RefusedError while the target serves a share or a pinned process, or after the handover.
    """
    op, source, target = drop_operation(conn, collection)
    statements = op.statements()
    run_statements(conn, collection, statements, settings)
    return Undone(source=slots.get_slot(conn, collection, source.name), target=target, sql=tuple(statements))
