"""The catalog's promises, on Postgres."""

import importlib
import pkgutil
from collections.abc import Callable

import psycopg
import pytest

import embedmig.catalog
from embedmig.catalog import models, routes
from embedmig.cli.main import run
from embedmig.db import Connection, Database, Queries
from embedmig.errors import ConflictError, NotFoundError
from embedmig.types import Model
from tests.support import make_docs


def _catalog_queries() -> list[tuple[str, Queries]]:
    found = []
    for module in pkgutil.iter_modules(embedmig.catalog.__path__):
        loaded = importlib.import_module(f"embedmig.catalog.{module.name}")
        if hasattr(loaded, "QUERIES"):
            found.append((module.name, loaded.QUERIES))
    return found


@pytest.mark.parametrize(("module", "queries"), _catalog_queries())
def test_every_named_query_prepares_and_is_used(module: str, queries: Queries, conn: Connection) -> None:
    import inspect

    source = inspect.getsource(importlib.import_module(f"embedmig.catalog.{module}"))
    for name in queries:
        assert f'QUERIES["{name}"]' in source, f"{module}.sql: {name} is not used"
        psycopg_query = psycopg._queries.PostgresQuery(psycopg.adapt.Transformer(conn))
        text = queries[name].as_string(conn)
        names = {part.split(")")[0] for part in text.split("%(")[1:]}
        psycopg_query.convert(text, dict.fromkeys(names))
        result = conn.pgconn.prepare(f"{module}_{name}".encode(), psycopg_query.query)
        assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, result.error_message.decode()


def test_the_same_model_registers_once_and_another_definition_is_refused(conn: Connection) -> None:
    model = Model(name="tiny", revision="1", provider="hashing", dimensions=8)
    assert models.add_model(conn, model, b"f") is True
    assert models.add_model(conn, model, b"f") is False
    with pytest.raises(ConflictError, match="tiny@1"):
        models.add_model(conn, Model(name="tiny", revision="1", provider="hashing", dimensions=9), None)
    assert models.get_model(conn, "tiny@1") == model
    with pytest.raises(NotFoundError, match=r"no model huge@1; there are: tiny@1"):
        models.get_model(conn, "huge@1")


def test_every_change_of_share_is_a_new_epoch(conn: Connection) -> None:
    routes.ensure_route(conn, "docs")
    first = routes.get_route(conn, "docs")
    full = routes.set_share(conn, "docs", 10_000)
    assert full.epoch == first.epoch + 1
    assert routes.full_since(conn, "docs") is not None
    assert routes.set_share(conn, "docs", 0).epoch == full.epoch + 1
    assert routes.full_since(conn, "docs") is None


def test_the_event_log_refuses_change(conn: Connection) -> None:
    from embedmig.catalog.events import list_events, log_event

    log_event(conn, "expand", "docs", became="v2")
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        conn.execute("UPDATE embedmig.event SET verb = 'nothing'")
    assert [event.verb for event in list_events(conn, "docs")] == ["expand"]


def test_no_event_is_said_and_a_name_that_nobody_knows_is_refused(
    verb: Callable[..., tuple[int, str]], conn: Connection
) -> None:
    make_docs(conn, 1)
    assert verb("events", "docs") == (0, "no event of docs")
    code, said = verb("events", "dogs")
    assert (code, "no collection dogs; there are: docs" in said) == (2, True)


def test_an_event_is_a_line_and_its_reason_another(
    conn: Connection, db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    from embedmig.catalog.events import log_event

    log_event(conn, "index", "docs", was="old_idx", became="new_idx", why="a sentence " * 9)
    log_event(conn, "forget", was="v1")
    assert run(["events", "--database-url", db.url]) == 0
    forgotten, changed, why = capsys.readouterr().out.splitlines()
    assert forgotten.endswith("forget  v1 -> nothing")
    assert changed.endswith("docs  index   old_idx -> new_idx")
    assert why.strip() == ("a sentence " * 9).strip()
