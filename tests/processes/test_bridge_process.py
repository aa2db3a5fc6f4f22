"""A bridge in a process of its own, killed on the way and begun again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from embedmig.backfill.census import count_rows
from embedmig.catalog.slots import get_slot
from embedmig.commands import bridge
from embedmig.db import Connection, Database
from embedmig.types import Placement
from tests.bridge_support import fit_bridge, keep_bridge, vectors_of
from tests.support import OLD, embed, expand_docs, make_docs, text_of

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
SLOWLY = """
import sys, time
from embedmig.backfill.bridging import bridge_rows
from embedmig.catalog.collections import get_collection
from embedmig.catalog.slots import get_slot
from embedmig.db import Database
from tests.bridge_support import fit_bridge

adapter, db = fit_bridge().adapter, Database(sys.argv[1])

def mapped(vectors, texts):
    time.sleep(0.05)
    return adapter.transform(vectors)

with db.connect() as conn:
    docs = get_collection(conn, "docs")
    ends = [get_slot(conn, docs, name) for name in ("v1", "v2")]
bridge_rows(db, docs, *ends, mapped, range_rows=10)
"""


@pytest.mark.parametrize("placement", list(Placement))
def test_a_killed_bridge_leaves_whole_ranges_and_the_next_one_does_the_rest(
    db: Database, conn: Connection, placement: Placement
) -> None:
    docs = make_docs(conn, 1000)
    expand_docs(db, placement)
    keep_bridge(conn, docs)
    target = get_slot(conn, docs, "v2")
    first = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, db.url], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    deadline = time.monotonic() + 60
    while count_rows(conn, docs, target).bridged < 50:
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait(30)
    wait_until_its_sessions_ended(conn)
    done = count_rows(conn, docs, target).bridged
    assert done % 10 == 0
    result = bridge(db, "docs")
    assert result.rows_written == 1000 - done
    census = count_rows(conn, docs, target)
    assert (census.bridged, census.wrong, census.queued) == (1000, 0, 0)
    numbers = list(range(1, 1001))
    wanted = fit_bridge().adapter.transform(embed(OLD, ["\n\n".join(text_of(n)) for n in numbers]))  # type: ignore[call-arg]
    found = vectors_of(conn, docs, target)
    assert all(np.allclose(found[str(n),][1], vector, atol=1e-5) for n, vector in zip(numbers, wanted, strict=True))


def wait_until_its_sessions_ended(conn: Connection) -> None:
    """The server notices a killed client when it next talks to it."""
    deadline = time.monotonic() + 60
    others = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    while (row := conn.execute(others).fetchone()) is not None and row["n"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
