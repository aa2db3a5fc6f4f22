"""docs/rollout.md says what is so."""

import re
from pathlib import Path

import click
import pytest

from embedmig import ShadowOptions
from embedmig.cli.rollout import rollout
from embedmig.trigger_settings import TriggerSettings

PAGE = (Path(__file__).parents[3] / "docs" / "rollout.md").read_text(encoding="utf-8")


def _told(name: str) -> str:
    """The default that a table gives for a key."""
    found = re.search(rf"^\| `{name}` \| (.+?) \|", PAGE, flags=re.M)
    assert found is not None, f"docs/rollout.md says nothing of {name}"
    return found[1].strip("`")


@pytest.mark.parametrize("name", sorted(TriggerSettings.model_fields))
def test_every_key_of_a_trigger_is_there_with_its_default(name: str) -> None:
    default = getattr(TriggerSettings(), name)
    assert _told(name) == ("{}" if default == {} else f"{default:g}")


@pytest.mark.parametrize("name", sorted(ShadowOptions.__dataclass_fields__))
def test_every_option_of_shadow_reads_is_there_with_its_default(name: str) -> None:
    default = getattr(ShadowOptions(), name)
    words = {"None": "none", "False": "false"}
    assert _told(name) == (words.get(str(default)) or f"{default:g}")


@pytest.mark.parametrize("option", [each for each in rollout.params if isinstance(each, click.Option)])
def test_every_option_of_the_verb_is_there(option: click.Option) -> None:
    common = {"--json", "--database-url", "-v", "--verbose"}
    assert common & set(option.opts) or f"`{option.opts[0]}" in PAGE
