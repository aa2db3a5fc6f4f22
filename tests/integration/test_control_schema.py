"""The control schema's revisions: printed or run, up, down and up, they end at the same functions and tables."""

import io
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from embedmig.catalog.collections import get_collection
from embedmig.catalog.install import alembic_ini, install
from embedmig.cli.main import run
from embedmig.db import Connection, Database
from embedmig.rollout.adapting import use
from embedmig.types import Placement
from tests.adapter_support import keep_adapter
from tests.support import expand_docs, make_docs

SHAPE = (
    "SELECT proname AS name, prosrc AS body, proacl::text AS acl FROM pg_proc WHERE pronamespace = {}",
    "SELECT c.relname AS name, a.attname AS body, format_type(a.atttypid, a.atttypmod) AS acl FROM pg_class c"
    " JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relnamespace = {} AND a.attnum > 0",
)


def shape(conn: Connection) -> list[Any]:
    """Functions with their bodies and grants, and the columns of tables, in schema embedmig."""
    return [
        sorted(conn.execute(query.format("to_regnamespace('embedmig')")).fetchall(), key=repr)  # type: ignore[arg-type]
        for query in SHAPE
    ]


def move(db: Database, to: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(db.url), poolclass=NullPool)
    config = Config(str(alembic_ini()))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if to == "base" else command.upgrade)(config, to)


def test_up_down_up_ends_where_up_ended_and_down_leaves_nothing_but_the_version_table(
    db: Database, conn: Connection
) -> None:
    before = shape(conn)
    move(db, "base")
    functions, columns = shape(conn)
    assert functions == []
    assert {row["name"] for row in columns} <= {"alembic_version", "alembic_version_pkc"}
    move(db, "head")
    assert shape(conn) == before


def test_init_upgrades_an_older_one_and_says_so(bare_db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    with bare_db.connect() as conn:
        conn.execute("CREATE EXTENSION vector")
    move(bare_db, "0001")
    assert run(["init", "--database-url", bare_db.url]) == 0
    assert "upgraded from revision 0001" in " ".join(capsys.readouterr().out.split())
    assert run(["init", "--database-url", bare_db.url]) == 0
    assert "is there and up to date" in " ".join(capsys.readouterr().out.split())


def test_the_printed_sql_makes_the_same_schema(bare_db: Database, conn: Connection) -> None:
    printed = io.StringIO()
    command.upgrade(Config(str(alembic_ini()), output_buffer=printed), "head", sql=True)
    with bare_db.connect() as other:
        other.execute("CREATE EXTENSION IF NOT EXISTS vector")
        other.execute(printed.getvalue())  # type: ignore[arg-type]
        assert shape(other) == shape(conn)
    install(bare_db)


@pytest.mark.parametrize("placement", list(Placement))
def test_down_is_refused_while_a_slot_of_ours_is_there(db: Database, conn: Connection, placement: Placement) -> None:
    make_docs(conn, 2)
    expand_docs(db, placement)
    before = shape(conn)
    with pytest.raises(Exception, match="embedmig detach"):
        move(db, "base")
    assert shape(conn) == before


def test_down_is_refused_while_an_adapter_stands_before_a_slot(db: Database, conn: Connection) -> None:
    make_docs(conn)
    use(conn, get_collection(conn, "docs"), keep_adapter(conn).name)
    before = shape(conn)
    with pytest.raises(sa.exc.DBAPIError, match=r"adapters are in use: docs a1\. Drop them first"):
        move(db, "base")
    assert shape(conn) == before
