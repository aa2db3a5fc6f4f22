"""Which slots are a worker's to embed for."""

from collections.abc import Sequence

from embedmig.catalog.migrations import find_migration
from embedmig.catalog.slots import list_slots
from embedmig.db import Connection
from embedmig.types import Collection, Maintainer, ModelState, Slot


def maintained_slots(conn: Connection, collection: Collection) -> list[Slot]:
    """The slots that embedmig maintains and whose model still answers, oldest first."""
    return [
        slot
        for slot in list_slots(conn, collection)
        if slot.maintained_by is Maintainer.EMBEDMIG and slot.model.state is not ModelState.GONE
    ]


def slot_to_fill(conn: Connection, collection: Collection, slots: Sequence[Slot]) -> Slot:
    """The one that a part (``--until``) speaks of: the migration's target, or the newest."""
    migration = find_migration(conn, collection)
    return next((slot for slot in slots if migration and slot.id == migration.target_id), slots[-1])
