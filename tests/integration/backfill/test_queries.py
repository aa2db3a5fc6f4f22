"""The SQL files: nothing in them is dead, and what has no names of the user's prepares as it stands."""

import importlib
import pkgutil
from pathlib import Path

import psycopg
import pytest

import embedmig.backfill
from embedmig.db import Connection, Queries

FOLDER = Path(embedmig.backfill.__path__[0])
SOURCES = "\n".join(path.read_text() for path in FOLDER.glob("*.py"))


def all_queries() -> list[tuple[str, Queries]]:
    found = {}
    for module in pkgutil.iter_modules(embedmig.backfill.__path__):
        loaded = importlib.import_module(f"embedmig.backfill.{module.name}")
        if isinstance(queries := getattr(loaded, "QUERIES", None), Queries):
            found[queries.filename] = queries
    return sorted(found.items())


@pytest.mark.parametrize(("filename", "queries"), all_queries())
def test_every_named_query_is_used_and_prepares(filename: str, queries: Queries, conn: Connection) -> None:
    assert list(queries)
    for name in queries:
        assert f'"{name}"' in SOURCES, f"{filename}: {name} is not used"
        text = queries[name].as_string(conn)
        if "{" not in text:
            names = {part.split(")")[0] for part in text.split("%(")[1:]}
            converted = psycopg._queries.PostgresQuery(psycopg.adapt.Transformer(conn))
            converted.convert(text, dict.fromkeys(names))
            result = conn.pgconn.prepare(f"{filename}_{name}".encode(), converted.query)
            assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, result.error_message.decode()


def test_every_sql_file_lies_beside_a_module_that_loads_it() -> None:
    loaded = {filename.split("/")[-1] for filename, _ in all_queries()}
    assert {path.name for path in FOLDER.glob("*.sql")} == loaded
