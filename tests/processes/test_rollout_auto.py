"""A ladder that is climbed by a process: interrupted, killed, begun again."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from embedmig.catalog import routes
from embedmig.db import Connection, Database
from tests.rollout_support import make_ready

pytestmark = pytest.mark.processes


def _start(db: Database) -> subprocess.Popen[str]:
    command = ["rollout", "docs", "--auto", "--accept-unproven", "a test"]
    return subprocess.Popen(
        [sys.executable, "-c", "from embedmig.cli.main import main; main()", *command],
        env=os.environ | {"EMBEDMIG_DATABASE_URL": db.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for_share(conn: Connection, percent: float) -> None:
    deadline = time.monotonic() + 60
    while routes.get_route(conn, "docs").percent != percent:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_interrupted_or_killed_it_stays_where_it_is_and_the_next_goes_on_there(db: Database, conn: Connection) -> None:
    make_ready(db, conn)
    walking = _start(db)
    assert walking.stdout is not None
    _wait_for_share(conn, 5)
    assert "5 % of requests go to the new index" in walking.stdout.readline()
    walking.send_signal(signal.SIGINT)
    out, err = walking.communicate(timeout=30)
    assert walking.returncode == 130, err
    assert "interrupted at 5 %" in out
    assert "Traceback" not in err
    conn.execute("UPDATE embedmig.route SET raised_at = raised_at - %s", [timedelta(hours=48)])
    again = _start(db)
    _wait_for_share(conn, 25)
    again.kill()
    again.communicate(timeout=30)
    assert routes.get_route(conn, "docs").percent == 25
