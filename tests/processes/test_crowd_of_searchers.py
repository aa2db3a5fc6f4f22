"""A switch is exact in every process: the share goes up and down under load, and no answer comes from what was left."""

import os
import pwd
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from embedmig.catalog import routes, slots
from embedmig.db import Connection, Database
from embedmig.types import Placement
from tests.processes.crowd import SEEN, Answer, Crowd
from tests.support import expand_docs, fill_slot, make_docs

pytestmark = pytest.mark.processes

SECONDS = 5.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Open to other users of the machine: a pooler may not run as root."""
    path = Path(tempfile.mkdtemp(prefix="embedmig-crowd-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(params=list(Placement))
def migrating(request: pytest.FixtureRequest, db: Database, conn: Connection) -> None:
    """``docs`` with a filled target; every statement that reads it can tell what its snapshot shows of the route."""
    docs = make_docs(conn, 50)
    target = expand_docs(db, request.param).target
    fill_slot(conn, docs, target)
    slots.mark_filled(conn, target)
    conn.execute(SEEN)


def flip(conn: Connection, seconds: float) -> list[tuple[float, float, str]]:
    """Moves the share between 0 and 100; gives from when to when nothing but that slot may have answered."""
    chance = random.Random(1)
    periods = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        slot = ("v2", "v1")[len(periods) % 2]
        with conn.transaction():
            routes.set_share(conn, "docs", 10_000 if slot == "v2" else 0)
        committed = time.monotonic()
        time.sleep(chance.uniform(0.02, 0.3))
        periods.append((committed, time.monotonic(), slot))
    return periods


def judge(crowd: Crowd, periods: list[tuple[float, float, str]], processes: int) -> None:
    """Every answer, by the route that its own snapshot shows; and by the clock, as who asks sees it."""
    assert crowd.errors == []
    assert len(periods) > 10
    left = [answer for answer in crowd.answers if not _is_of_its_snapshot(answer)]
    assert left == []
    timed = [
        (slot, answer)
        for committed, ended, slot in periods
        for answer in crowd.answers
        if committed <= answer.asked and answer.came <= ended
    ]
    assert [pair for pair in timed if set(pair[1].slots) != {pair[0]}] == []
    assert len(timed) > 2 * len(periods)
    assert {answer.process for answer in crowd.answers} == set(range(processes))
    assert {answer.way for answer in crowd.answers} == {"text", "vector", "sql"}
    assert {slot for answer in crowd.answers for slot in answer.slots} == {"v1", "v2"}
    # Those who bring vectors were refused after a switch, again and again, and never answered with another model's.
    assert crowd.mismatches > 10


def _is_of_its_snapshot(answer: Answer) -> bool:
    expected = {"0": "v1", "10000": "v2"}
    pairs = zip(answer.slots, answer.seen, strict=True)
    return len(answer.slots) == 3 and all(slot == expected[seen.split()[0]] for slot, seen in pairs)


def test_twenty_processes_never_hear_from_the_slot_that_was_left(
    db: Database, conn: Connection, folder: Path, migrating: None
) -> None:
    with Crowd(db.url, folder, 20) as crowd:
        periods = flip(conn, SECONDS)
    judge(crowd, periods, 20)


@pytest.fixture
def pooled_url(db: Database, folder: Path) -> Iterator[str]:
    """The same database behind pgbouncer in transaction mode, with fewer connections than there are clients."""
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if program is None:
        pytest.skip("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
    server = conninfo_to_dict(db.url)
    name, user = server["dbname"], server.get("user", "postgres")
    port = server.get("port", 5432)
    (folder / "users.txt").write_text(f'"{user}" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n{name} = host={server['host']} port={port} dbname={name} user={user}\n"
        f"[pgbouncer]\nlisten_addr =\nlisten_port = 6543\nunix_socket_dir = {folder}\nauth_type = trust\n"
        f"auth_file = {folder}/users.txt\npool_mode = transaction\ndefault_pool_size = 4\nmax_client_conn = 200\n"
        f"logfile = {folder}/log\n"
    )
    command = [program, str(folder / "pgbouncer.ini")]
    if os.getuid() == 0:
        folder.chmod(0o777)
        command[1:1] = ["-u", _unprivileged_user()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = make_conninfo(host=str(folder), port=6543, dbname=str(name), user=str(user))
    try:
        _wait_for(url, folder, process)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _unprivileged_user() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("pgserver", "postgres", "nobody") if name in known)


def _wait_for(url: str, folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            psycopg.connect(url, autocommit=True, prepare_threshold=None).close()
        except psycopg.OperationalError:
            log = folder / "log"
            assert process.poll() is None, log.read_text() if log.exists() else "pgbouncer ended"
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return


@pytest.mark.parametrize("migrating", [Placement.COMPANION], indirect=True)
def test_behind_a_transaction_pooler_neither(
    db: Database, conn: Connection, folder: Path, migrating: None, pooled_url: str
) -> None:
    with Crowd(pooled_url, folder, 12, prepared=False) as crowd:
        periods = flip(conn, SECONDS)
    judge(crowd, periods, 12)
    row = conn.execute(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ).fetchone()
    assert row is not None
    assert row["n"] <= 4
