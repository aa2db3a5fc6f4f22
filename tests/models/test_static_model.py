"""The demo's old model, distilled here for real: made once, whole or not at all."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from embedmig.demo.models import ensure_static_model, minilm_path
from tests.distilling import CODE, start_distilling

pytestmark = pytest.mark.models


def test_processes_that_make_it_at_once_leave_one_whole_model_and_nothing_else(static_models: Path) -> None:
    model = ensure_static_model(static_models)
    assert list(static_models.iterdir()) == [model]
    assert {"modules.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in model.iterdir()}


def test_it_loads_as_a_sentence_transformer_of_256_dimensions_that_means_something(static_models: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(ensure_static_model(static_models)), device="cpu")
    cat, kitten, tax = model.encode(
        ["a cat sleeps", "a kitten naps", "quarterly tax report"], normalize_embeddings=True
    )
    assert cat.shape == (256,)
    assert cat @ kitten > cat @ tax + 0.2


def test_it_is_kept_and_a_later_call_loads_no_library(static_models: Path) -> None:
    before = [path.stat().st_mtime_ns for path in sorted(ensure_static_model(static_models).rglob("*"))]
    code = CODE + "assert not {'torch', 'model2vec', 'sentence_transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(static_models)], check=True, timeout=300, stdout=subprocess.DEVNULL)
    assert [path.stat().st_mtime_ns for path in sorted(ensure_static_model(static_models).rglob("*"))] == before


def test_a_process_killed_half_way_leaves_no_model(tmp_path: Path) -> None:
    process = start_distilling(tmp_path)
    deadline = time.monotonic() + 300
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
