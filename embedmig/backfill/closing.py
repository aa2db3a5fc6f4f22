"""The last look of a run: counts every slot again, closes its job, says that it is filled."""

from collections.abc import Mapping, Sequence

from embedmig.backfill.census import Census, count_rows
from embedmig.backfill.completeness import tail_allowed
from embedmig.backfill.jobs import end_job, find_job
from embedmig.backfill.results import SlotOutcome
from embedmig.catalog.adapters import mark_unused, used_adapter
from embedmig.catalog.events import log_event
from embedmig.catalog.slots import list_slots, mark_filled
from embedmig.db import Connection
from embedmig.schema.constraints import validate_checks
from embedmig.settings import Settings
from embedmig.types import Collection, Slot


def close_slots(
    conn: Connection, collection: Collection, slots: Sequence[Slot], settings: Settings
) -> dict[int, Census] | None:
    """Closes what is done, and gives each slot's counts by its id. None when rows turned up that nobody knew of:
    another round is worth it."""
    counts = {slot.id: count_rows(conn, collection, slot) for slot in slots}
    closed = [_close_slot(conn, collection, slot, counts[slot.id], settings) for slot in slots]
    return counts if all(closed) else None


def _close_slot(conn: Connection, collection: Collection, slot: Slot, census: Census, settings: Settings) -> bool:
    if census.missing_not_queued or census.stale_not_queued or census.orphans_not_queued or _can_replace(census):
        return False
    validate_checks(conn, collection, slot)
    job = find_job(conn, slot)
    with conn.transaction():
        if job is not None and end_job(conn, job):
            log_event(
                conn,
                "reembed",
                collection.name,
                was="running",
                became="done",
                slot=slot.name,
                rows=job.rows_planned,
                failures=census.failed,
            )
        note_filled(conn, collection, slot, census, settings, "reembed")
        _take_bridge_away(conn, collection, slot, census)
    return True


def _can_replace(census: Census) -> bool:
    """Whether there are bridged rows that were not tried in vain."""
    return census.bridged > census.failed + census.ignored


def note_filled(
    conn: Connection, collection: Collection, slot: Slot, census: Census, settings: Settings, verb: str
) -> bool:
    """Notes, the first time, that every row has a vector, true or bridged; True when it did."""
    if not is_filled(census, settings) or not mark_filled(conn, slot):
        return False
    log_event(conn, verb, collection.name, became=f"{slot.name} filled", slot=slot.name)
    return True


def _take_bridge_away(conn: Connection, collection: Collection, slot: Slot, census: Census) -> None:
    """A bridge stands at its slot until the last vector of its is replaced."""
    adapter = used_adapter(conn, collection, slot, "bridge")
    if adapter is not None and not census.bridged:
        mark_unused(conn, slot, "bridge")
        log_event(conn, "bridge", collection.name, was=adapter.name, became="replaced", slot=slot.name)


def is_filled(census: Census, settings: Settings) -> bool:
    """Every row has a vector, but for a small tail and for rows that cannot be embedded."""
    lacking = census.missing - census.failed - census.ignored
    return census.missing_not_queued == 0 and lacking <= tail_allowed(census.with_text, settings)


def sum_up_slots(
    conn: Connection, collection: Collection, slots: Sequence[Slot], settings: Settings, known: Mapping[int, Census]
) -> tuple[SlotOutcome, ...]:
    """Where each slot stands: by the counts ``known`` of it, by its id, or counted now. One that was bridged is noted
    as filled before its last vector is replaced."""
    counted = [(slot, known.get(slot.id) or count_rows(conn, collection, slot)) for slot in slots]
    for slot, census in counted:
        with conn.transaction():
            note_filled(conn, collection, slot, census, settings, "reembed")
    filled = {slot.id for slot in list_slots(conn, collection) if slot.filled_at is not None}
    return tuple(
        SlotOutcome(slot=slot.name, model=slot.model.key, census=census, filled=slot.id in filled)
        for slot, census in counted
    )
