"""Runs a re-embedding from the first look at the table to the last check: plans, starts workers, watches, closes."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from embedmig.backfill.census import Census, count_rows
from embedmig.backfill.chunks import ensure_buckets
from embedmig.backfill.completeness import tail_allowed
from embedmig.backfill.crews import ProcessCrew, ThreadCrew, WorkerCrew
from embedmig.backfill.jobs import choose_chunk_rows, end_job, estimate_tuples_per_page, find_job, plan_job
from embedmig.backfill.key_text import keep_key_text
from embedmig.backfill.pipeline import WorkerOptions
from embedmig.backfill.progress import ReembedProgress, Speed, WorkLeft, fetch_now, fetch_work_left, sum_up
from embedmig.backfill.queue import forget_expired
from embedmig.backfill.sweep import sweep
from embedmig.backfill.worker import PATIENCE_S, Loader, WorkerStats, is_outage
from embedmig.catalog.events import log_event
from embedmig.catalog.migrations import find_migration
from embedmig.catalog.slots import list_slots, mark_filled
from embedmig.db import Connection, Database
from embedmig.embedders import load_embedder
from embedmig.errors import DatabaseError, RefusedError
from embedmig.schema.constraints import validate_checks
from embedmig.settings import Settings
from embedmig.types import Collection, Maintainer, ModelState, Slot

OnProgress = Callable[[ReembedProgress], object]

_STEP_S = 0.5
_LOOK_AT_SLOTS_S = 2.0
_ROUNDS = 5
"""So often the table is counted and what is left planned again, before the rest is left to the next run."""


@dataclass(frozen=True, kw_only=True)
class SlotOutcome:
    """Where a slot stands at the end of a run."""

    slot: str
    model: str
    census: Census
    filled: bool
    """Every row has had a vector once: the slot may be served."""


@dataclass(frozen=True, kw_only=True)
class ReembedResult:
    """What a run did."""

    collection: str
    outcome: str
    """done; part: as much as was asked for; unfinished: rows kept turning up; interrupted, cancelled. All but the first
    are gone on with by running it again."""
    slots: tuple[SlotOutcome, ...]
    """Empty when interrupted: counting would have taken its time."""
    rows: int
    """Vectors written in this run, by all workers."""
    tokens: int
    """About: by samples and lengths."""
    seconds: float
    failures: int
    queued: int
    """Entries left in the queue."""
    truncated: int
    """Texts longer than the model takes: embedded by their beginning."""
    repeated_texts: int
    hot_share: float | None

    @property
    def rows_per_s(self) -> float:
        """Over the whole run."""
        return self.rows / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run goes."""

    follow: bool = False
    until: float | None = None
    """Stop when this share (0 to 1) of the rows is done."""
    workers: int = 1
    worker: WorkerOptions = field(default_factory=WorkerOptions)
    load: Loader = load_embedder
    """Gives a model's embedder; workers in processes of their own load it themselves."""


def reembed(
    db: Database,
    collection: Collection,
    *,
    options: RunOptions | None = None,
    settings: Settings | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> ReembedResult:
    """Embeds what is missing, stale or bridged in every slot of the collection that embedmig maintains, and drains the
    queue; with ``follow`` goes on until ``stop`` is set. Whoever else runs it at the same time shares the work.

    Ctrl-C (KeyboardInterrupt) and ``stop`` end it cleanly: what is finished is kept, the next run goes on there.
    Raises RefusedError when there is no such slot, and what the database or a model fails with.
    """
    run = _Run(db, collection, options or RunOptions(), settings or Settings(), on_progress, stop or threading.Event())
    return run.go()


def maintained_slots(conn: Connection, collection: Collection) -> list[Slot]:
    """The slots that a worker embeds for: embedmig maintains them, and their model still answers."""
    return [
        slot
        for slot in list_slots(conn, collection)
        if slot.maintained_by is Maintainer.EMBEDMIG and slot.model.state is not ModelState.GONE
    ]


class _Run:
    """One run: the state that its phases share."""

    def __init__(
        self,
        db: Database,
        collection: Collection,
        options: RunOptions,
        settings: Settings,
        on_progress: OnProgress | None,
        stop: threading.Event,
    ) -> None:
        self.db, self.collection, self.options, self.settings = db, collection, options, settings
        self.on_progress, self.stop = on_progress, stop
        self.began, self.speed = time.monotonic(), Speed()
        self.before: dict[int, tuple[int, int]] = {}
        """Rows and tokens of each slot when the run first saw it."""
        self.last: ReembedProgress | None = None
        self.stats: list[WorkerStats] = []

    def go(self) -> ReembedResult:
        """Rounds of planning and working, until nothing is left that this run can do."""
        outcome = "interrupted"
        slots: list[Slot] = []
        try:
            for _ in range(_ROUNDS):
                slots = self._prepare()
                outcome = self._work(slots)
                if outcome != "slots changed" and (outcome != "done" or self._close(slots)):
                    break
            else:
                outcome = "unfinished"
            if outcome == "done" and self.options.follow:
                outcome = self._follow(slots)
        except KeyboardInterrupt:
            outcome = "interrupted"
        return self._result(outcome, slots)

    def _follow(self, slots: list[Slot]) -> str:
        while (outcome := self._work(slots, follow=True)) == "slots changed":
            slots = self._prepare()
        return outcome

    def _prepare(self) -> list[Slot]:
        """Looks at the whole table, queues what nobody knows of, and cuts chunks where rows lack a vector."""
        with self.db.connect() as conn:
            keep_key_text(conn, self.collection)
            slots = maintained_slots(conn, self.collection)
            if not slots:
                raise RefusedError(
                    f"embedmig maintains no vectors of {self.collection.name} that could be embedded:"
                    f" open a migration, embedmig expand {self.collection.name}"
                )
            ids = [slot.id for slot in slots]
            ensure_buckets(conn, ids)
            forget_expired(conn, ids)
            self._report(conn, slots, "planning")
            target = _filled_slot(conn, self.collection, slots)
            for slot in slots:
                self._plan(conn, slot, until=self.options.until if slot.id == target.id else None)
        return slots

    def _plan(self, conn: Connection, slot: Slot, *, until: float | None) -> None:
        census = count_rows(conn, self.collection, slot)
        if census.stale_not_queued or census.orphans_not_queued or census.failed or census.ignored:
            sweep(conn, self.collection, slot)
        if not (census.missing or census.bridged or census.other_model) and find_job(conn, slot) is None:
            return
        part = None if until is None else max(0, round(until * census.with_text) - census.true)
        chunk_rows = choose_chunk_rows(
            slot,
            rows=census.missing + census.bridged,
            tuples_per_page=estimate_tuples_per_page(conn, self.collection),
            group_rows=self.options.worker.size.rows,
            workers=self.options.workers,
            part_rows=part,
        )
        before = find_job(conn, slot)
        job = plan_job(conn, self.collection, slot, chunk_rows=chunk_rows, more_rows=part)
        if job is not None and before is None:
            log_event(conn, "reembed", self.collection.name, became="running", slot=slot.name, rows=job.rows_planned)

    def _work(self, slots: list[Slot], *, follow: bool = False) -> str:
        """Lets workers work until all is done that can be, or the run is to end. Gives how it ended."""
        crew = self._start(slots)
        try:
            return self._watch(slots, crew, follow=follow)
        finally:
            crew.stop()
            self.stats = crew.stats()

    def _start(self, slots: Sequence[Slot]) -> WorkerCrew:
        options = self.options
        if options.workers > 1:
            return ProcessCrew(self.db, self.collection, slots, options.worker, options.workers)
        return ThreadCrew(self.db, self.collection, slots, options.worker, options.load)

    def _watch(self, slots: list[Slot], crew: WorkerCrew, *, follow: bool) -> str:
        watch, down_since = _Watch(self, slots, crew, follow=follow), None
        while True:
            try:
                with self.db.connect() as conn:
                    keep_key_text(conn, self.collection)
                    return watch.until_over(conn)
            except DatabaseError as error:
                if not is_outage(error):
                    raise
                down_since = down_since or time.monotonic()
                if time.monotonic() - down_since > PATIENCE_S or self.stop.wait(_STEP_S):
                    raise
                crew.check()

    def _close(self, slots: Sequence[Slot]) -> bool:
        """Counts the table; closes the jobs and says which slots are filled. False when rows turned up that nobody
        knew of: another round is worth it."""
        with self.db.connect() as conn:
            keep_key_text(conn, self.collection)
            self._report(conn, slots, "checking")
            closed = [self._close_slot(conn, slot) for slot in slots]
            return all(closed)

    def _close_slot(self, conn: Connection, slot: Slot) -> bool:
        census = count_rows(conn, self.collection, slot)
        job = find_job(conn, slot)
        if census.missing_not_queued or census.stale_not_queued or census.orphans_not_queued or census.bridged:
            return False
        validate_checks(conn, self.collection, slot)
        with conn.transaction():
            if job is not None and end_job(conn, job):
                log_event(
                    conn,
                    "reembed",
                    self.collection.name,
                    was="running",
                    became="done",
                    slot=slot.name,
                    rows=job.rows_planned,
                    failures=census.failed,
                )
            if _is_filled(census, self.settings) and mark_filled(conn, slot):
                log_event(conn, "reembed", self.collection.name, became=f"{slot.name} filled", slot=slot.name)
        return True

    def _report(
        self,
        conn: Connection,
        slots: Sequence[Slot],
        phase: str,
        *,
        since: datetime | None = None,
        stats: Sequence[WorkerStats] = (),
    ) -> list[WorkLeft]:
        """Reads the slots' numbers and passes them on."""
        since = since or fetch_now(conn)
        work = [fetch_work_left(conn, slot, since) for slot in slots]
        for slot, left in zip(slots, work, strict=True):
            self.before.setdefault(slot.id, (left.rows_written, left.tokens))
        hot = [stat.hot_share for stat in stats if stat.hot_share is not None]
        self.last = sum_up(
            self.collection.name,
            phase,
            work,
            seconds=time.monotonic() - self.began,
            rows_before=sum(self.before[slot.id][0] for slot in slots),
            tokens_before=sum(self.before[slot.id][1] for slot in slots),
            speed=self.speed,
            hot_share=min(hot) if hot else None,
            held_back=_COLLAPSED if any(stat.hot_collapsed for stat in stats) else None,
        )
        if self.on_progress is not None:
            self.on_progress(self.last)
        return work

    def _result(self, outcome: str, slots: Sequence[Slot]) -> ReembedResult:
        outcomes: tuple[SlotOutcome, ...] = ()
        with self.db.connect() as conn:
            keep_key_text(conn, self.collection)
            self._report(conn, slots, outcome, stats=self.stats)
            if outcome in ("done", "part", "unfinished"):
                outcomes = tuple(self._slot_outcome(conn, slot) for slot in slots)
        last = self.last
        assert last is not None
        return ReembedResult(
            collection=self.collection.name,
            outcome=outcome,
            slots=outcomes,
            rows=last.rows_written,
            tokens=last.tokens,
            seconds=last.seconds,
            failures=last.failures,
            queued=last.queued,
            truncated=sum(stat.truncated for stat in self.stats),
            repeated_texts=sum(stat.repeated_texts for stat in self.stats),
            hot_share=last.hot_share,
        )

    def _slot_outcome(self, conn: Connection, slot: Slot) -> SlotOutcome:
        filled = any(live.id == slot.id and live.filled_at for live in list_slots(conn, self.collection))
        return SlotOutcome(
            slot=slot.name, model=slot.model.key, census=count_rows(conn, self.collection, slot), filled=filled
        )


_COLLAPSED = (
    "the table's updates go into its ANN index once more (hardly any is HOT): is a transaction held open somewhere?"
    " A companion would leave the table alone"
)


class _Watch:
    """Watching workers, over connections that may be lost in between."""

    def __init__(self, run: _Run, slots: list[Slot], crew: WorkerCrew, *, follow: bool) -> None:
        self.run, self.slots, self.crew, self.follow = run, slots, crew, follow
        self.filled_at: datetime | None = None
        """When the last chunk was done: what was queued before is still this run's, the rest is the tail."""
        self.looked_at_slots = time.monotonic()

    def until_over(self, conn: Connection) -> str:
        """Reports a step now and then; gives how it ended."""
        while True:
            self.crew.check()
            phase = "following" if self.follow else "embedding" if self.filled_at is None else "draining"
            work = self.run._report(conn, self.slots, phase, since=self.filled_at, stats=self.crew.stats())
            ended = self._ended(conn, work)
            if ended is not None:
                return ended
            quiet = not self.follow and sum(left.open_chunks for left in work) == 0
            if self.run.stop.wait(_STEP_S / 5 if quiet else _STEP_S):
                return "interrupted"

    def _ended(self, conn: Connection, work: Sequence[WorkLeft]) -> str | None:
        if self._slots_changed(conn):
            return "slots changed"
        if self.follow:
            return None
        if any(left.state == "cancelled" for left in work):
            return "cancelled"
        if not all(left.filled for left in work):
            return None
        if self.filled_at is None:
            self.filled_at = fetch_now(conn)
            return None
        if any(left.waiting for left in work):
            return None
        return "part" if any(left.open_chunks for left in work) else "done"

    def _slots_changed(self, conn: Connection) -> bool:
        if time.monotonic() - self.looked_at_slots < _LOOK_AT_SLOTS_S:
            return False
        self.looked_at_slots = time.monotonic()
        return _essence(maintained_slots(conn, self.run.collection)) != _essence(self.slots)


def _essence(slots: Sequence[Slot]) -> list[Slot]:
    """What a worker must know of its slots: another's index or first filling changes nothing for it."""
    return [replace(slot, filled_at=None, index_name=None) for slot in slots]


def _filled_slot(conn: Connection, collection: Collection, slots: Sequence[Slot]) -> Slot:
    """The slot that ``until`` speaks of: the migration's target, or the newest."""
    migration = find_migration(conn, collection)
    return next((slot for slot in slots if migration and slot.id == migration.target_id), slots[-1])


def _is_filled(census: Census, settings: Settings) -> bool:
    """Every row has a vector, but for a small tail and for rows that cannot be embedded."""
    lacking = census.missing - census.failed - census.ignored
    return census.missing_not_queued == 0 and lacking <= tail_allowed(census.with_text, settings)
