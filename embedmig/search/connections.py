"""The pools that searches take their connections from."""

import functools
from typing import Any, TypeAlias

import psycopg
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from embedmig.db.connection import register_vector_types, register_vector_types_async


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


Pool: TypeAlias = ConnectionPool[SearchConnection]
AsyncPool: TypeAlias = AsyncConnectionPool[AsyncSearchConnection]


class Lent:
    """A connection for one statement, given back as it is. The pool's own block commits, and in autocommit, where there
    is nothing to commit, that costs as much as planning the search."""

    __slots__ = ("_conn", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __enter__(self) -> SearchConnection:
        self._conn = self._pool.getconn()
        return self._conn

    def __exit__(self, *_: object) -> None:
        self._pool.putconn(self._conn)


class AsyncLent:
    """The same for an event loop."""

    __slots__ = ("_conn", "_pool")

    def __init__(self, pool: AsyncPool) -> None:
        self._pool = pool

    async def __aenter__(self) -> AsyncSearchConnection:
        self._conn = await self._pool.getconn()
        return self._conn

    async def __aexit__(self, *_: object) -> None:
        await self._pool.putconn(self._conn)


def open_pool(options: dict[str, Any]) -> Pool:
    """``options``: as psycopg_pool takes them."""
    return ConnectionPool(connection_class=SearchConnection, configure=register_vector_types, open=True, **options)


async def open_async_pool(options: dict[str, Any]) -> AsyncPool:
    """The same for the running event loop."""
    pool = AsyncConnectionPool(
        connection_class=AsyncSearchConnection, configure=register_vector_types_async, open=False, **options
    )
    await pool.open()
    return pool
