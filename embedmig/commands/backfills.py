"""reembed, and what to do about rows that fail."""

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Literal

from embedmig.backfill.budget import Budget
from embedmig.backfill.failures import Failure, ignore_failures, list_failures, retry_failures
from embedmig.backfill.pipeline import WorkerOptions
from embedmig.backfill.results import OnProgress, ReembedResult, RunOptions
from embedmig.backfill.running import reembed as run_reembed
from embedmig.backfill.slices import GroupSize
from embedmig.catalog.collections import get_collection
from embedmig.catalog.events import log_event
from embedmig.catalog.migrations import find_migration
from embedmig.catalog.slots import get_slot, list_slots
from embedmig.db import Connection, Database
from embedmig.errors import NotFoundError, UsageError
from embedmig.rollout.guarding import guarding
from embedmig.settings import Settings, load_settings
from embedmig.types import Collection, Key, Slot


@dataclass(frozen=True, kw_only=True)
class FailuresListed:
    """Rows of a slot that could not be embedded."""

    collection: str
    slot: str
    model: str
    failures: tuple[Failure, ...]


@dataclass(frozen=True, kw_only=True)
class FailuresChanged:
    """How many failures were queued again, or are ignored from now on."""

    collection: str
    slot: str
    verb: str
    rows: int


def reembed(
    db: Database,
    collection: str,
    *,
    follow: bool = False,
    until: float | None = None,
    workers: int = 1,
    batch_size: int | Literal["auto"] | None = None,
    max_cost: float | None = None,
    max_rows: float | None = None,
    max_seconds: float | None = None,
    throttle: bool = False,
    throttle_sql: str | None = None,
    settings: Settings | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> ReembedResult:
    """Embeds every row that lacks a vector in a slot that embedmig maintains, and whatever edits queued.

    ``until``: a share from 0 to 1; a random part of so many rows is embedded, the rest another time. ``batch_size``:
    rows read, embedded and written together; ``"auto"`` lets it follow how long writing takes. ``follow`` goes on until
    ``stop`` is set or Ctrl-C, and looks at what the application writes as ``guard`` does. ``max_cost`` (in the price's
    currency), ``max_rows`` and ``max_seconds`` are the job's budget over all its runs, kept until they are given again;
    infinity takes one off. What is in hand when a limit is reached is still finished. ``throttle`` waits between
    batches while the database suffers, as the settings ``throttle_*`` say; ``throttle_sql`` stands for the setting of
    that name and turns it on.
    Raises UsageError for values that cannot be, RefusedError when there is no such slot.
    """
    if until is not None and not 0 < until <= 1:
        raise UsageError(f"--until is a share above 0 and up to 100%, not {until:.0%}")
    if workers < 1 or (isinstance(batch_size, int) and batch_size < 1):
        raise UsageError("--workers and --batch-size are 1 or more")
    if follow and until is not None:
        raise UsageError("--follow goes on without end, --until stops: choose one of them")
    settings = settings or load_settings()
    if throttle_sql is not None:
        settings = settings.model_copy(update={"throttle_sql": throttle_sql})
    options = RunOptions(
        follow=follow,
        until=until,
        workers=workers,
        budget=Budget(max_cost=max_cost, max_rows=max_rows, max_seconds=max_seconds),
        throttle=throttle or throttle_sql is not None,
        worker=_worker_options(batch_size, settings),
    )
    with db.connect() as conn:
        found = get_collection(conn, collection)
    with guarding(db, found, settings) if follow else nullcontext():
        return run_reembed(db, found, options=options, settings=settings, on_progress=on_progress, stop=stop)


def _worker_options(batch_size: int | Literal["auto"] | None, settings: Settings) -> WorkerOptions:
    options = WorkerOptions(longest_hold_s=settings.throttle_longest_s)
    if batch_size == "auto":
        return replace(options, aim_s=settings.batch_aim_s, join=False)
    return options if batch_size is None else replace(options, size=GroupSize(rows=batch_size), join=False)


def failures_list(db: Database, collection: str, *, slot: str | None = None, limit: int = 1000) -> FailuresListed:
    """The rows that could not be embedded in ``slot`` (the migration's target when not named), the newest first."""
    with db.connect() as conn:
        found = _find_slot(conn, get_collection(conn, collection), slot)
        failures = tuple(list_failures(conn, found, limit=limit))
    return FailuresListed(collection=collection, slot=found.name, model=found.model.key, failures=failures)


def failures_retry(
    db: Database, collection: str, *, slot: str | None = None, keys: Sequence[Key] | None = None
) -> FailuresChanged:
    """Queues failed rows again, for the next ``reembed``: ``keys``, or all that are not ignored."""
    return _change(db, collection, slot, keys, "retry")


def failures_ignore(
    db: Database, collection: str, *, slot: str | None = None, keys: Sequence[Key] | None = None
) -> FailuresChanged:
    """Lets the slot count as complete without ``keys``, or without all rows that failed."""
    return _change(db, collection, slot, keys, "ignore")


def _change(db: Database, collection: str, slot: str | None, keys: Sequence[Key] | None, verb: str) -> FailuresChanged:
    with db.connect() as conn, conn.transaction():
        known = get_collection(conn, collection)
        found = _find_slot(conn, known, slot)
        _require_failures(conn, known, found, keys)
        rows = (retry_failures if verb == "retry" else ignore_failures)(conn, found, keys)
        if rows:
            log_event(conn, f"failures {verb}", collection, slot=found.name, rows=rows)
    return FailuresChanged(collection=collection, slot=found.name, verb=verb, rows=rows)


def _require_failures(conn: Connection, collection: Collection, slot: Slot, keys: Sequence[Key] | None) -> None:
    if keys is None:
        return
    width = len(collection.key)
    for key in keys:
        if len(key) != width:
            raise UsageError(f"a key of {collection.name} has {width} parts, {','.join(key)!r} has {len(key)}")
    failed = {failure.key for failure in list_failures(conn, slot, limit=1_000_000)}
    for key in keys:
        if key not in failed:
            raise NotFoundError("failure", ",".join(key), hint=f"see embedmig failures list {collection.name}")


def _find_slot(conn: Connection, collection: Collection, name: str | None) -> Slot:
    if name is not None:
        return get_slot(conn, collection, name)
    slots, migration = list_slots(conn, collection), find_migration(conn, collection)
    return next((slot for slot in slots if migration and slot.id == migration.target_id), slots[-1])
