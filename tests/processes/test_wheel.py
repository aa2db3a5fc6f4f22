"""What is installed is whole: the wheel carries the revisions and the demo, and runs outside the checkout."""

import signal
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

import pytest

from tests.distilling import lend

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a clean virtual environment with the wheel in it; what the wheel depends on is borrowed."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    venv.create(folder / "venv", with_pip=False)
    (wheel,) = folder.glob("*.whl")
    python = folder / "venv" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # A path in a .pth file brings the packages and not the .pth files there, so not the checkout that is linked there.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.fixture
def elsewhere(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder outside the checkout, whose embedmig is the installed one."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    code = "import embedmig; print(embedmig.__file__)"
    said = subprocess.run([installed / "venv/bin/python", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert str(installed) in said.stdout, said.stdout + said.stderr
    return tmp_path


def test_init_installs_the_control_schema_from_the_wheel(installed: Path, elsewhere: Path) -> None:
    done = subprocess.run([installed / "venv/bin/embedmig", "init"], cwd=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = subprocess.run([installed / "venv/bin/embedmig", "status"], cwd=elsewhere, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "No collection is registered" in shown.stdout


@pytest.mark.models
def test_the_demo_starts_from_the_wheel_and_ends_cleanly_on_ctrl_c(
    installed: Path, elsewhere: Path, static_models: Path
) -> None:
    lend(static_models, elsewhere / ".embedmig")
    demo = subprocess.Popen(
        [installed / "venv/bin/embedmig", "demo"],
        cwd=elsewhere,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert demo.stdout is not None
    said = ""
    deadline = time.monotonic() + 600
    for line in demo.stdout:
        said += line
        if "collection docs: public.documents" in line:
            break
        if time.monotonic() > deadline:
            # Not left running: the next tests would be blamed for it.
            demo.kill()
            demo.communicate()
            raise AssertionError(said)
    demo.send_signal(signal.SIGINT)
    rest, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, said + rest
    assert "Traceback" not in said + rest
    assert "documents, embedded by static-minilm@1" in said
