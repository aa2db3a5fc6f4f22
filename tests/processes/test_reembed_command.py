"""The command itself, in processes of its own: interrupted, killed, begun again, run twice at once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from embedmig.catalog.collections import get_collection
from embedmig.catalog.slots import get_slot
from embedmig.db import Connection, Database
from embedmig.types import Model, Placement
from tests.backfill_support import check_every_row
from tests.support import expand_docs, make_docs

pytestmark = pytest.mark.processes

SLOW = Model(name="slow", revision="1", provider="hashing", dimensions=24, options={"dimensions": 24, "delay_s": 0.05})


def start(db: Database, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from embedmig.cli.main import main; main()", "reembed", "docs", *arguments],
        env=os.environ | {"EMBEDMIG_DATABASE_URL": db.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def written(conn: Connection) -> int:
    row = conn.execute("SELECT count(*) AS n FROM embedmig.docs_v2").fetchone()
    assert row is not None
    return int(row["n"])


def wait_until(holds: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def only_document(output: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(output)
    return result


@pytest.fixture
def slow_docs(db: Database, conn: Connection) -> Connection:
    make_docs(conn, 1500, new=SLOW)
    expand_docs(db, Placement.COMPANION, model=SLOW)
    return conn


def require_clean(conn: Connection) -> None:
    docs = get_collection(conn, "docs")
    assert check_every_row(conn, docs, get_slot(conn, docs, "v2")).clean


def test_ctrl_c_keeps_what_is_finished_and_the_next_run_goes_on(db: Database, slow_docs: Connection) -> None:
    first = start(db, "--batch-size", "20", "--json")
    wait_until(lambda: written(slow_docs) > 50)
    first.send_signal(signal.SIGINT)
    output, _ = first.communicate(timeout=30)
    assert first.returncode == 130
    done = written(slow_docs)
    assert only_document(output)["outcome"] == "interrupted"
    assert only_document(output)["rows"] == done < 1500
    second = start(db, "--batch-size", "500", "--json")
    output, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors
    assert only_document(output)["rows"] == 1500 - done
    require_clean(slow_docs)


def test_kill_9_loses_nothing_that_was_finished(db: Database, slow_docs: Connection) -> None:
    for _ in range(3):
        before = written(slow_docs)
        process = start(db, "--batch-size", "20")
        wait_until(lambda before=before: written(slow_docs) > before + 40)  # type: ignore[misc]
        process.kill()
        process.communicate()
        assert written(slow_docs) > before
        slow_docs.execute("UPDATE embedmig.chunk SET lease_until = '-infinity' WHERE done_at IS NULL")
    last = start(db, "--json")
    output, errors = last.communicate(timeout=60)
    assert last.returncode == 0, errors
    assert only_document(output)["outcome"] == "done"
    require_clean(slow_docs)


def test_workers_end_when_the_command_that_started_them_is_killed(db: Database, slow_docs: Connection) -> None:
    process = start(db, "--workers", "2", "--batch-size", "20")
    wait_until(lambda: written(slow_docs) > 20)
    process.kill()
    process.communicate()
    workers = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'embedmig %:%'"
    wait_until(lambda: not slow_docs.execute(workers).fetchall())


def test_two_commands_at_once_and_their_workers_share_one_job(db: Database, slow_docs: Connection) -> None:
    both = [start(db, "--workers", "2", "--batch-size", "20", "--json") for _ in range(2)]
    outputs = [process.communicate(timeout=90) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    require_clean(slow_docs)
    jobs = slow_docs.execute("SELECT state, rows_written FROM embedmig.backfill").fetchall()
    assert [job["state"] for job in jobs] == ["done"]
    assert 1500 <= jobs[0]["rows_written"] < 1600


def test_what_a_worker_process_fails_with_is_what_the_command_says(db: Database, conn: Connection) -> None:
    broken = Model(name="none", revision="1", provider="sentence-transformers", dimensions=24, options={"path": "/no"})
    make_docs(conn, 50, new=broken)
    expand_docs(db, model=broken)
    process = start(db, "--workers", "2")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "/no" in errors
