"""Both searchers behind one face, and a migration whose target is filled by plain SQL."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg import sql

from embedmig.catalog import routes, slots
from embedmig.catalog.serving import read_serving
from embedmig.db import Connection, Database, identifiers
from embedmig.search.aio import AsyncSearcher
from embedmig.search.searcher import Searcher
from embedmig.types import Placement, Slot
from tests.support import embed, expand_docs, make_docs

Connect = Callable[..., Any]


class Waiting:
    """An AsyncSearcher that a thread can wait for: every method runs on an event loop beside it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, searcher: AsyncSearcher) -> None:
        self._loop, self._searcher = loop, searcher

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._searcher, name)
        if not asyncio.iscoroutinefunction(method):
            return method
        return lambda *args, **kwargs: wait_for(self._loop, method(*args, **kwargs))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return wait_for(self._loop, self._searcher(*args, **kwargs))


def wait_for(loop: asyncio.AbstractEventLoop, coroutine: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(timeout=60)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest, db: Database, loop: asyncio.AbstractEventLoop) -> Iterator[Connect]:
    """``connect("docs", ...)`` gives a searcher of either kind; all are closed at the end."""
    opened: list[Any] = []

    def open_one(collection: str = "docs", **options: Any) -> Any:
        options.setdefault("database_url", db.url)
        if request.param == "sync":
            opened.append(Searcher.connect(collection, **options))
        else:
            opened.append(Waiting(loop, wait_for(loop, AsyncSearcher.connect(collection, **options))))
        return opened[-1]

    yield open_one
    for searcher in opened:
        searcher.close()


def fill(conn: Connection, slot: Slot, collection: str = "docs", *, index: bool = True) -> Slot:
    """Gives every row of the collection its vector in ``slot``, an index over them, and says so in the catalog."""
    found = read_serving(conn, collection).collection
    rows = conn.execute(
        sql.SQL("SELECT {} AS key, {} AS text, {} AS hash FROM {} AS d").format(
            identifiers.key_array(found, "d"),
            identifiers.text(found, "d"),
            identifiers.text_hash(found, "d"),
            identifiers.table(found),
        )
    ).fetchall()
    vectors = embed(slot.model, [row["text"] for row in rows])
    with conn.transaction():
        conn.execute("SELECT set_config('embedmig.writer', 'on', true)")
        for row, vector in zip(rows, vectors, strict=True):
            _write(conn, found, slot, row, vector)
    name = f"{collection}_{slot.name}_hnsw" if index else None
    if name is not None:
        conn.execute(
            sql.SQL("CREATE INDEX {} ON {} USING hnsw ({} {}_cosine_ops)").format(
                sql.Identifier(name),
                identifiers.slot_table(slot),
                sql.Identifier(slot.vector_column),
                sql.SQL(slot.vector_type),
            )
        )
    filled = slots.get_slot(conn, found, slot.name)
    filled = replace(filled, index_name=name, filled_at=datetime.now(UTC))
    slots.update_slot(conn, filled)
    return filled


def _write(conn: Connection, collection: Any, slot: Slot, row: dict[str, Any], vector: Any) -> None:
    columns = [slot.vector_column, slot.model_column, slot.hash_column]
    values = [vector, slot.model.id, row["hash"]]
    if slot.placement is Placement.COLUMN:
        statement = sql.SQL("UPDATE {} AS d SET {} WHERE {} = %s").format(
            identifiers.table(collection),
            sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(c)) for c in columns if c),
            identifiers.key_array(collection, "d"),
        )
        conn.execute(statement, [*values, row["key"]])
        return
    key = identifiers.key_from_array(collection, sql.SQL("%s::text[]"))
    statement = sql.SQL("INSERT INTO {} ({}, {}) SELECT {}, %s, %s, %s").format(
        identifiers.slot_table(slot), identifiers.keys(collection), identifiers.names([c for c in columns if c]), key
    )
    conn.execute(statement, [*[row["key"]] * len(collection.key), *values])


def set_share(conn: Connection, percent: int, group: str = "docs") -> int:
    """The new epoch."""
    with conn.transaction():
        return routes.set_share(conn, group, percent * 100).epoch


@pytest.fixture(params=[Placement.COLUMN, Placement.COMPANION])
def target(request: pytest.FixtureRequest, db: Database, conn: Connection) -> Slot:
    """``docs``, 20 rows, with an open migration whose target v2 is filled and indexed; share 0."""
    make_docs(conn)
    return fill(conn, expand_docs(db, Placement(request.param)).target)
