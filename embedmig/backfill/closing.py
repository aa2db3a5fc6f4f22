"""The last look of a run: counts every slot again, closes its job, says that it is filled."""

from collections.abc import Sequence

from embedmig.backfill.census import Census, count_rows
from embedmig.backfill.completeness import tail_allowed
from embedmig.backfill.jobs import end_job, find_job
from embedmig.backfill.results import SlotOutcome
from embedmig.catalog.events import log_event
from embedmig.catalog.slots import list_slots, mark_filled
from embedmig.db import Connection
from embedmig.schema.constraints import validate_checks
from embedmig.settings import Settings
from embedmig.types import Collection, Slot


def close_slots(conn: Connection, collection: Collection, slots: Sequence[Slot], settings: Settings) -> bool:
    """Closes what is done. False when rows turned up that nobody knew of: another round is worth it."""
    closed = [_close_slot(conn, collection, slot, settings) for slot in slots]
    return all(closed)


def _close_slot(conn: Connection, collection: Collection, slot: Slot, settings: Settings) -> bool:
    census = count_rows(conn, collection, slot)
    if census.missing_not_queued or census.stale_not_queued or census.orphans_not_queued or census.bridged:
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
        if is_filled(census, settings) and mark_filled(conn, slot):
            log_event(conn, "reembed", collection.name, became=f"{slot.name} filled", slot=slot.name)
    return True


def is_filled(census: Census, settings: Settings) -> bool:
    """Every row has a vector, but for a small tail and for rows that cannot be embedded."""
    lacking = census.missing - census.failed - census.ignored
    return census.missing_not_queued == 0 and lacking <= tail_allowed(census.with_text, settings)


def sum_up_slots(conn: Connection, collection: Collection, slots: Sequence[Slot]) -> tuple[SlotOutcome, ...]:
    """Where each slot stands now."""
    filled = {slot.id for slot in list_slots(conn, collection) if slot.filled_at is not None}
    return tuple(
        SlotOutcome(
            slot=slot.name,
            model=slot.model.key,
            census=count_rows(conn, collection, slot),
            filled=slot.id in filled,
        )
        for slot in slots
    )
