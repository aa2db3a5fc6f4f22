"""docs/validation.md says what is so."""

import re
from pathlib import Path

from embedmig.settings import Settings
from embedmig.validation.query_files import read_queries
from embedmig.validation.verdict import Outcome

PAGE = Path(__file__).parents[3] / "docs" / "validation.md"


def test_the_queries_on_the_page_are_read(tmp_path: Path) -> None:
    (lines,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    path = tmp_path / "queries.jsonl"
    path.write_text(lines)
    first, second, third = read_queries(path)
    assert first.relevant == {("json.loads",): 2, ("json.load",): 1}
    assert (first.label, first.weight) == ("how-to", 3)
    assert second.relevant == {("de", "17"): 1, ("en", "17"): 2}
    assert third.id == "q3"


def test_the_page_names_every_verdict_and_the_settings_with_their_defaults() -> None:
    text = PAGE.read_text()
    settings = Settings()
    for outcome in Outcome:
        assert f"| `{outcome.value}` |" in text
    for name in ("pass_overlap", "investigate_overlap", "quality_margin", "stratum_queries"):
        (shown,) = re.findall(rf"`{name}` \(([0-9.]+)\)", text)
        assert float(shown) == getattr(settings, name)
