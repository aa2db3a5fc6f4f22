"""A connection that was just used is kept at hand: nobody waits beside it, none is lost, and closing closes it."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg_pool import PoolClosed

from embedmig.db import Connection, Database
from embedmig.search import connections
from embedmig.search.connections import AsyncLent, Lent, Pool, open_async_pool, open_pool

NAME = "kept at hand"


def options(db: Database, size: int) -> dict[str, Any]:
    connection = {"autocommit": True, "application_name": NAME}
    return {"conninfo": db.url, "kwargs": connection, "min_size": 1, "max_size": size, "timeout": 60.0}


@pytest.fixture
def pool(db: Database) -> Iterator[Pool]:
    """Of two connections at most."""
    one = open_pool(options(db, 2))
    yield one
    one.close()


def there_are(conn: Connection) -> int:
    row = conn.execute(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()",
        [NAME],
    ).fetchone()
    assert row is not None
    return int(row["n"])


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def test_the_next_one_gets_what_was_just_used_and_the_pool_is_not_asked(pool: Pool) -> None:
    with Lent(pool) as first:
        pass
    asked = pool.get_stats()["requests_num"]
    with Lent(pool) as again:
        assert again is first
    with pool.connection() as as_the_pool_lends:
        assert as_the_pool_lends is first
    assert pool.get_stats()["requests_num"] == asked


def test_who_waits_gets_the_connection_that_is_laid_down(db: Database) -> None:
    pool = open_pool(options(db, 1))
    with ThreadPoolExecutor(1) as other:
        with Lent(pool) as held:
            waiting = other.submit(pool.getconn)
            wait_until(lambda: pool.get_stats()["requests_waiting"] == 1)
        assert waiting.result(60) is held
    pool.putconn(held)
    pool.close()


def test_many_threads_share_few_connections_and_no_two_have_the_same(pool: Pool, conn: Connection) -> None:
    lock, in_use, most = threading.Lock(), set[int](), 0

    def search(_: int) -> None:
        nonlocal most
        with Lent(pool) as lent:
            with lock:
                assert lent.info.backend_pid not in in_use
                in_use.add(lent.info.backend_pid)
                most = max(most, len(in_use))
            lent.execute("SELECT 1")
            with lock:
                in_use.remove(lent.info.backend_pid)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(search, range(400)))
    assert 1 <= most <= 2
    assert there_are(conn) <= 2


def test_when_it_is_time_the_pool_gets_all_back(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PUT_BACK_S", 0.0)
    pool = open_pool(options(db, 2))
    asked = pool.get_stats().get("requests_num", 0)
    for _ in range(3):
        with Lent(pool):
            pass
    assert pool.get_stats()["requests_num"] == asked + 3
    assert pool.get_stats()["pool_available"] >= 1
    pool.close()


@pytest.mark.parametrize("how", ["closed", "cut off", "in a transaction"])
def test_one_with_which_something_is_the_matter_is_not_kept(pool: Pool, conn: Connection, how: str) -> None:
    with Lent(pool) as lent:
        if how == "closed":
            lent.close()
        elif how == "in a transaction":
            lent.execute("BEGIN")
        else:
            conn.execute("SELECT pg_terminate_backend(%s)", [lent.info.backend_pid])
            with pytest.raises(psycopg.OperationalError):
                lent.execute("SELECT 1")
    with Lent(pool) as next_one:
        row = next_one.execute("SELECT 1").fetchone()
        assert row is not None
        assert next_one.info.transaction_status == connections.IDLE


def test_closing_closes_those_at_hand_and_the_one_still_in_use(pool: Pool, conn: Connection) -> None:
    with Lent(pool):
        with Lent(pool):
            pass
        pool.close()
    wait_until(lambda: there_are(conn) == 0)
    with pytest.raises(PoolClosed):
        pool.getconn()


def test_a_pool_that_nobody_closes_is_gone_with_its_last_user(db: Database) -> None:
    pool = open_pool(options(db, 1))
    with Lent(pool):
        pass
    still_there = weakref.ref(pool)
    gc.disable()
    try:
        del pool
        assert still_there() is None
    finally:
        gc.enable()


def test_on_an_event_loop_it_is_alike(db: Database, conn: Connection) -> None:
    async def look() -> None:
        pool = await open_async_pool(options(db, 1))
        async with AsyncLent(pool) as first:
            waiting = asyncio.ensure_future(pool.getconn())
            while not pool.get_stats().get("requests_waiting"):
                await asyncio.sleep(0)
        second = await asyncio.wait_for(waiting, 60)
        assert second is first
        await pool.putconn(second)
        asked = pool.get_stats()["requests_num"]
        async with AsyncLent(pool) as again:
            assert again is first
        assert pool.get_stats()["requests_num"] == asked
        await pool.close()
        with pytest.raises(PoolClosed):
            await pool.getconn()

    asyncio.run(look())
    wait_until(lambda: there_are(conn) == 0)
