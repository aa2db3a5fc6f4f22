"""Settings: the environment wins over the file, and what is not known is an error that names it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from embedmig.errors import SettingsError
from embedmig.settings import load_settings


def test_environment_wins_over_file_and_overrides_over_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "embedmig.toml").write_text("pass_overlap = 0.9\nstability_days = 3\ntail_rows = 5\n")
    monkeypatch.setenv("EMBEDMIG_STABILITY_DAYS", "4")
    monkeypatch.setenv("EMBEDMIG_TAIL_ROWS", "6")
    settings = load_settings(tmp_path, overrides={"tail_rows": 7})
    assert (settings.pass_overlap, settings.stability_days, settings.tail_rows) == (0.9, 4.0, 7)


def test_an_unknown_key_in_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "embedmig.toml").write_text("pass_ovrlap = 0.9\n")
    with pytest.raises(SettingsError, match=r"embedmig\.toml: unknown setting pass_ovrlap; the settings are"):
        load_settings(tmp_path)


def test_a_value_that_cannot_be_names_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDMIG_PASS_OVERLAP", "80")
    with pytest.raises(SettingsError, match="EMBEDMIG_PASS_OVERLAP"):
        load_settings(tmp_path)


@pytest.mark.parametrize("broken", [b"pass_overlap = \n", b"\xff\xfe"])
def test_a_broken_file_is_a_sentence(tmp_path: Path, broken: bytes) -> None:
    (tmp_path / "embedmig.toml").write_bytes(broken)
    with pytest.raises(SettingsError, match="not valid TOML"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.mkdir(), "is no file"),
        (lambda path: os.mkfifo(path), "is no file"),
        (lambda path: path.symlink_to("gone.toml"), "cannot be read: No such file"),
        (lambda path: path.symlink_to(path.name), "cannot be read: Too many levels"),
    ],
)
def test_what_stands_there_and_is_no_readable_file_is_not_passed_over(
    tmp_path: Path, make: Callable[[Path], object], said: str
) -> None:
    make(tmp_path / "embedmig.toml")
    with pytest.raises(SettingsError, match=f"embedmig.toml {said}"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["[rollout]\ntriggers = 3\n", "database_url = 5\n", "tail_rows = [1]\n", "rollout_steps = [[5]]\n", "[[x]]\n"],
)
def test_a_value_of_a_wrong_type_is_a_sentence_that_names_its_key(tmp_path: Path, content: str) -> None:
    (tmp_path / "embedmig.toml").write_text(content)
    with pytest.raises(SettingsError, match=r"embedmig\.toml: .*(triggers|database_url|tail_rows|rollout_steps|x)"):
        load_settings(tmp_path)


def test_the_password_is_in_no_representation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDMIG_DATABASE_URL", "postgresql://me:hunter2@db/x")
    assert "hunter2" not in repr(load_settings(tmp_path))


def test_a_variable_for_one_collection_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX_DOCS", "new")
    assert load_settings(tmp_path).active_index == "auto"
