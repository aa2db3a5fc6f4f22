"""Who writes a slot: the source goes to embedmig before a switch, so that there is a way back; and back to the app."""

from dataclasses import dataclass, replace
from typing import Any

from psycopg import sql

from embedmig.catalog import migrations, routes, slots
from embedmig.catalog.events import log_event
from embedmig.db import Connection, Queries, identifiers
from embedmig.errors import RefusedError
from embedmig.schema.locking import under_lock
from embedmig.schema.triggers import replace_trigger
from embedmig.schema.views import create_view_statements, drop_view_statement
from embedmig.settings import Settings
from embedmig.types import Collection, Maintainer, Migration, ModelState, Placement, Slot

QUERIES = Queries(__package__, "handing_over.sql")

CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True, kw_only=True)
class Lacking:
    """Rows with text that have no vector in a slot, and about what embedding them costs."""

    rows: int
    tokens_about: int
    """A token for every 4 characters."""
    price_about: float | None
    """None: the model's price is not known."""


@dataclass(frozen=True, kw_only=True)
class HandedOver:
    """The source is maintained by embedmig."""

    source: Slot
    migration: Migration
    changed: bool
    """False: it was so before."""
    lacking: Lacking
    queued_rows: int
    """How many of those were queued; 0 when the old model is gone."""


def count_lacking(conn: Connection, collection: Collection, slot: Slot) -> Lacking:
    """Counts the rows with text and no vector in ``slot``, in one pass over the table."""
    row = conn.execute(QUERIES["count_lacking"].format(**_fragments(collection, slot)), {}).fetchone()
    assert row is not None
    tokens = int(row["characters"]) // CHARACTERS_A_TOKEN
    price = slot.model.price_per_million_tokens
    return Lacking(
        rows=row["rows"], tokens_about=tokens, price_about=None if price is None else tokens * price / 1_000_000
    )


def hand_over(conn: Connection, collection: Collection, *, settings: Settings | None = None) -> HandedOver:
    """Makes embedmig the maintainer of the open migration's source: from the commit on an edit queues both slots. Then
    queues the rows that have text and no source vector, unless the old model is gone: that moment is recorded as the
    end of the way back, and edits alone are queued, and wait. Repeating it queues what still lacks.

    Raises RefusedError when no migration is open; LockedError.
    """
    migration = migrations.get_migration(conn, collection)
    source = _slot_of(conn, collection, migration.source_id)
    gone = source.model.state is ModelState.GONE
    changed = migration.handover_at is None
    if changed:

        def work(inner: Connection) -> Migration:
            slots.set_maintainer(inner, source, Maintainer.EMBEDMIG)
            marked = migrations.mark_handover(inner, migration, source_model_gone=gone)
            replace_trigger(inner, collection)
            log_event(
                inner,
                "handover",
                collection.name,
                was=source.maintained_by,
                became=Maintainer.EMBEDMIG,
                slot=source.name,
                source_model_gone=gone,
            )
            return marked

        migration = under_lock(conn, collection, work, settings)
        source = replace(source, maintained_by=Maintainer.EMBEDMIG)
    # Read after the commit only: until then a writer in flight could still add a row without a vector, unqueued.
    lacking = count_lacking(conn, collection, source)
    queued = 0 if gone or not lacking.rows else _queue_lacking(conn, collection, source)
    return HandedOver(source=source, migration=migration, changed=changed, lacking=lacking, queued_rows=queued)


def undo_handover(conn: Connection, collection: Collection, *, settings: Settings | None = None) -> bool:
    """Gives the source back to whom it was: the application writes it again. False when there was no handover.

    Raises RefusedError while the target serves a share: what is written then would be missing after a rollback.
    """
    migration = migrations.get_migration(conn, collection)
    if migration.handover_at is None:
        return False
    source = _slot_of(conn, collection, migration.source_id)

    def work(inner: Connection) -> None:
        _refuse_above_zero(inner, collection)
        migrations.unmark_handover(inner, migration)
        # A slot that embedmig made has a hash column, and was maintained before this migration began.
        back = Maintainer.APP if source.hash_column is None else Maintainer.EMBEDMIG
        if back is Maintainer.APP:
            slots.forget_work(inner, source)
        slots.set_maintainer(inner, source, back)
        replace_trigger(inner, collection)
        log_event(inner, "handover --undo", collection.name, was=Maintainer.EMBEDMIG, became=back, slot=source.name)

    under_lock(conn, collection, work, settings)
    return True


def give_to_app(conn: Connection, collection: Collection, *, settings: Settings | None = None) -> Slot:
    """Ends embedmig's care of the only slot: no trigger queues edits any more, and the hash column goes, since what
    the application writes leaves it behind. Its model column and check stay. Gives the slot as it is now.

    Raises RefusedError while a migration is open.
    """
    if migrations.find_migration(conn, collection) is not None:
        raise RefusedError(
            f"{collection.name} has an open migration: finish it first, embedmig status {collection.name}"
        )
    (slot,) = slots.list_slots(conn, collection)
    if slot.maintained_by is Maintainer.APP:
        return slot
    given = replace(slot, maintained_by=Maintainer.APP, hash_column=None)

    def work(inner: Connection) -> None:
        slots.forget_work(inner, slot)
        slots.update_slot(inner, given)
        replace_trigger(inner, collection)
        if slot.hash_column is not None:
            # The view over a companion that stayed shows the hash too.
            inner.execute(drop_view_statement(collection))
            drop = sql.SQL("ALTER TABLE {} DROP COLUMN IF EXISTS {}")
            inner.execute(drop.format(identifiers.slot_table(slot), sql.Identifier(slot.hash_column)))
            for statement in create_view_statements(collection, given) if slot.placement is Placement.COMPANION else ():
                inner.execute(statement)
        routes.raise_epoch(inner, collection.group)
        log_event(inner, "handover --to app", collection.name, was=Maintainer.EMBEDMIG, became=Maintainer.APP)

    under_lock(conn, collection, work, settings)
    return given


def _refuse_above_zero(conn: Connection, collection: Collection) -> None:
    share = routes.get_route(conn, collection.group)
    if share.share_bp > 0:
        raise RefusedError(
            f"the target of {collection.name} serves {share.percent:g} % of the requests: take them back first,"
            f" embedmig rollback {collection.name}"
        )


def _queue_lacking(conn: Connection, collection: Collection, slot: Slot) -> int:
    queued = conn.execute(QUERIES["queue_lacking"].format(**_fragments(collection, slot)), {})
    return queued.rowcount


def _fragments(collection: Collection, slot: Slot) -> dict[str, Any]:
    key = identifiers.key_array(collection, "d")
    return {
        "text": identifiers.text(collection, "d", slot.text_separator),
        "table": identifiers.table(collection),
        "join": identifiers.join_slot(collection, slot),
        "wants": identifiers.wants_vector(collection, "d"),
        "missing": identifiers.is_missing(slot),
        "slot_id": sql.Literal(slot.id),
        "bucket": identifiers.bucket(key),
        "key": key,
    }


def _slot_of(conn: Connection, collection: Collection, slot_id: int) -> Slot:
    return next(slot for slot in slots.list_slots(conn, collection) if slot.id == slot_id)
