"""Two sessions in an order fixed by hand: each case once went wrong, or would with a shortcut taken."""

import threading
import time
from collections.abc import Iterator

import pytest

from embedmig.backfill.groups import Group
from embedmig.catalog.collections import get_collection
from embedmig.db import Connection, Database
from embedmig.errors import LeaseLostError
from embedmig.types import Collection, Placement
from tests.backfill_support import Hands, check_every_row, entries, forget_lease, hands, make_ready
from tests.support import expand_docs, make_docs


@pytest.fixture(params=list(Placement))
def docs(request: pytest.FixtureRequest, db: Database, conn: Connection) -> Collection:
    make_docs(conn, 10)
    expand_docs(db, request.param)
    return get_collection(conn, "docs")


@pytest.fixture
def worker(db: Database, docs: Collection) -> Iterator[Hands]:
    with hands(db, docs) as one:
        one.plan()
        yield one


@pytest.fixture
def other(db: Database, docs: Collection) -> Iterator[Hands]:
    with hands(db, docs) as one:
        yield one


@pytest.fixture
def user(db: Database) -> Iterator[Connection]:
    with db.connect() as connection:
        yield connection


def settle_and_check(worker: Hands, conn: Connection) -> None:
    """Works off what is queued, and finds every row right and nothing queued."""
    for _ in range(5):
        make_ready(conn)
        worker.work_off()
    assert check_every_row(conn, worker.collection, worker.slot).clean
    assert entries(conn, worker.slot) == []


def test_an_edit_between_read_and_write_is_never_lost(worker: Hands, conn: Connection) -> None:
    groups = worker.read()
    conn.execute("UPDATE docs SET body = 'edited meanwhile' WHERE id = 3")
    worker.write(groups)
    settle_and_check(worker, conn)


def test_our_write_neither_waits_for_a_user_nor_makes_one_wait(
    worker: Hands, user: Connection, conn: Connection
) -> None:
    """The user holds row 2 and then wants row 1; both are in our batch."""
    groups = worker.read()
    user.execute("BEGIN")
    user.execute("UPDATE docs SET lang = 'fr' WHERE id = 2")
    user.execute("SET LOCAL lock_timeout = '2s'")
    worker.writer.execute("SET lock_timeout = '2s'")
    worker.write(groups)
    user.execute("UPDATE docs SET lang = 'fr' WHERE id = 1")
    user.execute("COMMIT")
    settle_and_check(worker, conn)


def test_a_row_skipped_as_locked_is_queued_though_its_holder_rolls_back(
    worker: Hands, user: Connection, conn: Connection
) -> None:
    conn.execute("UPDATE docs SET body = 'new text' WHERE id = 2")
    groups = worker.read()
    assert groups[0].entries is not None
    user.execute("BEGIN")
    user.execute("UPDATE docs SET body = 'never committed' WHERE id = 2")
    worker.write(groups)
    user.execute("ROLLBACK")
    settle_and_check(worker, conn)


def test_a_late_write_of_an_earlier_text_does_not_stay(worker: Hands, other: Hands, conn: Connection) -> None:
    """We read the first text; it is edited; another worker embeds the edit and forgets it; then we write."""
    late = worker.read()
    conn.execute("UPDATE docs SET body = 'the second text' WHERE id = 4")
    other.write(other.read())
    assert entries(conn, worker.slot) == []
    worker.write(late)
    settle_and_check(worker, conn)


def test_an_entry_that_commits_after_a_higher_one_was_seen_stays(
    worker: Hands, user: Connection, conn: Connection
) -> None:
    """Sequence numbers are given out before the commit: what is forgotten is a list, never a range."""
    worker.work_off()
    user.execute("BEGIN")
    user.execute("UPDATE docs SET body = 'lower number, later commit' WHERE id = 5")
    conn.execute(
        "INSERT INTO embedmig.pending (slot_id, bucket, key) VALUES (%s, embedmig.bucket_v1('{5}'), '{5}')",
        [worker.slot.id],
    )
    groups = worker.read()
    user.execute("COMMIT")
    worker.write(groups)
    settle_and_check(worker, conn)


def test_a_row_deleted_between_read_and_write_leaves_no_vector(worker: Hands, conn: Connection) -> None:
    groups = worker.read()
    conn.execute("DELETE FROM docs WHERE id = 6")
    worker.write(groups)
    settle_and_check(worker, conn)


def test_a_row_deleted_and_inserted_again_with_another_text_ends_right(
    worker: Hands, other: Hands, conn: Connection
) -> None:
    worker.work_off()
    conn.execute("DELETE FROM docs WHERE id = 7")
    if worker.slot.placement is Placement.COLUMN:
        conn.execute("INSERT INTO docs (id, title, body) VALUES (7, 'again', 'another life')")
        return settle_and_check(worker, conn)
    late = worker.read()
    conn.execute("INSERT INTO docs (id, title, body) VALUES (7, 'again', 'another life')")
    forget_lease(late[0].lease, conn)
    other.write(other.read())
    with pytest.raises(LeaseLostError):
        worker.write(late)
    settle_and_check(worker, conn)


def test_a_truncate_never_meets_a_lock_of_ours_and_leaves_no_vector(
    worker: Hands, user: Connection, conn: Connection
) -> None:
    worker.work_off()
    conn.execute("INSERT INTO docs (id, title, body) VALUES (50, 'one', 'more')")
    groups = worker.read()
    user.execute("SET lock_timeout = '2s'")
    user.execute("TRUNCATE docs")
    user.execute("INSERT INTO docs (id, title, body) VALUES (2, 'after', 'the flood')")
    worker.write(groups)
    settle_and_check(worker, conn)


def test_a_key_that_moves_takes_its_vector_along_or_is_embedded_again(worker: Hands, conn: Connection) -> None:
    groups = worker.read()
    conn.execute("UPDATE docs SET id = 108 WHERE id = 8")
    worker.write(groups)
    conn.execute("UPDATE docs SET id = 109 WHERE id = 9")
    settle_and_check(worker, conn)


def test_a_worker_whose_chunk_was_taken_over_writes_nothing(worker: Hands, other: Hands, conn: Connection) -> None:
    late = worker.read()
    forget_lease(late[0].lease, conn)
    taken = other.read()
    with pytest.raises(LeaseLostError):
        worker.write(late)
    assert len(check_every_row(conn, worker.collection, worker.slot).missing) == 10
    other.write(taken)
    settle_and_check(other, conn)


def test_two_workers_that_fill_the_same_row_at_once_both_end(worker: Hands, other: Hands, conn: Connection) -> None:
    """A queued row is also in a chunk: the COPY meets the row that the queue's worker wrote."""
    fill = worker.read()
    conn.execute("UPDATE docs SET body = 'queued' WHERE id = 1")
    queue = other.read()
    other.write(queue)
    worker.write(fill)
    settle_and_check(worker, conn)


def test_a_hot_row_is_settled_soon_after_its_last_edit(worker: Hands, conn: Connection) -> None:
    worker.work_off()
    for number in range(30):
        conn.execute("UPDATE docs SET body = %s WHERE id = 1", [f"edit {number}"])
        if number % 3 == 0:
            chunk = worker.claim()
            if chunk is not None:
                groups = worker.read(chunk)
                conn.execute("UPDATE docs SET body = %s WHERE id = 1", [f"edit {number} once more"])
                worker.write(groups)
    settle_and_check(worker, conn)


def test_a_text_that_became_empty_loses_its_vector(worker: Hands, conn: Connection) -> None:
    groups = worker.read()
    conn.execute("UPDATE docs SET title = NULL, body = '' WHERE id = 1")
    worker.write(groups)
    conn.execute("UPDATE docs SET title = '', body = NULL WHERE id = 2")
    settle_and_check(worker, conn)
    row = conn.execute("SELECT count(*) AS n FROM docs WHERE id IN (1, 2)").fetchone()
    assert row == {"n": 2}


def test_an_update_of_another_column_embeds_nothing(worker: Hands, conn: Connection) -> None:
    worker.work_off()
    conn.execute("UPDATE docs SET lang = 'fr'")
    assert entries(conn, worker.slot) == []
    assert worker.claim() is None


def test_no_lock_that_users_meet_is_held_while_we_wait(worker: Hands, user: Connection, conn: Connection) -> None:
    """Between read and write, and after the write, every row can be locked at once."""
    groups = worker.read()
    user.execute("BEGIN; SET LOCAL lock_timeout = '1s'; SELECT FROM docs FOR UPDATE; ROLLBACK")
    worker.write(groups)
    user.execute("BEGIN; SET LOCAL lock_timeout = '1s'; LOCK TABLE docs; ROLLBACK")


def test_users_write_while_a_copy_into_the_companion_stands_open(
    db: Database, worker: Hands, user: Connection, conn: Connection
) -> None:
    """A COPY that does not end holds our rows and our chunk, nothing of the user's."""
    if worker.slot.placement is Placement.COLUMN:
        pytest.skip("in column placement there is no such COPY")
    with db.connect() as stuck, stuck.transaction():
        stuck.execute("SELECT FROM embedmig.chunk FOR UPDATE")
        assert worker.target.copy_slot is not None
        with stuck.cursor() as cursor, cursor.copy(worker.target.copy_slot) as copy:
            user.execute("SET lock_timeout = '2s'")
            user.execute("UPDATE docs SET body = 'x' WHERE id = 1")
            user.execute("DELETE FROM docs WHERE id = 2")
            user.execute("TRUNCATE docs")
            assert worker.claim() is None
            copy.write(b"PGCOPY\n\xff\r\n\x00" + bytes(8) + b"\xff\xff")
    settle_and_check(worker, conn)


def test_a_repeatable_read_writer_never_meets_our_write_in_a_companion(
    worker: Hands, user: Connection, conn: Connection
) -> None:
    """In column placement it gets 40001: nothing can help that, and plan says so."""
    if worker.slot.placement is Placement.COLUMN:
        pytest.skip("only a companion leaves such writers alone")
    user.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    user.execute("SELECT * FROM docs")
    worker.work_off()
    user.execute("UPDATE docs SET body = 'repeatable' WHERE id = 1")
    user.execute("COMMIT")
    settle_and_check(worker, conn)


def test_both_orders_of_lock_and_commit_end_right(db: Database, worker: Hands, conn: Connection) -> None:
    """The user's edit begins before our write and commits after it, or begins while it runs."""
    groups = worker.read()
    began, wrote = threading.Event(), threading.Event()

    def edit() -> None:
        with db.connect() as editing, editing.transaction():
            editing.execute("UPDATE docs SET body = 'held across the write' WHERE id = 1")
            began.set()
            assert wrote.wait(10)

    editor = threading.Thread(target=edit)
    editor.start()
    assert began.wait(10)
    worker.write(groups)
    wrote.set()
    editor.join()
    settle_and_check(worker, conn)


@pytest.fixture
def companion_worker(db: Database, conn: Connection) -> Iterator[Hands]:
    make_docs(conn, 10)
    expand_docs(db, Placement.COMPANION)
    with hands(db, get_collection(conn, "docs")) as one:
        one.plan()
        one.work_off()
        yield one


def write_behind_a_lock(db: Database, worker: Hands, key: int, meanwhile: list[str]) -> None:
    """Lets a write wait for a row of the companion, its statement's snapshot taken, while ``meanwhile`` happens and
    another worker (played by the holder of the lock) writes the row and forgets its entry."""
    groups = worker.read()
    with db.connect() as holder, db.connect() as user:
        holder.execute("BEGIN")
        holder.execute("SELECT FROM embedmig.docs_v2 WHERE id = %s FOR UPDATE", [key])
        writing = threading.Thread(target=worker.write, args=[groups])
        writing.start()
        wait_until_blocked(user, worker.writer.info.backend_pid)
        for statement in meanwhile:
            user.execute(statement)
        holder.execute("UPDATE embedmig.docs_v2 SET embedding_hash = gen_random_uuid() WHERE id = %s", [key])
        holder.execute("DELETE FROM embedmig.pending WHERE key = %s AND seq > ALL (%s)", [[str(key)], seqs(groups)])
        holder.execute("COMMIT")
        writing.join()


def seqs(groups: list[Group]) -> list[int]:
    return [seq for group in groups if group.entries for seq in group.entries.seqs]


def wait_until_blocked(conn: Connection, pid: int) -> None:
    for _ in range(500):
        row = conn.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0 AS blocked", [pid]).fetchone()
        if row is not None and row["blocked"]:
            return
        time.sleep(0.01)
    raise AssertionError("the write did not wait")


def test_an_upsert_that_waited_while_another_wrote_a_later_text_is_looked_at_again(
    db: Database, companion_worker: Hands, conn: Connection
) -> None:
    conn.execute("UPDATE docs SET body = 'the first edit' WHERE id = 1")
    write_behind_a_lock(db, companion_worker, 1, ["UPDATE docs SET body = 'the second edit' WHERE id = 1"])
    assert check_every_row(conn, companion_worker.collection, companion_worker.slot).wrong == [("1",)]
    settle_and_check(companion_worker, conn)


def test_a_delete_that_waited_while_the_row_came_back_is_looked_at_again(
    db: Database, companion_worker: Hands, conn: Connection
) -> None:
    conn.execute("DELETE FROM docs WHERE id = 1")
    write_behind_a_lock(db, companion_worker, 1, ["INSERT INTO docs (id, title, body) VALUES (1, 'back', 'again')"])
    assert check_every_row(conn, companion_worker.collection, companion_worker.slot).missing == [("1",)]
    settle_and_check(companion_worker, conn)
