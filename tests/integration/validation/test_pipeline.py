"""validate --pipeline and --pipeline-sql: overlap and quality after the user's own search."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedmig.commands import report_page, report_show, validate
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError, UsageError
from embedmig.types import Placement
from embedmig.validation.options import Options
from embedmig.validation.pair import Pair
from embedmig.validation.verdict import Outcome
from tests.integration.validation.conftest import fill
from tests.support import OLD

Migrated = Callable[..., Pair]
Verb = Callable[..., tuple[int, str]]

TWIN = replace(OLD, revision="2")
QUERIES = [f"row {number} speaks of word{number % 7} and thing{number % 11}" for number in range(1, 41)]
JUDGED = [{"query": query, "relevant": [str(n)]} for n, query in enumerate(QUERIES, 1)]

NEAREST = """
SELECT d.id FROM docs d JOIN {slot_table} AS own USING (id)
 WHERE d.title LIKE 'Title%%' ORDER BY own.{vector} <=> %(embedding)s, d.id LIMIT %(k)s
"""


@pytest.fixture
def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module with a function ``search(query, slot)`` into the present folder, and gives its name."""
    monkeypatch.chdir(tmp_path)

    def write(body: str) -> str:
        name = f"mine_{abs(hash(body))}"
        (tmp_path / f"{name}.py").write_text(f"import re\n\ndef search(query, slot):\n    {body}\n")
        return f"{name}:search"

    return write


@pytest.mark.parametrize("placement", list(Placement))
def test_sql_over_the_slots_vectors_finds_what_the_exact_search_finds(
    migrated: Migrated, db: Database, placement: Placement
) -> None:
    migrated(120, placement)
    report = validate(db, "docs", queries=JUDGED, options=Options(pipeline_sql=NEAREST))
    assert report.pipeline is not None
    for k, estimate in report.agreement.overlap.items():
        assert report.pipeline.agreement.overlap[k].mean == pytest.approx(estimate.mean, abs=0.01)
    assert report.pipeline.quality[0].target.mean == pytest.approx(report.quality[0].target.mean, abs=0.01)
    assert any(reason.startswith("after your SQL: overlap@10 is") for reason in report.verdict.reasons)
    assert report_show(db, "docs").report == report


def test_a_search_that_does_not_use_vectors_agrees_with_itself(
    migrated: Migrated, db: Database, function: Callable[[str], str]
) -> None:
    migrated(120)
    spec = function("n = int(re.search(r'\\d+', query)[0]); return [n, str(n + 1), (n + 2,), n]")
    report = validate(db, "docs", queries=JUDGED, options=Options(pipeline=spec))
    assert report.pipeline is not None
    assert report.pipeline.agreement.overlap[10].mean == 1.0
    assert report.pipeline.quality[0].source.mean == report.pipeline.quality[0].target.mean == 1.0
    assert report.agreement.overlap[10].mean < 0.5


def test_a_pass_is_none_where_the_users_own_search_got_worse(
    migrated: Migrated, db: Database, function: Callable[[str], str]
) -> None:
    migrated(120, model=TWIN)
    spec = function("return [re.search(r'\\d+', query)[0]] if slot == 'v1' else []")
    report = validate(db, "docs", queries=JUDGED, options=Options(pipeline=spec))
    assert report.pipeline is not None
    assert (report.pipeline.source_empty, report.pipeline.target_empty) == (0, 40)
    assert report.agreement.overlap[10].mean == 1.0
    assert report.verdict.outcome is Outcome.INVESTIGATE
    assert f"by itself it would pass, but after {spec}" in report.verdict.sentence


def test_rows_of_one_document_count_once_there_too(
    migrated: Migrated, db: Database, conn: Connection, function: Callable[[str], str]
) -> None:
    migrated(120)
    conn.execute("ALTER TABLE docs ADD doc int")
    conn.execute("UPDATE docs SET doc = id % 12")
    spec = function("return [1, 13, 25] if slot == 'v1' else [37, 49]")
    options = Options(pipeline=spec, by_document="doc")
    report = validate(db, "docs", queries=QUERIES, options=options)
    assert report.pipeline is not None
    assert report.pipeline.agreement.overlap[10].mean == 1.0


def test_only_the_queries_that_were_asked_reach_it_and_the_intervals_hold_at_every_look(
    migrated: Migrated, db: Database, function: Callable[[str], str]
) -> None:
    migrated(120, model=TWIN)
    queries = [f"{query} number {n}" for n in range(10) for query in QUERIES]
    spec = function("return [1, 2, 3]")
    report = validate(db, "docs", queries=queries, options=Options(pipeline=spec, until_decided=True))
    assert report.pipeline is not None
    own = report.pipeline.agreement.overlap[10]
    assert own.queries == report.queries.distinct < 400
    assert np.isclose(own.low, report.agreement.overlap[10].low)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('no such index')", "failed on 'row 1 .* in v1: ValueError: no such index"),
        ("return [(1, 2)]", "the key of public.docs has 1 columns"),
        ("return ['not a number']", "is to give keys, best first"),
    ],
)
def test_what_goes_wrong_in_the_function_is_said_with_the_query(
    migrated: Migrated, db: Database, function: Callable[[str], str], body: str, said: str
) -> None:
    migrated(40)
    with pytest.raises(UsageError, match=said):
        validate(db, "docs", queries=QUERIES, options=Options(pipeline=function(body)))


@pytest.mark.parametrize("spec", ["json", "json:nothing_there", "no_such_module_here:search", "json:__name__"])
def test_a_function_that_is_not_there_is_said_before_anything_runs(migrated: Migrated, db: Database, spec: str) -> None:
    migrated(20)
    steps: list[str] = []
    with pytest.raises(UsageError, match="pipeline"):
        validate(
            db,
            "docs",
            queries=QUERIES,
            options=Options(pipeline=spec),
            on_progress=lambda step, done, total: steps.append(step),
        )
    assert steps == []


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT id FROM {table}", "in braces"),
        ("SELECT id FROM nowhere", "does not run: relation"),
        ("DELETE FROM docs RETURNING id", "read-only"),
        ("SELECT 'x'", "is to give keys"),
    ],
)
def test_sql_that_is_no_search_is_refused_and_changes_nothing(
    migrated: Migrated, db: Database, conn: Connection, statement: str, said: str
) -> None:
    migrated(40)
    with pytest.raises(UsageError, match=said):
        validate(db, "docs", queries=QUERIES, options=Options(pipeline_sql=statement))
    row = conn.execute("SELECT count(*) AS n FROM docs").fetchone()
    assert row == {"n": 40}


def test_on_a_part_the_users_own_search_is_not_compared(migrated: Migrated, db: Database, conn: Connection) -> None:
    pair = migrated(200, filled=False)
    fill(conn, pair.collection, pair.target, "id % 5 = 0")
    with pytest.raises(RefusedError, match="v2 holds 20% of the rows"):
        validate(db, "docs", queries=QUERIES, options=Options(pipeline_sql=NEAREST))
    with pytest.raises(UsageError, match="no words for your own search"):
        validate(db, "docs", options=Options(pipeline_sql=NEAREST, rows_as_queries=5))


def test_the_command_line_and_the_page_show_it(
    migrated: Migrated, db: Database, verb: Verb, tmp_path: Path, function: Callable[[str], str]
) -> None:
    migrated(120)
    queries, template = tmp_path / "q.jsonl", tmp_path / "mine.sql"
    queries.write_text("\n".join(json.dumps(one) for one in JUDGED))
    template.write_text(NEAREST)
    _, said = verb("validate", "docs", "--queries", str(queries), "--pipeline-sql", str(template))
    assert "after your SQL old new" in said
    assert '<h2 id="h-pipeline">After your SQL</h2>' in report_page(db, "docs", tmp_path / "r.html").read_text()
    spec = function("return [1, 2]")
    _, said = verb("validate", "docs", "--queries", str(queries), "--pipeline", spec)
    assert f"after {spec}" in said
