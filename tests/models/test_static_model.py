"""The demo's old model, distilled here for real: made once, whole or not at all."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from embedmig.demo.models import ensure_static_model, minilm_path

pytestmark = pytest.mark.models

CODE = """
import sys
from pathlib import Path
from embedmig.demo.models import ensure_static_model
print(ensure_static_model(Path(sys.argv[1])))
"""


def start(folder: Path) -> subprocess.Popen[str]:
    """A process that asks for the model in ``folder``; every warning an error, one thread."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CODE, str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two processes made the model at the same time."""
    folder = tmp_path_factory.mktemp("models")
    for process in [start(folder), start(folder)]:
        out, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (0, "")
        assert out.splitlines() == [str(ensure_static_model(folder))]
    return folder


def test_processes_that_make_it_at_once_leave_one_whole_model_and_nothing_else(folder: Path) -> None:
    model = ensure_static_model(folder)
    assert list(folder.iterdir()) == [model]
    assert {"modules.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in model.iterdir()}


def test_it_loads_as_a_sentence_transformer_of_256_dimensions_that_means_something(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(ensure_static_model(folder)), device="cpu")
    cat, kitten, tax = model.encode(
        ["a cat sleeps", "a kitten naps", "quarterly tax report"], normalize_embeddings=True
    )
    assert cat.shape == (256,)
    assert cat @ kitten > cat @ tax + 0.2


def test_it_is_kept_and_a_later_call_loads_no_library(folder: Path) -> None:
    before = [path.stat().st_mtime_ns for path in sorted(ensure_static_model(folder).rglob("*"))]
    code = CODE + "assert not {'torch', 'model2vec', 'sentence_transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, timeout=60, stdout=subprocess.DEVNULL)
    assert [path.stat().st_mtime_ns for path in sorted(ensure_static_model(folder).rglob("*"))] == before


def test_a_process_killed_half_way_leaves_no_model(tmp_path: Path) -> None:
    process = start(tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".static-*")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".static-")] == []


def test_minilm_path_holds_a_sentence_transformers_model() -> None:
    assert (minilm_path() / "modules.json").is_file()
    assert (minilm_path() / "model.safetensors").is_file()
