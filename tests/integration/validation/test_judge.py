"""embedmig judge: two lists, on sides that chance chose; what is said enters the report."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from embedmig.catalog.events import list_events
from embedmig.commands import judge, report_list, report_page, report_show, validate
from embedmig.db import Connection, Database
from embedmig.errors import NotFoundError
from embedmig.validation.pair import Pair
from embedmig.validation.preferences import Choice, differing_results, list_questions
from embedmig.validation.report import ValidationReport

Migrated = Callable[..., Pair]
Verb = Callable[..., tuple[int, str]]

QUERIES = [f"row {number} speaks of word{number % 7} and thing{number % 11}" for number in range(1, 41)]


@pytest.fixture
def report(migrated: Migrated, db: Database) -> ValidationReport:
    migrated(120)
    return validate(db, "docs", queries=QUERIES)


@dataclass
class Partisan:
    """Knows the old lists, and always says that the other one is better; stops after ``patience`` questions."""

    report: ValidationReport
    texts: dict[str, str]
    patience: int = 10_000
    asked: list[str] = field(default_factory=list)
    new_sides: list[str] = field(default_factory=list)

    def prefer(self, query: str, left: Sequence[str], right: Sequence[str]) -> Choice | None:
        if len(self.asked) == self.patience:
            return None
        self.asked.append(query)
        result = next(one for one in self.report.results if one.text == query)
        old = [self.texts[found.key[0]] for found in result.source]
        assert old in (list(left), list(right))
        new_is_left = old == list(right)
        self.new_sides.append("left" if new_is_left else "right")
        return Choice.LEFT if new_is_left else Choice.RIGHT


@pytest.fixture
def texts(report: ValidationReport, conn: Connection) -> dict[str, str]:
    rows = conn.execute("SELECT id::text, title || ' ' || body AS text FROM docs").fetchall()
    return {row["id"]: row["text"] for row in rows}


def test_one_who_always_finds_the_new_list_better_says_so_whatever_the_side(
    db: Database, report: ValidationReport, texts: dict[str, str]
) -> None:
    partisan = Partisan(report, texts)
    result = judge(db, "docs", partisan, name="ada")
    differing = len(differing_results(report))
    assert result.said == differing == len(set(partisan.asked))
    assert result.left == 0
    assert result.summary is not None
    assert (result.summary.better, result.summary.worse, result.summary.differing) == (differing, 0, differing)
    assert result.summary.mean is not None
    assert result.summary.mean.mean == 1.0
    assert 0 < result.summary.mean.low < 1
    assert 8 < partisan.new_sides.count("left") < differing - 8


def test_a_session_goes_on_where_the_last_one_stopped_and_another_judge_begins_anew(
    db: Database, report: ValidationReport, texts: dict[str, str], conn: Connection
) -> None:
    first, second = Partisan(report, texts, patience=7), Partisan(report, texts)
    stopped = judge(db, "docs", first, name="ada")
    assert (stopped.said, stopped.left) == (7, len(differing_results(report)) - 7)
    judge(db, "docs", second, name="ada", limit=5)
    third = Partisan(report, texts)
    judge(db, "docs", third, name="ada")
    whole = [question.result.text for question in list_questions(report, "ada")]
    assert first.asked + second.asked + third.asked == whole
    other = Partisan(report, texts, patience=3)
    result = judge(db, "docs", other, name="grace")
    assert result.summary is not None
    assert result.summary.judges == ("ada", "grace")
    assert result.summary.queries == len(whole)
    event = list_events(conn, "docs")[0]
    assert (event.verb, event.details["judge"], event.details["verdicts"]) == ("judge", "grace", 3)


def test_verdicts_enter_the_report_the_page_and_the_list_stays_readable(
    db: Database, report: ValidationReport, texts: dict[str, str], tmp_path: Path
) -> None:
    judge(db, "docs", Partisan(report, texts, patience=9), name="ada")
    shown = report_show(db, "docs")
    assert shown.preferences is not None
    assert (shown.preferences.better, shown.preferences.queries) == (9, 9)
    assert len(shown.report.preferences) == 9
    assert [one.id for one in report_list(db, "docs").reports] == [report.id]
    assert "New list better 9, worse 0" in report_page(db, "docs", tmp_path / "a.html").read_text()
    redacted = report_page(db, "docs", tmp_path / "b.html", texts=False).read_text()
    assert "New list better 9, worse 0" in redacted
    assert "ada" not in redacted


def test_no_connection_is_held_while_the_judge_thinks(db: Database, report: ValidationReport, conn: Connection) -> None:
    seen: list[int] = []

    class Watching:
        def prefer(self, query: str, left: Sequence[str], right: Sequence[str]) -> Choice | None:
            row = conn.execute(
                "SELECT count(*) AS n FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            ).fetchone()
            assert row is not None
            seen.append(row["n"])
            return Choice.SKIP if len(seen) < 3 else None

    judge(db, "docs", Watching(), name="ada")
    # One that was just closed may still be on its way out.
    assert min(seen) == 0


def test_answers_at_the_terminal_are_kept_and_the_sides_are_not_told(
    verb: Verb, report: ValidationReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("1\nx\n2\ne\ns\nq\n"))
    code, said = verb("judge", "docs", "--as", "ada")
    assert code == 0
    assert "4 verdicts kept" in said
    assert "equal 1, skipped 1" in said
    questions = said.partition("4 verdicts kept")[0]
    assert not any(word in questions for word in ("v1", "v2", "old@1", "new@1"))
    monkeypatch.setattr("sys.stdin", io.StringIO("e\n"))
    code, said = verb("judge", "docs", "--as", "ada", "--json")
    shown = json.loads(said[said.index('{"report"') : said.rindex("}") + 1])
    assert code == 0
    assert (shown["said"], shown["summary"]["equal"], shown["left"]) == (1, 2, len(differing_results(report)) - 5)
    assert "judges (ada)" in verb("report", "show", "docs")[1]


def test_without_a_report_it_says_what_makes_one(migrated: Migrated, db: Database) -> None:
    migrated(20)

    class Nobody:
        def prefer(self, query: str, left: Sequence[str], right: Sequence[str]) -> Choice | None:
            raise AssertionError("nothing is to be asked")

    with pytest.raises(NotFoundError, match="embedmig validate docs"):
        judge(db, "docs", Nobody(), name="ada")
