"""expand and handover, and their undoing: the target beside the source, and who writes the source."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from embedmig.catalog import migrations, slots
from embedmig.catalog.collections import get_collection
from embedmig.catalog.models import get_model
from embedmig.db import Connection, Database
from embedmig.errors import DatabaseError, RefusedError
from embedmig.schema import expanding, handing_over, revisions
from embedmig.schema.constraints import validate_checks
from embedmig.schema.designing import resolve_placement
from embedmig.schema.handing_over import Lacking
from embedmig.settings import Settings, load_settings
from embedmig.types import Collection, Migration, ModelState, Placement, Slot

if TYPE_CHECKING:
    from alembic.operations import MigrateOperation


@dataclass(frozen=True, kw_only=True)
class SlotChange:
    """What expand or its undo did, or wrote down to be done."""

    collection: str
    source: str
    target: str
    model: str
    placement: Placement
    why_placed: str
    sql: tuple[str, ...]
    """One transaction, in order."""
    revision: Path | None
    """The file in the user's Alembic environment; None: there is none, and it was run at once."""
    done: bool
    """False: the revision waits for ``alembic upgrade head``."""
    changed: bool
    """False: it was so before."""


@dataclass(frozen=True, kw_only=True)
class HandoverResult:
    """Who writes the source now."""

    collection: str
    slot: str
    maintained_by: str
    changed: bool
    lacking: Lacking | None
    """Rows with text that had no vector in it; None where nobody counted them."""
    queued_rows: int
    way_back_ends_at: datetime | None
    """The old model is gone: rows written since then have no vector in the source."""


def expand(
    db: Database,
    collection: str,
    model: str,
    *,
    placement: Placement | None = None,
    run: bool = False,
    at_once: bool = False,
    settings: Settings | None = None,
) -> SlotChange:
    """Opens a migration of ``collection`` to ``model`` (name@revision). In a user's Alembic environment it writes a
    revision, and runs it only with ``run`` and when no other revision waits; elsewhere, or with ``at_once``, the same
    statements run now. ``placement`` None: ``auto``.

    Repeating it changes nothing. Raises NotFoundError, RefusedError, ConflictError, UnsupportedError, LockedError.
    """
    chosen = settings or load_settings()
    with db.connect(patience=chosen) as conn:
        found = get_collection(conn, collection)
        wanted = get_model(conn, model)
        if wanted.state is ModelState.GONE:
            raise RefusedError(f"model {model} is gone: nothing can be embedded with it (embedmig model set {model})")
        if (open_way := migrations.find_migration(conn, found)) is not None:
            return _already_open(conn, found, open_way, model, placement)
        ini = None if at_once else revisions.find_environment(chosen)
        if ini is None:
            opened = expanding.expand(conn, found, wanted, placement, settings=chosen)
            return _change(found, opened.source, opened.target, opened.why_placed, opened.sql)
        _, why = resolve_placement(conn, found, placement)
        op, source, target = expanding.add_operation(conn, found, wanted, placement)
        written = _write(ini, op, f"expand {found.name} to {wanted.key}", found, target, run=run)
        if run:
            revisions.run_revision(written, chosen)
            _require_here(db, found, migrations.find_migration(conn, found) is not None)
            validate_checks(conn, found, slots.get_slot(conn, found, target.name))
        return _change(found, source, target, why, tuple(op.statements()), revision=written.path, done=run)


def expand_undo(
    db: Database, collection: str, *, run: bool = False, at_once: bool = False, settings: Settings | None = None
) -> SlotChange:
    """Drops the open migration's target, which must serve nobody, and closes the migration; the environment is treated
    as ``expand`` treats it. Raises RefusedError, LockedError."""
    chosen = settings or load_settings()
    with db.connect(patience=chosen) as conn:
        found = get_collection(conn, collection)
        ini = None if at_once else revisions.find_environment(chosen)
        if ini is not None and migrations.find_migration(conn, found) is None:
            _refuse_waiting(conn, ini, found)
        op, source, target = expanding.drop_operation(conn, found)
        if ini is None:
            undone = expanding.undo_expand(conn, found, settings=chosen)
            return _change(found, undone.source, undone.target, "", undone.sql)
        written = _write(ini, op, f"take back {target.name} of {found.name}", found, target, run=run)
        if run:
            revisions.run_revision(written, chosen)
            _require_here(db, found, migrations.find_migration(conn, found) is None)
        return _change(found, source, target, "", tuple(op.statements()), revision=written.path, done=run)


def handover(
    db: Database,
    collection: str,
    *,
    to_app: bool = False,
    on_cost: Callable[[Lacking], None] = lambda lacking: None,
    settings: Settings | None = None,
) -> HandoverResult:
    """Makes embedmig the maintainer of the open migration's source, so that there is a way back from the switch.
    ``on_cost`` is told what queueing the rows without a vector would cost, before anything is changed. ``to_app``: with
    no migration open, gives the only slot to the application instead.

    Repeating it queues what still lacks a vector. Raises RefusedError, LockedError.
    """
    chosen = settings or load_settings()
    with db.connect(patience=chosen) as conn:
        found = get_collection(conn, collection)
        if to_app:
            return _given_to_app(conn, found, chosen)
        source = _source_of(conn, found, migrations.get_migration(conn, found))
        if source.model.state is not ModelState.GONE:
            on_cost(handing_over.count_lacking(conn, found, source))
        handed = handing_over.hand_over(conn, found, settings=chosen)
        return HandoverResult(
            collection=found.name,
            slot=handed.source.name,
            maintained_by=handed.source.maintained_by,
            changed=handed.changed,
            lacking=handed.lacking,
            queued_rows=handed.queued_rows,
            way_back_ends_at=handed.migration.way_back_ends_at,
        )


def handover_undo(db: Database, collection: str, *, settings: Settings | None = None) -> HandoverResult:
    """Gives the source back to whom it was before the handover. Raises RefusedError while the target serves."""
    chosen = settings or load_settings()
    with db.connect(patience=chosen) as conn:
        found = get_collection(conn, collection)
        migration = migrations.get_migration(conn, found)
        changed = handing_over.undo_handover(conn, found, settings=chosen)
        return _as_it_is(_source_of(conn, found, migration), found, changed=changed)


def _given_to_app(conn: Connection, collection: Collection, settings: Settings) -> HandoverResult:
    before = slots.list_slots(conn, collection)
    slot = handing_over.give_to_app(conn, collection, settings=settings)
    return _as_it_is(slot, collection, changed=slot not in before)


def _as_it_is(slot: Slot, collection: Collection, *, changed: bool) -> HandoverResult:
    return HandoverResult(
        collection=collection.name,
        slot=slot.name,
        maintained_by=slot.maintained_by,
        changed=changed,
        lacking=None,
        queued_rows=0,
        way_back_ends_at=None,
    )


def _write(
    ini: Path, op: "MigrateOperation", message: str, collection: Collection, target: Slot, *, run: bool
) -> revisions.Revision:
    """The revision for an operation: the one an earlier run wrote, if it is still to be run."""
    function = str(op.to_diff_tuple()[0])
    written = revisions.find_waiting(ini, function, collection.name, target.name)
    apart = target.placement is Placement.COMPANION
    if written and not (written.mentions(f"model={target.model.key!r},") and written.mentions("companion=") == apart):
        raise RefusedError(
            f"{written.path} waits to be run, and is for another model or placement: run it, alembic upgrade head, or"
            " delete it and run this again"
        )
    if run:
        # Asked before a file is written, and again of the one that is there.
        revisions.refuse_pending(ini, but=written)
    return written or revisions.write_revision(ini, message, [op], [op.reverse()])


def _refuse_waiting(conn: Connection, ini: Path, collection: Collection) -> None:
    """Raises RefusedError where a revision would open the migration and has not been run: there is nothing to undo."""
    name = slots.next_slot_name(conn, collection)
    waiting = revisions.find_waiting(ini, "add_embedding_column", collection.name, name)
    if waiting is not None:
        raise RefusedError(
            f"{waiting.path} has not been run, so nothing of slot {name} of {collection.name} is here to be taken back:"
            " delete the file (or run it, alembic upgrade head, and undo it then)"
        )


def _already_open(
    conn: Connection, collection: Collection, migration: Migration, model: str, placement: Placement | None
) -> SlotChange:
    by_id = {slot.id: slot for slot in slots.list_slots(conn, collection)}
    source, target = by_id[migration.source_id], by_id[migration.target_id]
    if target.model.key != model or placement not in (None, target.placement):
        expanding.refuse_expand(conn, collection)
    validate_checks(conn, collection, target)
    return _change(collection, source, target, "as it is", (), changed=False)


def _require_here(db: Database, collection: Collection, shows: bool) -> None:
    if not shows:
        raise DatabaseError(
            f"the revision ran, and the catalog in {db.safe_url} shows nothing of it for {collection.name}: does the"
            " Alembic environment connect to another database?"
        )


def _source_of(conn: Connection, collection: Collection, migration: Migration) -> Slot:
    return next(slot for slot in slots.list_slots(conn, collection) if slot.id == migration.source_id)


def _change(
    collection: Collection,
    source: Slot,
    target: Slot,
    why: str,
    statements: tuple[str, ...],
    *,
    revision: Path | None = None,
    done: bool = True,
    changed: bool = True,
) -> SlotChange:
    return SlotChange(
        collection=collection.name,
        source=source.name,
        target=target.name,
        model=target.model.key,
        placement=target.placement,
        why_placed=why,
        sql=statements,
        revision=revision,
        done=done,
        changed=changed,
    )
