"""Clients that keep prepared statements and cached plans, while contract takes the old column away under them."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict

from embedmig import commands
from embedmig.catalog import routes
from embedmig.db import Connection, Database
from embedmig.schema.expanding import undo_expand
from tests.alembic_environment import sqlalchemy_url
from tests.support import NEW, OLD, embed, expand_docs, make_docs, switch_docs, text_of

asyncpg = pytest.importorskip("asyncpg")

MODELS = {model.key: model for model in (OLD, NEW)}
TEXT = "\n\n".join(text_of(3))
QUERIES = {key: "[" + ",".join(map(str, embed(model, [TEXT])[0])) + "]" for key, model in MODELS.items()}

BY_ROUTE = "SELECT key[1] AS key, slot FROM embedmig.search_v1('docs', {}, {}, 3)"
NAMED = "SELECT title FROM docs WHERE id = {}"
STAR = "SELECT * FROM docs WHERE id = {}"

Run = Callable[..., list[Any]]
"""A statement with ``{}`` for each value, and the values; gives rows."""


@contextmanager
def by_psycopg(db: Database) -> Iterator[Run]:
    with psycopg.connect(db.url, autocommit=True, prepare_threshold=0) as conn:
        yield lambda statement, *values: conn.execute(statement.replace("{}", "%s"), values).fetchall()


@contextmanager
def by_sqlalchemy(db: Database, **options: Any) -> Iterator[Run]:
    arguments = {"prepare_threshold": 0}
    engine = sa.create_engine(sqlalchemy_url(db), connect_args=arguments, pool_size=1, max_overflow=0, **options)

    def run(statement: str, *values: Any) -> list[Any]:
        names = [f"v{place}" for place in range(len(values))]
        named = sa.text(statement.format(*(f":{name}" for name in names)))
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(named, dict(zip(names, values, strict=True)))]

    try:
        yield run
    finally:
        engine.dispose()


@contextmanager
def by_asyncpg(db: Database) -> Iterator[Run]:
    server = conninfo_to_dict(db.url)
    loop = asyncio.new_event_loop()
    conn = loop.run_until_complete(
        asyncpg.connect(
            host=server["host"], port=server.get("port", 5432), user=server["user"], database=server["dbname"]
        )
    )

    def run(statement: str, *values: Any) -> list[Any]:
        numbered = statement.format(*(f"${place}" for place in range(1, len(values) + 1)))
        return [tuple(row) for row in loop.run_until_complete(conn.fetch(numbered, *values))]

    try:
        yield run
    finally:
        loop.run_until_complete(conn.close())
        loop.close()


CLIENTS: dict[str, Callable[[Database], Any]] = {
    "psycopg": by_psycopg,
    "SQLAlchemy": by_sqlalchemy,
    "SQLAlchemy in autocommit": partial(by_sqlalchemy, isolation_level="AUTOCOMMIT"),
    "asyncpg": by_asyncpg,
}


def sqlstate_of(error: Exception) -> str | None:
    cause = getattr(error, "orig", error)
    state: str | None = getattr(cause, "sqlstate", None)
    return state


class Client:
    """Asks its statements round and round, as a service would: with the model that the last refusal named."""

    def __init__(self, db: Database, name: str, *statements: str) -> None:
        self.name, self.rounds = name, 0
        self.slots: list[str] = []
        self.errors: list[tuple[str, str | None, str]] = []
        self._db, self._statements = db, statements
        self._model = OLD.key
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Client":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for(self, rounds: int) -> None:
        goal, deadline = self.rounds + rounds, time.monotonic() + 30
        while self.rounds < goal:
            assert time.monotonic() < deadline, self.errors
            time.sleep(0.002)

    def _run(self) -> None:
        with CLIENTS[self.name](self._db) as run:
            while not self._stop.is_set():
                for statement in self._statements:
                    self._ask(run, statement)
                self.rounds += 1

    def _ask(self, run: Run, statement: str) -> None:
        try:
            if statement is BY_ROUTE:
                rows = run(statement, QUERIES[self._model], self._model)
                assert rows[0][0] == "3"
                self.slots.append(rows[0][1])
            else:
                assert run(statement, 3)
        except Exception as error:  # noqa: BLE001 whatever it is, the test judges it
            state = sqlstate_of(error)
            if state == "EM002":
                self._model = self._detail(error)["model"]
            else:
                self.errors.append((statement, state, str(error)))

    @staticmethod
    def _detail(error: Exception) -> dict[str, Any]:
        cause: Any = getattr(error, "orig", error)
        detail = cause.detail if hasattr(cause, "detail") else cause.diag.message_detail
        found: dict[str, Any] = json.loads(detail)
        return found


@pytest.fixture
def switched(db: Database, conn: Connection) -> None:
    """Served from the target for longer than the stability period; contract may run."""
    docs = make_docs(conn)
    conn.execute("CREATE INDEX own ON docs USING hnsw (embedding vector_cosine_ops)")
    expand_docs(db)
    switch_docs(conn, docs)
    commands.index(db, "docs")


@pytest.mark.parametrize("name", list(CLIENTS))
@pytest.mark.parametrize("rename", [False, True], ids=["drop", "drop and rename to the old name"])
def test_searches_by_route_and_statements_that_name_their_columns_survive_contract(
    db: Database, conn: Connection, switched: None, name: str, rename: bool
) -> None:
    with Client(db, name, BY_ROUTE, NAMED) as client:
        client.wait_for(10)
        commands.contract(db, "docs", rename_column=rename)
        client.wait_for(10)
    # Those that waited for the lock of a rename are told to ask again, and no other.
    allowed = {"40001"} if rename else set()
    assert {state for _, state, _ in client.errors} <= allowed, client.errors
    assert set(client.slots) == {"v2"}
    assert len(client.slots) >= 20 - len(client.errors)


@pytest.mark.parametrize("name", list(CLIENTS))
def test_they_survive_the_switch_and_the_way_back(db: Database, conn: Connection, switched: None, name: str) -> None:
    with Client(db, name, BY_ROUTE, NAMED) as client:
        for share_bp in (0, 10_000, 0):
            routes.set_share(conn, "docs", share_bp)
            client.wait_for(10)
    assert client.errors == []
    assert set(client.slots) == {"v1", "v2"}


@pytest.mark.parametrize("name", list(CLIENTS))
def test_a_prepared_star_breaks_where_the_driver_does_not_prepare_it_anew(
    db: Database, conn: Connection, switched: None, name: str
) -> None:
    with CLIENTS[name](db) as run:
        for _ in range(8):
            assert run(STAR, 3)
        commands.contract(db, "docs")
        if name in ("asyncpg", "SQLAlchemy"):
            # asyncpg prepares it anew, outside a transaction; SQLAlchemy's pool rolls back, and psycopg then forgets.
            assert run(STAR, 3)
        else:
            for _ in range(2):
                with pytest.raises((psycopg.Error, sa.exc.DBAPIError)) as caught:
                    run(STAR, 3)
                assert sqlstate_of(caught.value) == "0A000"
    with CLIENTS[name](db) as run:
        assert run(STAR, 3)


@pytest.mark.parametrize("name", list(CLIENTS))
def test_they_survive_expand_and_its_undo(db: Database, conn: Connection, name: str) -> None:
    docs = make_docs(conn)
    with Client(db, name, BY_ROUTE, NAMED) as client:
        client.wait_for(10)
        expand_docs(db)
        client.wait_for(10)
        assert client.errors == []
        undo_expand(conn, docs)
        client.wait_for(10)
    # The label beside the source's vectors goes: those that waited for its lock are told to ask again.
    assert {state for _, state, _ in client.errors} <= {"40001"}, client.errors
    assert set(client.slots) == {"v1"}
