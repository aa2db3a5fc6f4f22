"""The demo tells its whole story with the real models, and goes on where Ctrl-C stopped it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.distilling import lend

pytestmark = [pytest.mark.models, pytest.mark.processes]

EMBEDMIG = Path(sys.executable).with_name("embedmig")


def test_the_demo_goes_on_after_ctrl_c_in_the_backfill_and_passes_by_quality(
    tmp_path: Path, static_models: Path
) -> None:
    lend(static_models, tmp_path / ".embedmig")
    demo = subprocess.Popen(
        [EMBEDMIG, "demo"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_plain()
    )
    assert demo.stdout is not None
    said = ""
    for line in demo.stdout:
        said += line
        if "$ embedmig reembed docs" in line:
            break
    # Far enough in for vectors to be written, too early for all of them.
    time.sleep(5)
    demo.send_signal(signal.SIGINT)
    rest, _ = demo.communicate(timeout=120)
    assert demo.returncode == 130, said + rest
    assert "Traceback" not in said + rest

    again = subprocess.run([EMBEDMIG, "demo"], cwd=tmp_path, capture_output=True, text=True, env=_plain(), timeout=600)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1  An application with a table of documents: done before" in again.stdout
    assert "pass by quality" in again.stdout
    assert "v1 lacks 0 rows" in again.stdout

    told = subprocess.run([EMBEDMIG, "demo", "--json"], cwd=tmp_path, capture_output=True, text=True, env=_plain())
    figures = json.loads(told.stdout)
    assert figures["documents"] >= 3000
    assert figures["queries"] >= 60
    assert figures["overlap_at_10"] < 0.7
    assert figures["ndcg_at_10_new"] > figures["ndcg_at_10_old"]


def _plain() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("EMBEDMIG_")} | {"COLUMNS": "120"}
