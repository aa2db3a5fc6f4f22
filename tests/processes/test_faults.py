"""Nothing is lost: workers are killed, stopped, cut off, the server crashes, and users write all the while."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedmig.types import Placement
from tests.processes.faults import Server, run_trial

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="embedmig-faults-"))
    one = Server(folder)
    yield one
    one.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("placement", list(Placement))
@pytest.mark.parametrize(
    ("workers", "faults"),
    [
        (2, ["kill", "stop", "kill", "terminate", "crash", "kill"]),
        (4, ["kill", "kill", "terminate", "kill"]),
    ],
    ids=["every kind", "four workers"],
)
def test_every_row_ends_right_whatever_happens_to_workers_and_server(
    server: Server, placement: Placement, workers: int, faults: list[str]
) -> None:
    trial = run_trial(
        server, rows=3000, placement=placement, workers=workers, writers=3, faults=faults, pause_s=0.6, seed=7
    )
    assert trial.checked.clean, trial
    assert (trial.chunks_left, trial.entries_left) == (0, 0)
    assert trial.users_errors["deadlock with a worker"] == 0
    assert sum(trial.faults.values()) == len(faults)
    assert sum(trial.writes.values()) > 200
