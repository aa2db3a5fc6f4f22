"""The README tells of every verb and every setting, and its file formats are what the code reads."""

import re
from pathlib import Path

import pytest

from embedmig.cli.main import VERBS
from embedmig.settings import Settings

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("verb", VERBS)
def test_readme_shows_every_verb(verb: str) -> None:
    assert re.search(rf"embedmig {verb}\b", README), f"README.md says nothing of embedmig {verb}"


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_readme_lists_every_setting(name: str) -> None:
    assert f"`{name}`" in README, f"README.md says nothing of the setting {name}"


def test_readme_names_no_setting_that_is_not_there() -> None:
    listed = re.findall(r"^\| `([a-z_]+)` \|", README.split("## Settings")[1].split("\n## ")[0], flags=re.M)
    assert sorted(listed) == sorted(Settings.model_fields)
