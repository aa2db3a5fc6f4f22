"""What docs/serving.md shows runs as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from embedmig.db import Connection, Database
from embedmig.types import Model, Placement
from tests.alembic_environment import sqlalchemy_url
from tests.integration.search.conftest import fill, set_share
from tests.support import embed, expand_docs, make_docs

PAGE = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
MINILM = Model(name="minilm", revision="1", provider="hashing", dimensions=384, options={"dimensions": 384})


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.M | re.S)


@pytest.fixture(autouse=True)
def _served(db: Database, conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    make_docs(conn, new=MINILM)
    conn.execute("UPDATE docs SET title = 'All of json' WHERE id = 3")
    fill(conn, expand_docs(db, Placement.COLUMN, model=MINILM).target)
    set_share(conn, 100)
    monkeypatch.setenv("EMBEDMIG_DATABASE_URL", db.url)


@pytest.mark.parametrize("statement", blocks("sql"))
def test_each_statement_gives_rows(conn: Connection, statement: str) -> None:
    written = statement.replace("%", "%%").replace("$1", "%(query)s")
    assert conn.execute(written, {"query": embed(MINILM, ["json"])[0]}).fetchall()


def test_the_python_runs_in_order(db: Database) -> None:
    names: dict[str, Any] = {}
    engine = sa.create_engine(sqlalchemy_url(db), poolclass=NullPool)
    results = []
    for block in blocks("python"):
        exec(block, names)
        if "nearest" in names:
            with engine.connect() as connection:
                results.append(connection.execute(names["nearest"]).all())
    assert [set(hit.columns) for hit in names["hits"]] == [{"title"}] * 10
    assert names["key"].model == "minilm@1"
    assert len(results) == 3
    assert results[0] == results[1]
    assert len(results[0]) == 10


def test_every_state_that_the_functions_raise_is_told_of() -> None:
    revision = (Path(__file__).parents[3] / "alembic" / "versions" / "0006_search_from_sql.py").read_text()
    raised = set(re.findall(r"ERRCODE = '(EM\d+)'", revision))
    assert raised == {"EM001", "EM002", "EM003", "EM004", "EM005"}
    assert all(f"`{state}`" in PAGE for state in raised)
