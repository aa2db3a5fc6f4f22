"""Chunks and leases: who may work on what."""

import time
from collections.abc import Iterator

import psycopg
import pytest

from embedmig.backfill.chunks import end_stuck_writers, release_chunks, renew_leases
from embedmig.backfill.fetching import claimed
from embedmig.backfill.jobs import find_job, plan_job
from embedmig.db import Connection, Database
from embedmig.types import Collection, Placement
from tests.backfill_support import Hands, forget_lease, hands
from tests.support import expand_docs, make_docs


@pytest.fixture
def docs(db: Database, conn: Connection) -> Collection:
    collection = make_docs(conn, 100)
    expand_docs(db, Placement.COMPANION)
    return collection


@pytest.fixture
def worker(db: Database, docs: Collection) -> Iterator[Hands]:
    with hands(db, docs) as one:
        one.plan(chunk_rows=10)
        yield one


def test_chunks_hold_every_row_once_and_no_gap_makes_an_empty_one(
    db: Database, conn: Connection, docs: Collection
) -> None:
    conn.execute("UPDATE docs SET id = id * 1000000 WHERE id > 50")
    conn.execute("DELETE FROM embedmig.pending")
    with hands(db, docs) as worker:
        worker.plan(chunk_rows=7)
        counts = []
        while (chunk := worker.claim()) is not None:
            groups = worker.read(chunk)
            counts.append(sum(len(group.actions) for group in groups))
            assert counts[-1] == chunk.row_count
            worker.write(groups)
    assert sum(counts) == 100
    assert sorted(counts) == [2] + [7] * 14


@pytest.mark.parametrize("chunk_rows", [1, 2, 99, 100, 101])
def test_chunks_of_any_size_cover_the_table(db: Database, conn: Connection, docs: Collection, chunk_rows: int) -> None:
    with hands(db, docs) as worker:
        worker.plan(chunk_rows=chunk_rows)
        worker.work_off()
        assert conn.execute("SELECT count(*) AS n FROM embedmig.docs_v2").fetchone() == {"n": 100}


def test_a_chunk_is_one_workers_until_its_lease_runs_out(worker: Hands, conn: Connection) -> None:
    worker.lease_s = 0.2
    chunks = [worker.claim() for _ in range(10)]
    assert len({chunk.id for chunk in chunks if chunk}) == 10
    assert worker.claim() is None
    time.sleep(0.25)
    again = worker.claim()
    assert again is not None
    first = next(chunk for chunk in chunks if chunk and chunk.id == again.id)
    assert again.token == first.token + 1


def test_a_heartbeat_prolongs_what_is_held_and_nothing_that_was_lost(worker: Hands, conn: Connection) -> None:
    worker.lease_s = 0.3
    held, lost = worker.claim(), worker.claim()
    assert held is not None
    assert lost is not None
    conn.execute("UPDATE embedmig.chunk SET token = token + 1 WHERE id = %s", [lost.id])
    renew_leases(conn, [held, lost], 30)
    rows = conn.execute(
        "SELECT id, lease_until > clock_timestamp() + interval '5 s' AS long FROM embedmig.chunk WHERE id = ANY (%s)",
        [[held.id, lost.id]],
    ).fetchall()
    assert {row["id"]: row["long"] for row in rows} == {held.id: True, lost.id: False}


def test_a_chunk_given_back_can_be_claimed_at_once(worker: Hands, conn: Connection) -> None:
    chunks = [worker.claim() for _ in range(10)]
    release_chunks(conn, [chunk for chunk in chunks if chunk])
    assert worker.claim() is not None


def test_claims_never_wait_for_a_chunk_that_is_being_written(db: Database, worker: Hands) -> None:
    with db.connect() as writing, writing.transaction():
        writing.execute("SELECT FROM embedmig.chunk WHERE bucket IS NULL FOR UPDATE")
        worker.reader.execute("SET statement_timeout = '2s'")
        assert worker.claim() is None


def test_a_bucket_is_claimed_before_any_chunk_and_only_when_something_is_ready(worker: Hands, conn: Connection) -> None:
    conn.execute("UPDATE docs SET body = 'edited' WHERE id = 5")
    first = worker.claim()
    assert first is not None
    assert first.bucket is not None
    conn.execute("UPDATE embedmig.pending SET ready = now() + interval '1 hour'")
    release_chunks(conn, [first])
    second = worker.claim()
    assert second is not None
    assert second.bucket is None


def test_a_job_that_others_are_at_is_joined_and_one_left_behind_is_cut_anew(worker: Hands, conn: Connection) -> None:
    held = worker.claim()
    assert held is not None
    before = find_job(conn, worker.slot)
    joined = plan_job(conn, worker.collection, worker.slot, chunk_rows=50)
    assert joined == before
    forget_lease(claimed(held), conn)
    anew = plan_job(conn, worker.collection, worker.slot, chunk_rows=50)
    assert anew is not None
    assert before is not None
    assert anew.id == before.id
    assert anew.open == 2


def test_nothing_is_claimed_of_a_job_that_is_paused_or_has_reached_its_part(worker: Hands, conn: Connection) -> None:
    conn.execute("UPDATE embedmig.backfill SET state = 'paused'")
    assert worker.claim() is None
    conn.execute("UPDATE embedmig.backfill SET state = 'running', limit_rows = 25")
    assert len([chunk for chunk in (worker.claim() for _ in range(6)) if chunk]) == 3


def test_a_writer_that_stands_still_in_its_transaction_is_ended(db: Database, worker: Hands, conn: Connection) -> None:
    """As a process does that is stopped in the middle of a COPY: its chunk is locked, and its lease runs out."""
    chunk = worker.claim()
    assert chunk is not None
    name = "embedmig stuck:1:a"
    with psycopg.connect(db.url, application_name=name) as stuck:
        conn.execute(
            "UPDATE embedmig.chunk SET worker = %s, backend = %s, lease_until = clock_timestamp() + interval '0.1 s'"
            " WHERE id = %s",
            [name, stuck.info.backend_pid, chunk.id],
        )
        stuck.execute("SELECT FROM embedmig.chunk WHERE id = %s FOR UPDATE", [chunk.id])
        assert end_stuck_writers(conn, [worker.slot.id], 0.1) == 0
        time.sleep(0.4)
        claims = [worker.claim() for _ in range(20)]
        assert chunk.id not in [claim.id for claim in claims if claim]
        assert end_stuck_writers(conn, [worker.slot.id], 0.1) == 1
        time.sleep(0.2)
        taken = worker.claim()
        assert taken is not None
        assert taken.id == chunk.id
        with pytest.raises(psycopg.OperationalError, match="terminating connection"):
            stuck.execute("SELECT 1")


def test_positions_are_random_so_that_a_part_is_a_sample(worker: Hands, conn: Connection) -> None:
    rows = conn.execute("SELECT first_key FROM embedmig.chunk WHERE bucket IS NULL ORDER BY position").fetchall()
    order = [int(row["first_key"][0]) for row in rows]
    assert sorted(order) == list(range(1, 101, 10))
    assert order != sorted(order)
