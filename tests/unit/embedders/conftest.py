"""Installs small packages that bring a provider, the way pip leaves them on disk."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from embedding_server import EmbeddingServer

from embedmig.embedders import forget_embedders

InstallProvider = Callable[[str, str, str], None]


@pytest.fixture(autouse=True)
def _no_embedder_outlives_its_test() -> Iterator[None]:
    yield
    forget_embedders()


@pytest.fixture
def install_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstallProvider:
    """``install_provider(name, "module:attribute", source)``"""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(name: str, target: str, source: str) -> None:
        module = target.partition(":")[0]
        monkeypatch.delitem(sys.modules, module, raising=False)
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[embedmig.embedders]\n{name} = {target}\n")

    return install


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingServer]:
    """An OpenAI-compatible server on loopback that gives hashed vectors; no key in the environment, short pauses."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("embedmig.embedders.openai.sending._FIRST_PAUSE_S", 0.01)
    with EmbeddingServer() as running:
        yield running
