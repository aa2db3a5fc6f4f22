"""The pools that searches take their connections from."""

import functools
import threading
import time
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from embedmig.db.connection import register_vector_types, register_vector_types_async, translate

PUT_BACK_S = 60.0
"""How long connections may be kept at hand before the pool looks at them."""
IDLE = TransactionStatus.IDLE


class SearchConnection(psycopg.Connection[dict[str, Any]]):
    """With a cursor to search by, kept: making one costs as much as planning the search."""

    @functools.cached_property
    def searching(self) -> psycopg.Cursor[tuple[Any, ...]]:
        """Rows as tuples."""
        return self.cursor(row_factory=tuple_row)


class AsyncSearchConnection(psycopg.AsyncConnection[dict[str, Any]]):
    """The same for an event loop."""

    @functools.cached_property
    def searching(self) -> psycopg.AsyncCursor[tuple[Any, ...]]:
        """Rows as tuples."""
        return self.cursor(row_factory=tuple_row)


class Pool(ConnectionPool[SearchConnection]):
    """A pool that keeps at hand what was just used: its own accounts of a connection, on each way out and in, cost more
    than planning a search. Once a minute it gets all back, so that old ones are replaced and idle ones closed."""

    def __init__(self, **options: Any) -> None:
        self._at_hand: list[SearchConnection] = []
        self._asking = 0
        self._asking_lock = threading.Lock()
        self._due_s = time.monotonic() + PUT_BACK_S
        super().__init__(connection_class=SearchConnection, configure=register_vector_types, open=True, **options)

    def getconn(self, timeout: float | None = None) -> SearchConnection:
        """One at hand, else one of the pool's, which is waited for. Raises PoolTimeout, PoolClosed."""
        try:
            conn = self._at_hand.pop()
        except IndexError:
            return self._ask(timeout)
        conn._pool = self
        return conn

    def _ask(self, timeout: float | None) -> SearchConnection:
        with self._asking_lock:
            self._asking += 1
        try:
            # Who lays one down looks for who asks, and who asks looks once more: one of the two sees the other.
            with suppress(IndexError):
                conn = self._at_hand.pop()
                conn._pool = self
                return conn
            return super().getconn(timeout)
        finally:
            with self._asking_lock:
                self._asking -= 1

    def putconn(self, conn: SearchConnection) -> None:
        """Lays it down at hand, unless somebody waits for it or something is the matter with it."""
        if conn.pgconn.transaction_status != IDLE:
            super().putconn(conn)
            return
        # As the pool does with its own: a pool that nobody closes is then gone with its last user.
        conn._pool = None
        self._at_hand.append(conn)
        if self._asking or self.closed or time.monotonic() >= self._due_s:
            self._put_back()

    def close(self, timeout: float = 5.0) -> None:
        """Closes those at hand, too."""
        super().close(timeout)
        self._put_back()

    def _put_back(self) -> None:
        self._due_s = time.monotonic() + PUT_BACK_S
        with suppress(IndexError):
            while True:
                conn = self._at_hand.pop()
                conn._pool = self
                super().putconn(conn)


class AsyncPool(AsyncConnectionPool[AsyncSearchConnection]):
    """The same for an event loop, where nobody comes between."""

    def __init__(self, **options: Any) -> None:
        self._at_hand: list[AsyncSearchConnection] = []
        self._asking = 0
        self._due_s = time.monotonic() + PUT_BACK_S
        super().__init__(
            connection_class=AsyncSearchConnection, configure=register_vector_types_async, open=False, **options
        )

    async def getconn(self, timeout: float | None = None) -> AsyncSearchConnection:
        """As ``Pool.getconn``."""
        if self._at_hand:
            conn = self._at_hand.pop()
            conn._pool = self
            return conn
        self._asking += 1
        try:
            return await super().getconn(timeout)
        finally:
            self._asking -= 1

    async def putconn(self, conn: AsyncSearchConnection) -> None:
        """As ``Pool.putconn``."""
        if conn.pgconn.transaction_status != IDLE:
            await super().putconn(conn)
            return
        conn._pool = None
        self._at_hand.append(conn)
        if self._asking or self.closed or time.monotonic() >= self._due_s:
            await self._put_back()

    async def close(self, timeout: float = 5.0) -> None:
        """Closes those at hand, too."""
        await super().close(timeout)
        await self._put_back()

    async def _put_back(self) -> None:
        self._due_s = time.monotonic() + PUT_BACK_S
        while self._at_hand:
            conn = self._at_hand.pop()
            conn._pool = self
            await super().putconn(conn)


class Lent:
    """A connection for one statement, given back as it is: the pool's own block commits, and in autocommit there is
    nothing to commit. Raises ours for the driver's errors, those of the pool among them."""

    __slots__ = ("_conn", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __enter__(self) -> SearchConnection:
        try:
            self._conn = self._pool.getconn()
        except psycopg.Error as error:
            raise translate(error) from error
        return self._conn

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._pool.putconn(self._conn)
        if isinstance(error, psycopg.Error):
            raise translate(error) from error


class AsyncLent:
    """The same for an event loop."""

    __slots__ = ("_conn", "_pool")

    def __init__(self, pool: AsyncPool) -> None:
        self._pool = pool

    async def __aenter__(self) -> AsyncSearchConnection:
        try:
            self._conn = await self._pool.getconn()
        except psycopg.Error as error:
            raise translate(error) from error
        return self._conn

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        await self._pool.putconn(self._conn)
        if isinstance(error, psycopg.Error):
            raise translate(error) from error


def open_pool(options: dict[str, Any]) -> Pool:
    """``options``: as psycopg_pool takes them."""
    return Pool(**options)


async def open_async_pool(options: dict[str, Any]) -> AsyncPool:
    """The same for the running event loop."""
    pool = AsyncPool(**options)
    await pool.open()
    return pool
