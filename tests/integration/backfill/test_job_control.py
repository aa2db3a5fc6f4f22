"""A job's budget over its runs, and pausing, resuming and cancelling it from elsewhere."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from embedmig.backfill.job_control import cancel_jobs, name_state, pause_jobs
from embedmig.backfill.pipeline import WorkerOptions
from embedmig.backfill.progress import ReembedProgress
from embedmig.backfill.results import Budget, ReembedResult, RunOptions
from embedmig.backfill.running import reembed as run_reembed
from embedmig.backfill.slices import GroupSize
from embedmig.catalog import slots
from embedmig.catalog.events import list_events
from embedmig.cli import main
from embedmig.commands import cancel, jobs, pause, reembed, resume
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError, UsageError
from embedmig.types import Collection, Model, Placement
from tests.backfill_support import check_every_row, hands
from tests.support import NEW, expand_docs, make_docs

SLOW = Model(
    name="slow",
    revision="1",
    provider="hashing",
    dimensions=24,
    options={"dimensions": 24, "delay_s": 0.05},
    price_per_million_tokens=1000.0,
)
SMALL = WorkerOptions(size=GroupSize(rows=20), rest_s=0.02, idle_s=0.02, lease_s=3)
ROWS = 900


def wait_until(holds: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def count(conn: Connection) -> int:
    row = conn.execute("SELECT count(*) AS n FROM embedmig.docs_v2").fetchone()
    assert row is not None
    return int(row["n"])


class Background:
    """A run on a thread of its own."""

    def __init__(self, db: Database, docs: Collection, options: RunOptions) -> None:
        self.stop, self.result = threading.Event(), None
        self._outcome: list[ReembedResult | BaseException] = []

        def work() -> None:
            try:
                self._outcome.append(run_reembed(db, docs, options=options, stop=self.stop))
            except BaseException as error:  # noqa: BLE001
                self._outcome.append(error)

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def end(self) -> ReembedResult:
        self._thread.join(60)
        (outcome,) = self._outcome
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


@pytest.fixture
def slow_docs(db: Database, conn: Connection) -> Collection:
    docs = make_docs(conn, ROWS, new=SLOW)
    expand_docs(db, Placement.COMPANION, model=SLOW)
    return docs


def test_a_budget_of_rows_stops_the_job_and_counts_over_its_runs(
    db: Database, conn: Connection, slow_docs: Collection
) -> None:
    first = reembed(db, "docs", batch_size=20, max_rows=100)
    assert first.outcome == "budget"
    assert first.budget_reached is not None
    assert "--max-rows is 100" in first.budget_reached
    assert 100 <= first.rows < 600
    assert first.spent.rows == first.rows == count(conn)
    again = reembed(db, "docs", batch_size=20)
    assert (again.outcome, again.rows) == ("budget", 0)
    (shown,) = jobs(db, "docs")
    assert (shown.state, shown.budget.max_rows) == ("waiting", 100)
    last = reembed(db, "docs", batch_size=20, max_rows=float("inf"))
    assert last.outcome == "done"
    assert first.rows + last.rows == ROWS
    assert check_every_row(conn, slow_docs, slots.get_slot(conn, slow_docs, "v2")).clean


def test_a_budget_of_money_is_shared_by_all_who_work_on_the_job(
    db: Database, conn: Connection, slow_docs: Collection
) -> None:
    options = RunOptions(worker=SMALL, budget=Budget(max_cost=2.0))
    team = [Background(db, slow_docs, options) for _ in range(2)]
    ended = [one.end() for one in team]
    assert [one.outcome for one in ended] == ["budget", "budget"]
    (shown,) = jobs(db, "docs")
    assert shown.spent.cost is not None
    assert 2.0 <= shown.spent.cost < 8.0
    assert shown.spent.cost == pytest.approx(shown.spent.tokens / 1000)
    assert count(conn) < ROWS


def test_a_budget_of_time_adds_up_over_runs(db: Database, conn: Connection, slow_docs: Collection) -> None:
    result = reembed(db, "docs", batch_size=10, max_seconds=0.5)
    assert result.outcome == "budget"
    assert result.spent.seconds >= 0.5
    assert count(conn) < ROWS


def test_a_budget_that_is_just_enough_does_not_stop_a_job_that_is_done(
    db: Database, conn: Connection, slow_docs: Collection
) -> None:
    assert reembed(db, "docs", max_rows=ROWS).outcome == "done"


def test_a_negative_budget_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="--max-cost"):
        Budget(max_cost=-1)


def test_a_paused_job_holds_nothing_waits_and_goes_on_when_resumed(
    db: Database, conn: Connection, slow_docs: Collection
) -> None:
    run = Background(db, slow_docs, RunOptions(worker=SMALL))
    wait_until(lambda: count(conn) > 20)
    assert pause(db, "docs").slots == ("v2",)
    wait_until(lambda: jobs(db, "docs")[0].state == "paused")
    wait_until(lambda: [run.phase for run in jobs(db, "docs")[0].runs] == ["paused"])
    stood, (shown,) = count(conn), jobs(db, "docs")
    assert shown.workers == ()
    time.sleep(0.5)
    assert count(conn) == stood < ROWS
    resume(db, "docs")
    assert run.end().outcome == "done"
    assert check_every_row(conn, slow_docs, slots.get_slot(conn, slow_docs, "v2")).clean
    told = [(event.verb, event.became) for event in list_events(conn, "docs") if event.verb in ("pause", "resume")]
    assert sorted(told) == [("pause", "paused"), ("resume", "running")]


def test_a_cancelled_job_ends_every_run_and_what_is_embedded_stays(
    db: Database, conn: Connection, slow_docs: Collection
) -> None:
    run = Background(db, slow_docs, RunOptions(worker=SMALL))
    wait_until(lambda: count(conn) > 20)
    cancel(db, "docs")
    result = run.end()
    assert result.outcome == "cancelled"
    assert jobs(db) == []
    assert 20 < count(conn) < ROWS
    assert conn.execute("SELECT 1 AS x FROM embedmig.chunk WHERE bucket IS NULL").fetchone() is None
    last = reembed(db, "docs")
    assert last.outcome == "done"
    assert check_every_row(conn, slow_docs, slots.get_slot(conn, slow_docs, "v2")).clean


def test_a_worker_that_wakes_up_after_a_cancel_writes_nothing(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 50)
    expand_docs(db, Placement.COMPANION)
    with hands(db, docs) as asleep:
        asleep.plan()
        groups = asleep.read()
        assert [slot.name for slot in cancel_jobs(conn, docs)] == ["v2"]
        with pytest.raises(Exception, match="its lease ran out"):
            asleep.write(groups)
    assert count(conn) == 0


def test_a_pause_repeated_after_five_minutes_takes_chunks_from_a_dead_worker(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 50)
    expand_docs(db, Placement.COMPANION)
    with hands(db, docs) as dead:
        dead.lease_s = 3600
        dead.plan()
        groups = dead.read()
        pause_jobs(conn, docs)
        assert jobs(db, "docs")[0].state == "pausing"
        pause_jobs(conn, docs)
        assert jobs(db, "docs")[0].state == "pausing"
        conn.execute(
            "UPDATE embedmig.backfill"
            " SET options = options || jsonb_build_object('paused_at', now() - interval '6 min')"
        )
        pause_jobs(conn, docs)
        assert jobs(db, "docs")[0].state == "paused"
        with pytest.raises(Exception, match="its lease ran out"):
            dead.write(groups)


def test_a_run_that_waits_for_a_dead_workers_lease_says_so(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 50)
    expand_docs(db, Placement.COMPANION)
    with hands(db, docs) as dead:
        dead.lease_s = 3600
        dead.plan()
        dead.read()
        assert jobs(db, "docs")[0].held_back is None
    why = "the lease of a worker that is gone, hands: "
    wait_until(lambda: (jobs(db, "docs")[0].held_back or "").startswith(why))
    steps: list[str | None] = []

    def look(step: ReembedProgress) -> None:
        steps.append(step.held_back)
        if step.held_back is not None:
            conn.execute("UPDATE embedmig.chunk SET lease_until = clock_timestamp() WHERE worker = 'hands'")

    result = reembed(db, "docs", on_progress=look)
    assert result.outcome == "done"
    assert [step for step in steps if step is not None and step.startswith(why)]
    assert steps[-1] is None
    assert check_every_row(conn, docs, slots.get_slot(conn, docs, "v2")).clean


@pytest.mark.parametrize("verb", [pause, resume, cancel])
def test_without_a_job_there_is_nothing_to_control(db: Database, conn: Connection, verb: Any) -> None:
    make_docs(conn, 3)
    expand_docs(db, Placement.COMPANION)
    with pytest.raises(RefusedError, match="embedmig jobs docs"):
        verb(db, "docs")


def test_jobs_shows_who_works_how_fast_and_for_how_long(db: Database, conn: Connection, slow_docs: Collection) -> None:
    run = Background(db, slow_docs, RunOptions(worker=replace(SMALL, size=GroupSize(rows=10))))
    wait_until(lambda: bool(jobs(db, "docs")) and bool(jobs(db, "docs")[0].rows_per_s))
    (shown,) = jobs(db, "docs")
    assert shown.state == "running"
    assert shown.rows_planned == ROWS
    assert shown.eta_s is not None
    assert shown.spent.cost is not None
    assert len(shown.workers) == len(shown.runs) == 1
    assert 0 < shown.workers[0].lease_left_s <= SMALL.lease_s
    run.stop.set()
    assert run.end().outcome == "interrupted"
    assert jobs(db, "docs")[0].runs == ()


def test_the_command_line_says_how_a_job_stands_and_how_to_go_on(
    db: Database, slow_docs: Collection, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(*arguments: str) -> str:
        assert main.run([*arguments, "--database-url", db.url]) == 0
        return " ".join(capsys.readouterr().out.split())

    assert say("jobs") == "no job is open"
    ended = say("reembed", "docs", "--batch-size", "20", "--max-rows", "60", "--max-cost", "inf")
    assert "stopped by its budget: " in ended
    assert "--max-rows is 60; what is finished is kept. To go on, give that limit again" in ended
    shown = say("jobs", "docs")
    assert "docs v2 (slow@1): waiting" in shown
    assert "budget --max-rows 60" in shown
    assert "docs: paused: v2; embedmig resume docs goes on" in say("pause", "docs")
    assert "job v2 paused: " in say("status", "docs")
    assert "docs: goes on: v2" in say("resume", "docs")
    assert "docs: cancelled: v2; what is embedded is kept" in say("cancel", "docs")
    assert main.run(["cancel", "docs", "--database-url", db.url]) == RefusedError.exit_code


def test_a_state_is_named_by_what_was_asked_for_and_who_holds_what() -> None:
    named = [
        name_state(state, held=held, watched=watched)
        for state in ("running", "paused")
        for held in (True, False)
        for watched in (True, False)
    ]
    assert named == ["running", "running", "running", "waiting", "pausing", "pausing", "paused", "paused"]


def test_the_first_estimate_of_the_time_left_is_about_right(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 1000, new=NEW)
    conn.execute("UPDATE docs SET body = repeat(body || ' ', 1 + (id % 40)::int)")
    slow = Model(name="s", revision="1", provider="hashing", dimensions=24, options={"dimensions": 24})
    from embedmig.catalog import models
    from embedmig.embedders import load_embedder

    models.add_model(conn, slow, None)
    expand_docs(db, Placement.COMPANION, model=slow)
    inner = load_embedder(slow)

    class ByLength:
        """Takes as long as its texts are."""

        dimensions, max_tokens, compute_type = 24, None, "cpu"
        count_tokens, embed_queries = inner.count_tokens, inner.embed_queries

        def embed_documents(self, texts: Any) -> Any:
            time.sleep(sum(map(len, texts)) / 400_000)
            return inner.embed_documents(texts)

    seen: list[tuple[float, float]] = []
    result = run_reembed(
        db,
        docs,
        options=RunOptions(worker=replace(SMALL, size=GroupSize(rows=25)), load=lambda model: ByLength()),
        on_progress=lambda step: seen.append((step.seconds, step.eta_s)) if step.eta_s else None,
    )
    whole = seen[-1][0]
    at, eta = seen[0]
    assert result.outcome == "done"
    assert eta > (whole - at) / 2.5
