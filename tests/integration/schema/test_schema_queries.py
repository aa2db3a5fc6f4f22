"""Every named query of the schema folder is used, and prepares on the migrated schema."""

import importlib
import inspect
import pkgutil

import psycopg
import pytest

import embedmig.schema
from embedmig.db import Connection, Queries

_NEEDS_MORE = {
    "find_statements": "pg_stat_statements, which the tests' server does not carry",
    "columns_read": "the temporary index of a filter",
    "print_condition": "the temporary index of a filter",
}


def _modules() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(embedmig.schema.__path__) if not module.ispkg]


def _files() -> list[Queries]:
    loaded = [importlib.import_module(f"embedmig.schema.{name}") for name in _modules()]
    by_file = {m.QUERIES.filename: m.QUERIES for m in loaded if hasattr(m, "QUERIES")}
    return [by_file[name] for name in sorted(by_file)]


@pytest.mark.parametrize("queries", _files(), ids=lambda queries: queries.filename.rpartition("/")[2])
def test_every_named_query_is_used_and_prepares(queries: Queries, conn: Connection) -> None:
    source = "".join(inspect.getsource(importlib.import_module(f"embedmig.schema.{name}")) for name in _modules())
    for name in queries:
        assert f'"{name}"]' in source, f"{queries.filename}: {name} is not used"
        text = queries[name].as_string(conn)
        # A query with a place for the user's names is prepared by the tests of what fills it.
        if name in _NEEDS_MORE or "{" in text:
            continue
        converted = psycopg._queries.PostgresQuery(psycopg.adapt.Transformer(conn))
        converted.convert(text, dict.fromkeys(part.split(")")[0] for part in text.split("%(")[1:]))
        result = conn.pgconn.prepare(f"q_{name}".encode(), converted.query)
        assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, (name, result.error_message.decode())
