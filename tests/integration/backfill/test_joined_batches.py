"""Batches that wait for the writer are written in one transaction, and nothing else changes."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from embedmig.backfill.groups import join_groups, may_join
from embedmig.backfill.slices import GroupSize
from embedmig.catalog.collections import get_collection
from embedmig.db import Connection, Database
from embedmig.errors import LeaseLostError
from embedmig.types import Placement
from tests.backfill_support import Hands, check_every_row, entries, forget_lease, hands, make_ready
from tests.support import expand_docs, make_docs

MUCH = 8 * 1024 * 1024


@contextmanager
def worker_on(db: Database, conn: Connection, placement: Placement) -> Iterator[Hands]:
    """A worker whose chunk makes three groups."""
    make_docs(conn, 30)
    expand_docs(db, placement)
    with hands(db, get_collection(conn, "docs")) as worker:
        worker.size = GroupSize(rows=10)
        worker.plan()
        yield worker


@pytest.fixture
def worker(db: Database, conn: Connection) -> Iterator[Hands]:
    with worker_on(db, conn, Placement.COMPANION) as one:
        yield one


def test_joined_batches_write_every_row_and_end_their_chunk(worker: Hands, conn: Connection) -> None:
    groups = worker.read()
    assert len(groups) == 3
    assert may_join(groups[:2], groups[2], most_bytes=MUCH)
    joined = join_groups(groups)
    conn.execute("UPDATE docs SET body = 'edited meanwhile' WHERE id = 3")
    conn.execute("DELETE FROM docs WHERE id = 17")
    worker.write([joined])
    assert conn.execute("SELECT done_at IS NOT NULL AS done FROM embedmig.chunk WHERE bucket IS NULL").fetchone() == {
        "done": True
    }
    assert conn.execute("SELECT count(*) AS n FROM embedmig.docs_v2").fetchone() == {"n": 28}
    for _ in range(3):
        make_ready(conn)
        worker.work_off()
    assert check_every_row(conn, worker.collection, worker.slot).clean
    assert entries(conn, worker.slot) == []


def test_a_row_that_failed_is_kept_under_its_own_key_in_a_joined_batch(worker: Hands, conn: Connection) -> None:
    groups = worker.read()
    poisoned = groups[1]
    assert poisoned.vectors is not None
    poisoned.written, poisoned.vectors = list(poisoned.written)[:-1], poisoned.vectors[:-1]
    poisoned.reasons = {9: "poison"}
    key = poisoned.keys[0][9]
    worker.write([join_groups(groups)])
    failed = conn.execute("SELECT key, reason FROM embedmig.failure").fetchall()
    assert failed == [{"key": [str(int.from_bytes(key, "big"))], "reason": "poison"}]
    assert check_every_row(conn, worker.collection, worker.slot).missing == [tuple(failed[0]["key"])]
    assert conn.execute("SELECT count(*) AS n FROM embedmig.docs_v2").fetchone() == {"n": 29}


def test_a_joined_batch_whose_lease_ran_out_writes_nothing(worker: Hands, db: Database, conn: Connection) -> None:
    groups = worker.read()
    with hands(db, worker.collection) as other:
        forget_lease(groups[0].lease, conn)
        assert other.claim() is not None
        with pytest.raises(LeaseLostError):
            worker.write([join_groups(groups)])
    assert conn.execute("SELECT count(*) AS n FROM embedmig.docs_v2").fetchone() == {"n": 0}


def test_what_another_worker_wrote_already_is_no_obstacle_to_a_joined_batch(
    worker: Hands, db: Database, conn: Connection
) -> None:
    groups = worker.read()
    conn.execute("UPDATE docs SET body = 'edited, and embedded by another' WHERE id = 5")
    with hands(db, worker.collection) as other:
        other.work_off()
    assert conn.execute("SELECT count(*) AS n FROM embedmig.docs_v2").fetchone() == {"n": 1}
    worker.write([join_groups(groups)])
    make_ready(conn)
    worker.work_off()
    assert check_every_row(conn, worker.collection, worker.slot).clean


def test_batches_are_joined_only_where_it_is_a_first_fill_of_one_chunk_and_not_too_much(
    worker: Hands, conn: Connection
) -> None:
    groups = worker.read()
    assert not may_join(groups[:1], groups[1], most_bytes=1000)
    groups[1].fresh = False
    assert not may_join(groups[:1], groups[1], most_bytes=MUCH)
    conn.execute("UPDATE docs SET body = 'queued' WHERE id = 3")
    (queued,) = worker.read()
    assert not may_join(groups[:1], queued, most_bytes=MUCH)


def test_batches_in_place_are_never_joined(db: Database, conn: Connection) -> None:
    with worker_on(db, conn, Placement.COLUMN) as in_place:
        groups = in_place.read()
        assert not may_join(groups[:1], groups[1], most_bytes=MUCH)
