"""validate --until-decided, and what is said before the run."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from embedmig.commands import report_show, validate
from embedmig.db import Connection, Database
from embedmig.errors import UsageError
from embedmig.types import Placement
from embedmig.validation.options import Options
from embedmig.validation.pair import Pair
from embedmig.validation.verdict import Outcome
from tests.support import OLD

Migrated = Callable[..., Pair]
Verb = Callable[..., tuple[int, str]]

TWIN = replace(OLD, revision="2")
QUERIES = [f"row {number} speaks of word{number % 7} and thing{number % 11}" for number in range(1, 401)]
EARLY = Options(until_decided=True)


@pytest.mark.parametrize("placement", list(Placement))
def test_it_stops_once_the_verdict_stands_and_the_report_says_after_how_many(
    migrated: Migrated, db: Database, placement: Placement
) -> None:
    migrated(300, placement, model=TWIN)
    report = validate(db, "docs", queries=QUERIES, options=EARLY)
    assert report.verdict.outcome is Outcome.PASS
    assert report.sequential is not None
    assert report.sequential.decided
    assert report.sequential.available == 400
    assert report.queries.distinct == len(report.results) == report.sequential.looks[-1].queries < 400
    assert report_show(db, "docs").report == report


def test_what_it_finds_for_a_query_is_what_one_run_finds(migrated: Migrated, db: Database) -> None:
    migrated(300)
    judged = [{"query": query, "relevant": [str(n % 300 + 1)], "weight": 1 + n % 3} for n, query in enumerate(QUERIES)]
    early = validate(db, "docs", queries=judged, options=EARLY)
    whole = {result.text: result for result in validate(db, "docs", queries=judged).results}
    assert early.results
    assert all(result == whole[result.text] for result in early.results)


def test_index_recall_is_measured_for_the_queries_that_were_asked(
    migrated: Migrated, db: Database, conn: Connection
) -> None:
    migrated(300, model=TWIN)
    conn.execute("CREATE INDEX ON docs USING hnsw (embedding vector_cosine_ops)")
    report = validate(db, "docs", queries=QUERIES, options=EARLY)
    assert report.source.index is not None
    assert report.source.index.recall.queries == report.queries.distinct


def test_rows_as_queries_are_asked_at_once(migrated: Migrated, db: Database) -> None:
    migrated(60)
    with pytest.raises(UsageError, match="leave out --until-decided"):
        validate(db, "docs", options=Options(until_decided=True, rows_as_queries=20))


def test_the_smallest_difference_is_said_before_anything_is_asked(
    migrated: Migrated, db: Database, verb: Verb, tmp_path: Path
) -> None:
    migrated(60, model=TWIN)
    heard: list[str] = []
    report = validate(
        db,
        "docs",
        queries=QUERIES[:100],
        on_progress=lambda step, done, total: heard.append(step),
        on_plan=lambda detectable, queries: heard.append(f"{queries}: {detectable['overlap@10']:.3f}"),
    )
    assert heard[0] == f"100: {report.detectable['overlap@10']:.3f}"
    assert len(heard) > 1
    path = tmp_path / "q.jsonl"
    path.write_text("\n".join(json.dumps({"query": query}) for query in QUERIES))
    _, said = verb("validate", "docs", "--queries", str(path), "--until-decided")
    assert said.startswith("400 queries are likely to show a true difference of 0.035 in overlap@10")
    assert "intervals hold at every look" in said
