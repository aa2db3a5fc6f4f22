"""A server or an extension that is too old is one sentence, and nothing is made in it."""

from collections.abc import Callable

import psycopg
import pytest

from embedmig.cli.main import run
from embedmig.db import Database

Say = Callable[..., tuple[int, str]]


@pytest.fixture
def say(bare_db: Database, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs ``embedmig ...`` on a database without the control schema; gives the exit code and what was printed."""

    def call(*arguments: str) -> tuple[int, str]:
        code = run([*arguments, "--database-url", bare_db.url])
        captured = capsys.readouterr()
        return code, " ".join((captured.out + captured.err).split())

    return call


def _schemas(db: Database) -> set[str]:
    with psycopg.connect(db.url) as conn:
        return {row[0] for row in conn.execute("SELECT nspname FROM pg_namespace")}


def test_a_pgvector_older_than_0_8_is_refused(bare_db: Database, say: Say) -> None:
    with psycopg.connect(bare_db.url, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION vector")
        # As it stands after the server's packages were upgraded and the database was not.
        conn.execute("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    before = _schemas(bare_db)
    code, said = say("init")
    assert code == 2
    assert "pgvector here is 0.7.4" in said
    assert "ALTER EXTENSION vector UPDATE" in said
    assert _schemas(bare_db) == before
    assert say("doctor")[0] == 1


def test_a_server_older_than_the_oldest_supported_is_refused(
    bare_db: Database, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No server that old can be had beside this one, so the bound is moved past it: what is refused, and how, is real.
    monkeypatch.setattr("embedmig.db.connection.MIN_SERVER", 990000)
    with psycopg.connect(bare_db.url, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION vector")
    before = _schemas(bare_db)
    code, said = say("init")
    assert code == 2
    assert "this server is PostgreSQL" in said
    assert "needs 15 or later" in said
    assert _schemas(bare_db) == before
