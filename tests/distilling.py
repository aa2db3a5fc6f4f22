"""The demo's old model, distilled for real once in a test run, for every worker of it."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from pathlib import Path
from embedmig.demo.models import ensure_static_model
print(ensure_static_model(Path(sys.argv[1])))
"""


def distil_once(shared: Path) -> Path:
    """A folder under ``shared`` that holds the model, and nothing else. Who comes first has two processes make it at
    the same time; the others wait for it."""
    from embedmig.demo.models import ensure_static_model

    folder, made = shared / "models", shared / "models.made"
    with (shared / "models.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            for process in [start_distilling(folder), start_distilling(folder)]:
                out, err = process.communicate(timeout=600)
                assert (process.returncode, err) == (0, "")
                assert out.splitlines() == [str(ensure_static_model(folder))]
            made.touch()
    return folder


def lend(folder: Path, data_dir: Path) -> None:
    """Gives a data folder of embedmig the model that is there, so that a demo need not make its own."""
    data_dir.mkdir()
    (data_dir / "models").symlink_to(folder, target_is_directory=True)


def start_distilling(folder: Path) -> subprocess.Popen[str]:
    """A process that asks for the model in ``folder``; every warning an error, one thread."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CODE, str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
