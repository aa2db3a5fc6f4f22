"""embedmig report list|show|compare over what validate kept."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from embedmig.commands import report_compare, report_list, report_show, validate
from embedmig.db import Connection, Database
from embedmig.errors import NotFoundError, UsageError
from embedmig.validation.options import Options
from embedmig.validation.pair import Pair
from tests.support import OLD

Migrated = Callable[..., Pair]
Verb = Callable[..., tuple[int, str]]

TWIN = replace(OLD, revision="2")
QUERIES = [f"row {number} speaks of word{number % 7} and thing{number % 11}" for number in range(1, 41)]
JUDGED = [{"query": query, "relevant": [str(n)], "label": f"l{n % 2}"} for n, query in enumerate(QUERIES, 1)]


def test_a_kept_report_is_read_back_as_it_was_made(migrated: Migrated, db: Database) -> None:
    migrated(120)
    made = validate(db, "docs", queries=JUDGED, options=Options(cutoffs=(0.5,)))
    shown = report_show(db, "docs")
    assert shown.report == made
    assert shown.stands is made.passed


def test_list_has_every_report_newest_first_and_says_which_opens_a_ramp(migrated: Migrated, db: Database) -> None:
    migrated(120, model=TWIN)
    ids = [validate(db, "docs", queries=queries).id for queries in (QUERIES[:5], QUERIES)]
    listed = report_list(db, "docs").reports
    assert [one.id for one in listed] == ids[::-1]
    assert [(one.queries, one.verdict, one.stands) for one in listed] == [
        (40, "pass", True),
        (5, "investigate", False),
    ]


def test_todays_is_compared_with_last_weeks_query_by_query(migrated: Migrated, db: Database, conn: Connection) -> None:
    migrated(120)
    first = validate(db, "docs", queries=JUDGED)
    conn.execute("UPDATE embedmig.report SET made_at = made_at - interval '8 days'")
    second = validate(db, "docs", queries=JUDGED[:20])
    conn.execute("DELETE FROM docs WHERE id > 100")
    third = validate(db, "docs", queries=JUDGED[10:])
    found = report_compare(db, "docs", days=7)
    assert (found.before.id, found.after.id) == (first.id, third.id)
    assert report_compare(db, "docs").before.id == second.id
    comparison = found.comparison
    assert (comparison.common, comparison.only_before, comparison.only_after) == (30, 10, 0)
    earlier = {one.text: one.overlap for one in first.results}
    differences = [one.overlap - earlier[one.text] for one in third.results]
    change = next(one for one in comparison.changes if one.measure == "overlap@10")
    assert change.difference is not None
    assert change.difference.mean == pytest.approx(sum(differences) / 30)
    assert (change.before, change.after) == (first.agreement.overlap[10].mean, third.agreement.overlap[10].mean)
    assert len(comparison.moved) >= sum(abs(one) > 1e-9 for one in differences) > 0
    assert any("rows judged: 120 before, 100 now" in note for note in comparison.notes)
    with pytest.raises(NotFoundError, match="30 days"):
        report_compare(db, "docs", days=30)
    with pytest.raises(UsageError, match="not by both"):
        report_compare(db, "docs", 1, days=1)


def test_a_report_that_is_not_there_is_named_with_the_way_to_those_that_are(migrated: Migrated, db: Database) -> None:
    migrated(20)
    with pytest.raises(NotFoundError, match="embedmig validate docs"):
        report_show(db, "docs")
    validate(db, "docs", queries=QUERIES[:3])
    with pytest.raises(NotFoundError, match="embedmig report list docs"):
        report_show(db, "docs", 4711)


def test_the_command_line_lists_shows_compares_and_writes_the_page(
    migrated: Migrated, verb: Verb, tmp_path: Path
) -> None:
    migrated(120)
    assert "no report yet" in verb("report", "list", "docs")[1]
    queries, page = tmp_path / "q.jsonl", tmp_path / "report.html"
    queries.write_text("\n".join(json.dumps(one) for one in JUDGED))
    code, said = verb("validate", "docs", "--queries", str(queries), "--report", str(page))
    assert code in (0, 1)
    assert "the page:" in said
    assert "<!doctype html>" in page.read_text()
    verb("validate", "docs", "--queries", str(queries))
    code, said = verb("report", "list", "docs", "--json")
    listed = json.loads(said)["reports"]
    assert code == 0
    assert len(listed) == 2
    code, said = verb("report", "show", "docs", str(listed[0]["id"]))
    assert code == 0
    assert "overlap@10" in said
    code, said = verb("report", "compare", "docs")
    assert code == 0
    assert "+0.000" in said
    other = tmp_path / "other.html"
    assert verb("report", "show", "docs", "--html", str(other), "--no-texts")[0] == 0
    assert "speaks of" not in other.read_text()
    code, said = verb("report", "show", "docs", "--html", str(tmp_path / "no" / "page.html"))
    assert code == 2
    assert "cannot be written" in said
