"""The first look of a run: counts every slot, queues what nobody knows of, cuts chunks where rows lack a vector."""

from collections.abc import Sequence

from embedmig.backfill.census import Census, count_rows
from embedmig.backfill.chunks import ensure_buckets
from embedmig.backfill.jobs import choose_chunk_rows, estimate_tuples_per_page, find_job, plan_job
from embedmig.backfill.queue import forget_expired
from embedmig.backfill.results import RunOptions
from embedmig.backfill.slots import slot_to_fill
from embedmig.backfill.sweep import sweep
from embedmig.catalog.events import log_event
from embedmig.db import Connection
from embedmig.types import Collection, Slot


def plan_slots(conn: Connection, collection: Collection, slots: Sequence[Slot], options: RunOptions) -> None:
    """Leaves each slot with a job for its rows without a vector, and everything else that is wrong in the queue."""
    ids = [slot.id for slot in slots]
    ensure_buckets(conn, ids)
    forget_expired(conn, ids)
    to_fill = slot_to_fill(conn, collection, slots)
    for slot in slots:
        _plan_slot(conn, collection, slot, options, until=options.until if slot.id == to_fill.id else None)


def _plan_slot(
    conn: Connection, collection: Collection, slot: Slot, options: RunOptions, *, until: float | None
) -> None:
    census = count_rows(conn, collection, slot)
    if census.stale_not_queued or census.orphans_not_queued or census.failed or census.ignored:
        sweep(conn, collection, slot)
    lacking = census.missing + census.bridged + census.other_model
    before = find_job(conn, slot)
    if not lacking and before is None:
        return
    part = None if until is None else rows_of_part(census, until)
    chunk_rows = choose_chunk_rows(
        slot,
        rows=lacking,
        tuples_per_page=estimate_tuples_per_page(conn, collection),
        group_rows=options.worker.size.rows,
        workers=options.workers,
        part_rows=part,
    )
    with conn.transaction():
        job = plan_job(conn, collection, slot, chunk_rows=chunk_rows, more_rows=part)
        if job is not None and before is None:
            log_event(conn, "reembed", collection.name, became="running", slot=slot.name, rows=job.rows_planned)


def rows_of_part(census: Census, until: float) -> int:
    """How many rows more make the share ``until`` of those that are to have a vector."""
    return max(0, round(until * census.with_text) - census.true)
