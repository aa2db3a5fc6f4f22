"""Each health indicator, provoked on the real server; and that workers wait while one says slow."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from embedmig.backfill import throttle
from embedmig.backfill.canary import open_canary, p95
from embedmig.backfill.gate import Gate
from embedmig.backfill.health import HealthWatch, open_watched
from embedmig.backfill.progress import ReembedProgress
from embedmig.commands import reembed
from embedmig.db import Connection, Database
from embedmig.settings import Settings
from embedmig.types import Collection, Placement
from tests.backfill_support import hands
from tests.support import expand_docs, make_docs


@pytest.fixture
def docs(db: Database, conn: Connection) -> Collection:
    made = make_docs(conn, 300)
    expand_docs(db, Placement.COMPANION)
    return made


def wait_until(holds: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def look(conn: Connection, docs: Collection, check: throttle.Check, **settings: Any) -> str | None:
    return check(conn, open_watched(conn, docs), Settings(**settings))


@contextmanager
def busy(db: Database, count: int) -> Iterator[None]:
    """So many queries of an application that run all along."""
    conns = [psycopg.connect(db.url, autocommit=True, application_name="shop") for _ in range(count)]

    def sleep(conn: psycopg.Connection[Any]) -> None:
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute("SELECT pg_sleep(60)")

    threads = [threading.Thread(target=sleep, args=(conn,)) for conn in conns]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for conn, thread in zip(conns, threads, strict=True):
            conn.cancel()
            thread.join()
            conn.close()


def test_running_queries_of_others_are_counted(db: Database, conn: Connection, docs: Collection) -> None:
    assert look(conn, docs, throttle.running_queries, throttle_running_queries=2) is None
    with busy(db, 3):
        wait_until(lambda: look(conn, docs, throttle.running_queries, throttle_running_queries=2) is not None)
        said = look(conn, docs, throttle.running_queries, throttle_running_queries=2)
        assert said == "3 queries run at once, 2 are allowed"
    assert look(conn, docs, throttle.running_queries, throttle_running_queries=2) is None


def test_dead_rows_of_the_serving_table_are_counted_until_they_are_vacuumed(
    db: Database, conn: Connection, docs: Collection
) -> None:
    conn.execute("ALTER TABLE docs SET (autovacuum_enabled = off)")
    for n in range(6):
        conn.execute("UPDATE docs SET lang = %s", [str(n)])
    wait_until(lambda: look(conn, docs, throttle.dead_rows) is not None)
    assert 'rows of "public"."docs" are dead, 25% are allowed' in str(look(conn, docs, throttle.dead_rows))
    conn.execute("VACUUM docs")
    wait_until(lambda: look(conn, docs, throttle.dead_rows) is None)


def test_a_replication_slot_that_keeps_wal_is_named(db: Database, conn: Connection, docs: Collection) -> None:
    name = f"keeps_{conn.info.backend_pid}"
    conn.execute("SELECT pg_create_physical_replication_slot(%s, true)", [name])
    try:
        conn.execute("CREATE TABLE filler AS SELECT repeat('x', 100) AS x FROM generate_series(1, 30000)")
        said = look(conn, docs, throttle.slot_retention, throttle_retained_mb=1)
        assert said is not None
        assert said.startswith(f"the replication slot {name} keeps ")
        assert look(conn, docs, throttle.slot_retention, throttle_retained_mb=100_000) is None
    finally:
        conn.execute("SELECT pg_drop_replication_slot(%s)", [name])


def test_a_vacuum_at_work_on_the_table_is_seen(db: Database, conn: Connection, docs: Collection) -> None:
    assert look(conn, docs, throttle.vacuum) is None
    conn.execute("INSERT INTO docs (id, title) SELECT n, repeat('x', 500) FROM generate_series(1000, 60000) n")
    conn.execute("DELETE FROM docs WHERE id >= 1000")
    with psycopg.connect(db.url, autocommit=True) as slow:
        slow.execute("SET vacuum_cost_delay = 100; SET vacuum_cost_limit = 1")

        def work() -> None:
            with suppress(psycopg.errors.QueryCanceled):
                slow.execute("VACUUM docs")

        thread = threading.Thread(target=work)
        thread.start()
        wait_until(lambda: look(conn, docs, throttle.vacuum) is not None)
        assert str(look(conn, docs, throttle.vacuum)).startswith("docs is being vacuumed (")
        assert look(conn, docs, throttle.vacuum, throttle_vacuum=False) is None
        conn.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_progress_vacuum WHERE relid = 'docs'::regclass")
        thread.join()


def test_wal_that_waits_for_an_archive_is_counted(db: Database, conn: Connection, docs: Collection) -> None:
    assert look(conn, docs, throttle.wal_archive, throttle_wal_files=2) is None
    row = conn.execute("SELECT current_setting('data_directory') AS folder").fetchone()
    assert row is not None
    waiting = [Path(row["folder"]) / "pg_wal" / "archive_status" / f"{n:024X}.ready" for n in range(1, 4)]
    try:
        for path in waiting:
            path.touch()
        said = look(conn, docs, throttle.wal_archive, throttle_wal_files=2)
        assert said == "3 WAL files wait for the archive, 2 may"
    finally:
        for path in waiting:
            path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT 1 > 2", None),
        ("SELECT NULL", None),
        ("SELECT 0", None),
        ("SELECT 1 WHERE false", None),
        ("SELECT true", "throttle_sql answered True"),
        ("SELECT 7", "throttle_sql answered 7"),
        ("SELECT 'the queue of mails is long, 100%'", "the queue of mails is long, 100%"),
    ],
)
def test_a_query_of_ones_own_decides(conn: Connection, docs: Collection, query: str, said: str | None) -> None:
    assert look(conn, docs, throttle.own_sql, throttle_sql=query) == said


def test_a_canary_notices_that_searches_became_slow(db: Database, conn: Connection, docs: Collection) -> None:
    conn.execute("CREATE INDEX docs_hnsw ON docs USING hnsw (embedding vector_cosine_ops)")
    conn.execute("SET enable_seqscan = off")
    watched = open_watched(conn, docs)
    assert watched.canary is not None
    settings = Settings(throttle_canary_factor=2)
    assert watched.canary.before_ms >= 1.0
    for _ in range(5):
        watched.canary.look(conn)
    watched.canary.before_ms = 0.001
    said = throttle.canary(conn, watched, settings)
    assert said is not None
    assert "ms (p95)" in said
    watched.canary.before_ms = 10_000
    assert throttle.canary(conn, watched, settings) is None


def test_a_later_process_takes_the_baseline_from_before_the_job(
    db: Database, conn: Connection, docs: Collection
) -> None:
    conn.execute("CREATE INDEX ON docs USING hnsw (embedding vector_cosine_ops)")
    conn.execute("SET enable_seqscan = off")
    conn.execute(sql.SQL("ALTER DATABASE {} SET enable_seqscan = off").format(sql.Identifier(conn.info.dbname)))
    with hands(db, docs) as worker:
        worker.plan()
        slots = [worker.slot]
    settings = Settings(throttle_every_s=60)
    with HealthWatch(db, docs, settings) as first, HealthWatch(db, docs, settings) as second:
        first.agree_on_baseline(conn, slots)
        measured = first.baseline_ms
        assert measured is not None
        # As if the first had measured something that the second could not have.
        conn.execute(
            "UPDATE embedmig.backfill SET options = jsonb_build_object('canary_ms',"
            " (SELECT jsonb_object_agg(place, 12345.5) FROM jsonb_object_keys(options -> 'canary_ms') AS place))"
        )
        second.agree_on_baseline(conn, slots)
        assert second.baseline_ms == 12345.5
        assert first.baseline_ms == measured


def test_there_is_no_canary_where_a_search_would_read_the_whole_table(conn: Connection, docs: Collection) -> None:
    assert open_canary(conn, open_watched(conn, docs).serving) is None


def test_p95_is_what_all_but_a_twentieth_do_not_exceed() -> None:
    assert p95([]) == 0
    assert p95([3.0]) == 3.0
    assert p95([float(n) for n in range(100)]) == 95


def test_what_cannot_be_read_is_said_and_the_rest_is_watched(db: Database, conn: Connection, docs: Collection) -> None:
    with HealthWatch(db, docs, Settings(throttle_sql="SELECT no_such_function()")) as health:
        assert health.reason is None
        assert any(
            text.startswith("own SQL: function no_such_function() does not exist") for text in health.not_watched
        )
        assert any(text.startswith("canary: ") for text in health.not_watched)


def test_a_check_that_does_not_answer_in_time_says_slow_and_none_can_write(
    db: Database, conn: Connection, docs: Collection
) -> None:
    with HealthWatch(db, docs, Settings(throttle_sql="SELECT pg_sleep(30) IS NULL")) as health:
        assert health.reason == "own SQL: no answer within 2 s"
    with HealthWatch(db, docs, Settings(throttle_sql="DELETE FROM docs RETURNING 1")) as health:
        assert any("read-only transaction" in text for text in health.not_watched)


def test_a_watch_that_lost_its_connection_holds_back_and_opens_another(
    db: Database, conn: Connection, docs: Collection
) -> None:
    with HealthWatch(db, docs, Settings(throttle_every_s=60)) as health:
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'embedmig health'"
            " AND datname = current_database()"
        )
        health.ask()
        assert "does not answer the health checks" in str(health.reason)
        health.ask()
        assert health.reason is None


def test_a_closed_gate_opens_after_the_longest_wait_and_at_once_when_the_work_is_over() -> None:
    over = threading.Event()
    patient = Gate(longest_s=60)
    assert patient.wait(over) < 30
    impatient = Gate(longest_s=0.3)
    impatient.hold("a reason")
    assert 0.3 <= impatient.wait(over) < 30
    over.set()
    patient.hold("a reason")
    assert patient.wait(over) < 30


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_wait_while_an_indicator_says_slow_and_the_run_says_which(
    db: Database, conn: Connection, docs: Collection, workers: int
) -> None:
    conn.execute("CREATE TABLE brake (on_ boolean)")
    conn.execute("INSERT INTO brake VALUES (true)")
    seen: list[ReembedProgress] = []
    settings = Settings(throttle_every_s=0.2)
    result: list[Any] = []

    def run() -> None:
        result.append(
            reembed(
                db,
                "docs",
                workers=workers,
                throttle_sql="SELECT 'the brake is on' FROM brake WHERE on_",
                settings=settings,
                on_progress=seen.append,
            )
        )

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: any(step.phase == "embedding" and step.held_back for step in seen))
    time.sleep(1.0)
    row = conn.execute("SELECT count(*) AS n FROM embedmig.docs_v2").fetchone()
    assert row == {"n": 0}
    assert seen[-1].held_back == "own SQL: the brake is on"
    shown = conn.execute("SELECT held_back FROM embedmig.run").fetchall()
    assert shown == [{"held_back": "own SQL: the brake is on"}]
    conn.execute("UPDATE brake SET on_ = false")
    thread.join(60)
    assert result[0].outcome == "done"
    assert result[0].rows == 300


def test_a_job_held_back_for_good_still_moves_on(db: Database, conn: Connection, docs: Collection) -> None:
    settings = Settings(throttle_every_s=0.2, throttle_longest_s=0.4)
    result = reembed(db, "docs", batch_size=100, throttle_sql="SELECT 'always'", settings=settings)
    assert result.outcome == "done"
    assert result.seconds > 1.2
