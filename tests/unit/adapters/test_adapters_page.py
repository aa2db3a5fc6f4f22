"""docs/adapters.md says what is so."""

import re
from pathlib import Path

import click
import pytest

from embedmig.cli.adapter import adapter

PAGE = (Path(__file__).parents[3] / "docs" / "adapters.md").read_text(encoding="utf-8")
COMMON = {"--json", "--database-url", "-v", "--verbose"}
OPTIONS = [
    (name, option)
    for name, command in adapter.commands.items()
    for option in command.params
    if isinstance(option, click.Option) and not COMMON & set(option.opts)
]


@pytest.mark.parametrize("name", sorted(adapter.commands))
def test_every_verb_is_there(name: str) -> None:
    assert f"adapter {name}" in PAGE


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_every_option_is_there(name: str, option: click.Option) -> None:
    assert re.search(rf"{option.opts[0]}\b", PAGE), f"docs/adapters.md says nothing of adapter {name} {option.opts[0]}"


def test_the_example_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.+?)```", PAGE, flags=re.S)
    exec(compile(example, "docs/adapters.md", "exec"), {})
    assert "held-out documents" in capsys.readouterr().out
