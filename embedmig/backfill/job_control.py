"""Pausing, resuming and cancelling a job from elsewhere, and looking at it: the database tells all who work on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from embedmig.backfill.budget import Budget, Spent, fetch_spent, find_budget
from embedmig.backfill.chunks import describe_left_behind
from embedmig.backfill.failures import count_failures
from embedmig.backfill.jobs import find_job
from embedmig.backfill.progress import fetch_now, fetch_work_left
from embedmig.backfill.runs import Run, list_runs
from embedmig.catalog.slots import list_slots
from embedmig.db import Connection, Queries
from embedmig.types import Collection, Slot

QUERIES = Queries(__package__, "job_control.sql")

FORCE_AFTER_S = 300.0
"""A worker that has not let go of its chunk so long after a pause has it taken away."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A worker and what it holds."""

    worker: str
    chunks: int
    lease_left_s: float
    """Until its lease runs out, unless it renews it."""


@dataclass(frozen=True, kw_only=True)
class JobShown:
    """An open job as it stands, from wherever one looks."""

    collection: str
    slot: str
    model: str
    state: str
    """running; pausing (a worker finishes what it has in hand), paused; waiting: running, but nobody works on it."""
    rows_planned: int
    rows_done: int
    queued: int
    """Entries of the queue, which are no part of the job."""
    lag_s: float
    failures: int
    rows_per_s: float
    tokens_per_s: float
    eta_s: float | None
    spent: Spent
    budget: Budget
    held_back: str | None
    """What makes it wait, with its value."""
    workers: tuple[Holder, ...]
    runs: tuple[Run, ...]
    opened_at: datetime


def pause_jobs(conn: Connection, collection: Collection) -> list[Slot]:
    """Lets every run of the collection's open jobs finish what it has in hand, and wait. Gives the slots paused.

    Repeating it five minutes later takes the chunks away from workers that still hold them: they cannot write any more.
    """
    slots = list_slots(conn, collection)
    ids = [slot.id for slot in slots]
    with conn.transaction():
        paused = {row["slot_id"] for row in conn.execute(QUERIES["pause"], {"slot_ids": ids})}
        conn.execute(QUERIES["take_away"], {"slot_ids": ids, "after_s": FORCE_AFTER_S})
    return [slot for slot in slots if slot.id in paused]


def resume_jobs(conn: Connection, collection: Collection) -> list[Slot]:
    """Lets the runs that wait go on. Gives the slots whose job was paused."""
    slots = list_slots(conn, collection)
    resumed = {row["slot_id"] for row in conn.execute(QUERIES["resume"], {"slot_ids": [slot.id for slot in slots]})}
    return [slot for slot in slots if slot.id in resumed]


def cancel_jobs(conn: Connection, collection: Collection) -> list[Slot]:
    """Ends the collection's open jobs; vectors written stay. Gives the slots whose job it was.

    At once and for certain: chunks are gone, so that a worker which still has one, or wakes up later, cannot write.
    Waits for a write that is under way, whose transaction is no longer than a lease.
    """
    slots = list_slots(conn, collection)
    ids = [slot.id for slot in slots]
    with conn.transaction():
        cancelled = {row["slot_id"] for row in conn.execute(QUERIES["cancel"], {"slot_ids": ids})}
        conn.execute(QUERIES["fold_cancelled"], {"slot_ids": sorted(cancelled)})
    return [slot for slot in slots if slot.id in cancelled]


def was_cancelled(conn: Connection, slots: Sequence[Slot], since: datetime) -> bool:
    """Whether a job of ``slots`` was cancelled after ``since``."""
    values = {"slot_ids": [slot.id for slot in slots], "since": since}
    return conn.execute(QUERIES["was_cancelled"], values).fetchone() is not None


def is_paused(conn: Connection, slots: Sequence[Slot]) -> bool:
    """Whether an open job of ``slots`` is paused."""
    return any(job is not None and job.state == "paused" for job in (find_job(conn, slot) for slot in slots))


def show_jobs(conn: Connection, collection: Collection) -> list[JobShown]:
    """The open jobs of the collection."""
    slots, runs = list_slots(conn, collection), tuple(list_runs(conn, collection))
    shown = (_show(conn, collection, slot, runs) for slot in slots)
    return [job for job in shown if job is not None]


def _show(conn: Connection, collection: Collection, slot: Slot, runs: Sequence[Run]) -> JobShown | None:
    job = find_job(conn, slot)
    if job is None:
        return None
    left = fetch_work_left(conn, slot, fetch_now(conn))
    holders = tuple(Holder(**row) for row in conn.execute(QUERIES["holders"], {"slot_id": slot.id}))
    awake = [run for run in runs if run.phase != "paused"]
    newest = min(awake, key=lambda run: run.silent_s, default=None)
    return JobShown(
        collection=collection.name,
        slot=slot.name,
        model=slot.model.key,
        state=name_state(job.state, held=bool(holders), watched=bool(runs)),
        rows_planned=left.target_rows,
        rows_done=left.rows_done,
        queued=left.queued,
        lag_s=left.lag_s,
        failures=count_failures(conn, slot)[0],
        rows_per_s=newest.rows_per_s if newest else 0.0,
        tokens_per_s=newest.tokens_per_s if newest else 0.0,
        eta_s=newest.eta_s if newest else None,
        spent=fetch_spent(conn, [slot]),
        budget=find_budget(conn, [slot]),
        held_back=next((run.held_back for run in awake if run.held_back), None)
        or describe_left_behind(conn, [slot.id]),
        workers=holders,
        runs=tuple(runs),
        opened_at=job.opened_at,
    )


def name_state(state: str, *, held: bool, watched: bool) -> str:
    """The state in words: stored is only what was asked for, the rest follows from who holds what. Pure."""
    if state == "paused":
        return "pausing" if held else "paused"
    return "running" if held or watched else "waiting"
