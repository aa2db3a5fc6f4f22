"""Runs a re-embedding from the first look at the table to the last: plans, starts workers, watches, closes."""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from embedmig.backfill.budget import exhausted, fetch_spent, find_budget, set_budget
from embedmig.backfill.census import Census
from embedmig.backfill.closing import close_slots, sum_up_slots
from embedmig.backfill.crews import ProcessCrew, ThreadCrew, WorkerCrew
from embedmig.backfill.forecast import mean_characters
from embedmig.backfill.health import HealthWatch
from embedmig.backfill.job_control import is_paused, was_cancelled
from embedmig.backfill.jobs import estimate_rows, find_job
from embedmig.backfill.key_text import keep_key_text
from embedmig.backfill.planning import plan_slots
from embedmig.backfill.progress import ProgressMeter, WorkLeft, fetch_now
from embedmig.backfill.results import OnProgress, ReembedResult, RunOptions
from embedmig.backfill.runs import RunReport
from embedmig.backfill.slots import maintained_slots, slot_to_fill
from embedmig.backfill.worker import PATIENCE_S, WorkerStats, is_outage
from embedmig.catalog.slots import list_slots
from embedmig.db import Connection, Database
from embedmig.errors import DatabaseError, RefusedError
from embedmig.settings import Settings
from embedmig.types import Collection, Maintainer, Slot

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEP_S = 0.5
_SHORT_STEP_S = 0.05
_LOOK_AT_SLOTS_S = 2.0
_ROUNDS = 5
"""So often what turned up is planned again, before the rest is left to the next run."""

_SLOTS_CHANGED = "slots changed"
_PAUSED = "paused"


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
        self.db, self.collection, self.options, self.settings, self.stop = db, collection, options, settings, stop
        self.meter = ProgressMeter(collection.name, on_progress)
        self.report = RunReport(collection, workers=options.workers, follow=options.follow)
        self.health: HealthWatch | None = None
        self.slots: list[Slot] = []
        self.stats: list[WorkerStats] = []
        self.past: list[WorkerStats] = []
        """Of workers that ended: their counts are still the run's."""
        self.planned_at: datetime
        self.budget_reached: str | None = None
        self.counts: dict[int, Census] = {}
        """Each slot's, of the moment when it was closed: a large table is not read twice at the end."""

    def go(self) -> ReembedResult:
        """Rounds of planning and working, until nothing is left that this run can do."""
        try:
            outcome = self._run()
        except KeyboardInterrupt:
            outcome = "interrupted"
        finally:
            # What this run said of itself goes; a server that is gone has it expire.
            with suppress(DatabaseError), self._connect() as conn:
                self.report.end(conn)
        return self._result(outcome)

    def _run(self) -> str:
        with ExitStack() as stack:
            if self.options.throttle:
                self.health = stack.enter_context(HealthWatch(self.db, self.collection, self.settings))
            outcome = self._fill()
            if outcome == "done" and self.options.follow:
                outcome = self._follow()
            return outcome

    def _fill(self) -> str:
        for _ in range(_ROUNDS):
            self._prepare()
            outcome = self._work(follow=False)
            if outcome not in ("done", _SLOTS_CHANGED) or (outcome == "done" and self._close()):
                return outcome
        return "unfinished"

    def _follow(self) -> str:
        self.counts = {}
        while (outcome := self._work(follow=True)) == _SLOTS_CHANGED:
            self._prepare()
        return outcome

    @contextmanager
    def _connect(self) -> "Iterator[Connection]":
        with self.db.connect() as conn:
            keep_key_text(conn, self.collection)
            yield conn

    def _prepare(self) -> None:
        with self._connect() as conn:
            self.slots = maintained_slots(conn, self.collection)
            if not self.slots:
                raise _nothing_to_embed(conn, self.collection)
            self.meter.read(conn, self.slots, "planning", stats=self.stats)
            self.report.say(conn, self.slots, self.meter.last, self.stats, worked=False, at_once=True)
            self.planned_at = fetch_now(conn)
            plan_slots(conn, self.collection, self.slots, self.options)
            set_budget(conn, self.slots, self.options.budget)
            if self.health is not None:
                self.health.agree_on_baseline(conn, self.slots)
            if self.meter.mean_characters is None:
                model, rows = (
                    slot_to_fill(conn, self.collection, self.slots).model,
                    estimate_rows(conn, self.collection),
                )
                self.meter.mean_characters = mean_characters(conn, self.collection, model, rows)

    def _mean_characters(self, conn: Connection) -> float | None:
        model = slot_to_fill(conn, self.collection, self.slots).model
        return mean_characters(conn, self.collection, model, estimate_rows(conn, self.collection))

    def _close(self) -> bool:
        with self._connect() as conn:
            self.meter.read(conn, self.slots, "checking", stats=self.stats)
            counts = close_slots(conn, self.collection, self.slots, self.settings)
        self.counts = counts or {}
        return counts is not None

    def _work(self, *, follow: bool) -> str:
        """Lets workers work until all is done that can be, or the run is to end. Gives how it ended. While the job is
        paused there are no workers: their models' memory is free, and nothing is held."""
        while (outcome := self._wait_for_leave()) is None:
            crew = self._start()
            try:
                outcome = self._watch(_Watch(self, crew, follow=follow))
            finally:
                crew.stop()
                self.stats = [*self.past, *crew.stats()]
                self.past = [replace(stat, hot_collapsed=False) for stat in self.stats]
                self._say_last()
            if outcome != _PAUSED:
                break
        return outcome

    def _wait_for_leave(self) -> str | None:
        """None once the job may be worked on; else how the run ends."""
        with self._connect() as conn:
            while True:
                if was_cancelled(conn, self.slots, self.planned_at):
                    return "cancelled"
                if not is_paused(conn, self.slots):
                    return "budget" if self.reached_budget(conn) else None
                self.meter.read(conn, self.slots, "paused", stats=self.stats)
                self.report.say(conn, self.slots, self.meter.last, self.stats, worked=False)
                if self.stop.wait(_STEP_S):
                    return "interrupted"

    def reached_budget(self, conn: Connection) -> bool:
        """Whether the job has taken what it may, by all its runs; ``budget_reached`` then says which limit."""
        jobs = [find_job(conn, slot) for slot in self.slots]
        left = any(job is not None and job.open for job in jobs)
        self.budget_reached = exhausted(find_budget(conn, self.slots), fetch_spent(conn, self.slots)) if left else None
        return self.budget_reached is not None

    def _say_last(self) -> None:
        """What was used between the last step and the end belongs to the job, too."""
        with suppress(DatabaseError), self._connect() as conn:
            self.meter.read(conn, self.slots, "stopping", stats=self.stats)
            self.report.say(conn, self.slots, self.meter.last, self.stats, worked=True, at_once=True)

    def _start(self) -> WorkerCrew:
        options = self.options
        if options.workers > 1:
            return ProcessCrew(self.db, self.collection, self.slots, options.worker, options.workers)
        return ThreadCrew(self.db, self.collection, self.slots, options.worker, options.load)

    def _watch(self, watch: "_Watch") -> str:
        """Watches over connections that may be lost, as the workers' may."""
        down_since: float | None = None
        while True:
            try:
                with self._connect() as conn:
                    return watch.until_over(conn)
            except DatabaseError as error:
                watch.crew.check()
                down_since = down_since or time.monotonic()
                if not is_outage(error) or time.monotonic() - down_since > PATIENCE_S:
                    raise
                if self.stop.wait(_STEP_S):
                    return "interrupted"

    def _result(self, outcome: str) -> ReembedResult:
        counted = outcome in ("done", "part", "unfinished", "budget")
        with self._connect() as conn:
            self.meter.read(conn, self.slots, outcome, stats=self.stats)
            outcomes = sum_up_slots(conn, self.collection, self.slots, self.settings, self.counts) if counted else ()
            spent = fetch_spent(conn, self.slots)
        last = self.meter.last
        return ReembedResult(
            collection=self.collection.name,
            outcome=outcome,
            slots=outcomes,
            rows=last.rows_written,
            tokens=last.tokens,
            tokens_are_billed=any(stat.groups for stat in self.stats)
            and all(stat.billed for stat in self.stats if stat.groups),
            cost=last.cost,
            requests=sum(stat.requests for stat in self.stats),
            retries=sum(stat.retries for stat in self.stats),
            budget_reached=self.budget_reached if outcome == "budget" else None,
            spent=spent,
            not_watched=() if self.health is None else self.health.not_watched,
            seconds=last.seconds,
            rows_per_s=last.rows_written / last.seconds if last.seconds else 0.0,
            failures=last.failures,
            queued=last.queued,
            truncated=sum(stat.truncated for stat in self.stats),
            repeated_texts=sum(stat.repeated_texts for stat in self.stats),
            hot_share=last.hot_share,
        )


class _Watch:
    """Watching workers until their work is over."""

    def __init__(self, run: _Run, crew: WorkerCrew, *, follow: bool) -> None:
        self.run, self.crew, self.follow = run, crew, follow
        self.filled_at: datetime | None = None
        """When the last chunk was done: what was queued before is still this run's, the rest is the tail."""
        self.looked_at_slots = time.monotonic()

    def until_over(self, conn: Connection) -> str:
        """Reports a step now and then; gives how it ended."""
        while True:
            if self._workers_lost_their_slot(conn):
                return _SLOTS_CHANGED
            phase = "following" if self.follow else "embedding" if self.filled_at is None else "draining"
            self._hold_back()
            stats = [*self.run.past, *self.crew.stats()]
            work = self.run.meter.read(conn, self.run.slots, phase, since=self.filled_at, stats=stats)
            self.run.report.say(conn, self.run.slots, self.run.meter.last, stats, worked=True)
            filled_before = self.filled_at
            ended = self._ended(conn, work)
            if ended is not None:
                return ended
            # Once all is filled, whether the queue still holds something is looked at without a rest.
            if self.filled_at == filled_before and self._rest(sum(stat.rows for stat in stats)):
                return "interrupted"

    def _rest(self, written: int) -> bool:
        """Until the next look: not for long once our workers, who had ``written`` so many rows at the last one, have
        written what was left. True when told to stop."""
        last = self.run.meter.last
        all_of_it = written + last.rows_planned - last.rows_done
        until_s = time.monotonic() + (_STEP_S if self.filled_at is None else _SHORT_STEP_S)
        while (left_s := until_s - time.monotonic()) > 0:
            if self.run.stop.wait(min(_SHORT_STEP_S, left_s)):
                return True
            now_written = sum(stat.rows for stat in [*self.run.past, *self.crew.stats()])
            if now_written >= all_of_it > written:
                return False
        return False

    def _ended(self, conn: Connection, work: Sequence[WorkLeft]) -> str | None:
        if time.monotonic() - self.looked_at_slots > _LOOK_AT_SLOTS_S and self._slots_changed(conn):
            return _SLOTS_CHANGED
        if any(left.state == "paused" for left in work):
            return _PAUSED
        if was_cancelled(conn, self.run.slots, self.run.planned_at):
            return "cancelled"
        if self.run.reached_budget(conn):
            return "budget"
        if self.follow:
            return None
        if not all(left.filled for left in work):
            return None
        if self.filled_at is None:
            self.filled_at = fetch_now(conn)
            return None
        if any(left.waiting for left in work):
            return None
        # A slot that was dropped has no chunks left either.
        if self._slots_changed(conn):
            return _SLOTS_CHANGED
        return "part" if any(left.open_chunks for left in work) else "done"

    def _hold_back(self) -> None:
        """Passes on to the workers what the health watch says."""
        if self.run.health is not None:
            self.run.meter.held_back = self.run.health.reason
            self.crew.hold(self.run.health.reason)

    def _workers_lost_their_slot(self, conn: Connection) -> bool:
        """True when a worker failed because its slot was dropped or renamed. Raises what else it failed with."""
        try:
            self.crew.check()
        except DatabaseError:
            if not self._slots_changed(conn):
                raise
            return True
        return False

    def _slots_changed(self, conn: Connection) -> bool:
        """Whether embedmig maintains other slots by now: the handover, say, added one."""
        self.looked_at_slots = time.monotonic()
        return _essence(maintained_slots(conn, self.run.collection)) != _essence(self.run.slots)


def _essence(slots: Sequence[Slot]) -> list[Slot]:
    """What a worker must know of its slots: another's index or first filling changes nothing for it."""
    return [replace(slot, filled_at=None, index_name=None) for slot in slots]


def _nothing_to_embed(conn: Connection, collection: Collection) -> RefusedError:
    gone = [slot for slot in list_slots(conn, collection) if slot.maintained_by is Maintainer.EMBEDMIG]
    if gone:
        named = ", ".join(f"{slot.name} ({slot.model.key})" for slot in gone)
        return RefusedError(f"the model of {collection.name} {named} is gone: nothing can be embedded with it any more")
    begin = f"embedmig expand {collection.name} --to MODEL"
    return RefusedError(f"embedmig maintains no vectors of {collection.name}: open a migration, {begin}")
