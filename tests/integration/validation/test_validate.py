"""validate, from queries to the kept report."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from psycopg import sql

from embedmig.catalog.events import list_events
from embedmig.catalog.migrations import get_migration
from embedmig.catalog.models import update_model
from embedmig.catalog.reports import newest_report
from embedmig.catalog.slots import update_slot
from embedmig.catalog.traffic import report_queries
from embedmig.commands import validate
from embedmig.db import Connection, Database, identifiers
from embedmig.embedders.hashing import HashingEmbedder
from embedmig.errors import NotFoundError, RefusedError, UsageError
from embedmig.settings import Settings
from embedmig.types import Collection, Model, ModelState, Placement
from embedmig.validation.options import Options
from embedmig.validation.pair import Pair
from embedmig.validation.verdict import Outcome
from tests.integration.validation.conftest import fill, texts_of
from tests.support import NEW, OLD, embed, expand_docs, make_docs

Migrated = Callable[..., Pair]
Verb = Callable[..., tuple[int, str]]

TWIN = replace(OLD, revision="2")
"""The old model under another name: its vectors are the same."""

QUERIES = [f"row {number} speaks of word{number % 7} and thing{number % 11}" for number in range(1, 41)]


def _top(model: Model, conn: Connection, collection: Collection, query: str, k: int = 10) -> list[str]:
    """Keys by numpy alone."""
    rows = texts_of(conn, collection)
    vectors = embed(model, [row["text"] for row in rows]).astype(np.float64)
    asked = HashingEmbedder(options=model.options).embed_queries([query])[0].astype(np.float64)
    distances = 1 - vectors @ asked / np.linalg.norm(vectors, axis=1) / np.linalg.norm(asked)
    return [rows[place]["key"][0] for place in np.argsort(distances, kind="stable")[:k]]


@pytest.mark.parametrize("placement", list(Placement))
def test_overlap_is_what_numpy_counts_over_the_models_own_vectors(
    migrated: Migrated, db: Database, conn: Connection, placement: Placement
) -> None:
    pair = migrated(120, placement)
    report = validate(db, "docs", queries=QUERIES)
    by_text = {result.text: result for result in report.results}
    expected = []
    for query in QUERIES:
        before, after = (_top(model, conn, pair.collection, query) for model in (OLD, NEW))
        assert [found.key[0] for found in by_text[query].source] == before
        assert [found.key[0] for found in by_text[query].target] == after
        expected.append(len(set(before) & set(after)) / 10)
    assert report.agreement.overlap[10].mean == pytest.approx(np.mean(expected), abs=1e-6)
    assert report.agreement.overlap.keys() == {1, 5, 10, 20, 100}
    assert report.results[0].overlap == min(expected)


def test_the_same_vectors_pass_by_overlap(migrated: Migrated, db: Database) -> None:
    migrated(120, model=TWIN)
    report = validate(db, "docs", queries=QUERIES)
    assert report.verdict.outcome is Outcome.PASS
    assert report.agreement.overlap[10].mean == 1.0
    assert report.agreement.kendall_tau is not None
    assert report.agreement.kendall_tau.mean == 1.0
    assert report.passed


def test_different_models_without_judgments_are_to_be_investigated(migrated: Migrated, db: Database) -> None:
    migrated(120)
    report = validate(db, "docs", queries=QUERIES)
    assert report.verdict.outcome is Outcome.INVESTIGATE
    assert "under 0.70" in report.verdict.sentence


@pytest.mark.parametrize(("better", "outcome"), [(NEW, Outcome.PASS_BY_QUALITY), (OLD, Outcome.FAIL)])
def test_judgments_decide_where_the_models_differ(
    migrated: Migrated, db: Database, conn: Connection, better: Model, outcome: Outcome
) -> None:
    pair = migrated(120)
    judged = [{"query": query, "relevant": _top(better, conn, pair.collection, query, 5)} for query in QUERIES]
    report = validate(db, "docs", queries=judged)
    assert report.verdict.outcome is outcome
    side = report.quality[0].target if better is NEW else report.quality[0].source
    assert report.quality[0].measure == "nDCG@10"
    assert side.mean == pytest.approx(1.0)
    assert report.quality[0].p_value < 0.01
    assert [quality.measure for quality in report.quality] == ["nDCG@10", "R@100", "RR", "AP"]


def test_the_report_is_kept_and_the_change_logged(migrated: Migrated, db: Database, conn: Connection) -> None:
    pair = migrated(120, model=TWIN)
    report = validate(db, "docs", queries=QUERIES)
    kept = newest_report(conn, get_migration(conn, pair.collection))
    assert kept is not None
    assert (kept.id, kept.verdict, kept.part, kept.bridged_share) == (report.id, "pass", 1.0, 0.0)
    assert kept.stands
    assert kept.body["agreement"]["overlap"]["10"]["mean"] == 1.0
    assert kept.body["results"][0]["source"][0]["key"]
    event = list_events(conn, "docs")[0]
    assert (event.verb, event.became, event.details["report"]) == ("validate", "pass", report.id)


def test_a_part_is_judged_on_its_own_rows_and_opens_no_ramp(migrated: Migrated, db: Database, conn: Connection) -> None:
    pair = migrated(200, model=TWIN, filled=False)
    fill(conn, pair.collection, pair.target, "id % 5 = 0")
    report = validate(db, "docs", queries=QUERIES)
    assert report.rows.judged == 40
    assert report.rows.only_source == 160
    assert report.rows.part == pytest.approx(0.2)
    assert report.verdict.outcome is Outcome.PASS
    assert "20% of those served" in report.verdict.reasons[0]
    assert all(int(found.key[0]) % 5 == 0 for result in report.results for found in result.source)
    kept = newest_report(conn, get_migration(conn, pair.collection))
    assert kept is not None
    assert not kept.stands


def test_a_tail_and_rows_given_up_are_no_part(migrated: Migrated, db: Database, conn: Connection) -> None:
    pair = migrated(200, model=TWIN, filled=False)
    fill(conn, pair.collection, pair.target, "id > 25")
    assert validate(db, "docs", queries=QUERIES).rows.part < 1
    conn.execute(
        "INSERT INTO embedmig.failure (slot_id, key, reason, ignored)"
        " SELECT %s, ARRAY[id::text], 'too odd', true FROM docs WHERE id <= 15",
        [pair.target.id],
    )
    assert validate(db, "docs", queries=QUERIES).rows.part == 1.0


def test_rows_without_text_are_no_part(migrated: Migrated, db: Database, conn: Connection) -> None:
    pair = migrated(60, model=TWIN, filled=False)
    conn.execute("UPDATE docs SET title = NULL, body = '' WHERE id > 30")
    fill(conn, pair.collection, pair.target, "id <= 30")
    report = validate(db, "docs", queries=QUERIES)
    assert (report.rows.judged, report.rows.only_source, report.rows.part) == (30, 0, 1.0)


def test_the_bridged_share_is_kept_and_forbids_cutoffs(migrated: Migrated, db: Database, conn: Connection) -> None:
    pair = migrated(100)
    conn.execute("UPDATE docs SET embedding_v2_model = %s WHERE id <= 30", [pair.target.bridge_model_id])
    report = validate(db, "docs", queries=QUERIES)
    assert report.rows.bridged_share == pytest.approx(0.3)
    assert any("30% of the target's rows are bridged" in reason for reason in report.verdict.reasons)
    with pytest.raises(RefusedError, match="two scales"):
        validate(db, "docs", queries=QUERIES, options=Options(cutoffs=(0.5,)))


def test_a_cutoff_is_translated_with_the_line_to_change(migrated: Migrated, db: Database) -> None:
    migrated(100)
    report = validate(db, "docs", queries=QUERIES, options=Options(cutoffs=(0.5,)))
    (advice,) = report.cutoffs
    assert advice.was == "1 - (embedding <=> query) >= 0.5"
    assert advice.becomes is not None
    assert advice.becomes.startswith("1 - (embedding_v2 <=> query) >= ")
    similar = [1 - found.distance for result in report.results for found in result.source]
    after = [1 - found.distance for result in report.results for found in result.target]
    assert advice.cutoff.equivalent is not None
    assert np.mean(np.array(after) >= advice.cutoff.equivalent) == pytest.approx(
        np.mean(np.array(similar) >= 0.5), abs=1 / len(after)
    )


def test_one_query_and_no_query(migrated: Migrated, db: Database, conn: Connection) -> None:
    pair = migrated(60, model=TWIN)
    report = validate(db, "docs", queries=["row 5"])
    assert report.verdict.outcome is Outcome.INVESTIGATE
    assert (report.agreement.overlap[10].low, report.agreement.overlap[10].high) == (0.0, 1.0)
    with pytest.raises(UsageError, match="no queries"):
        validate(db, "docs", queries=[])
    with pytest.raises(UsageError, match="nothing to ask"):
        validate(db, "docs")
    kept = newest_report(conn, get_migration(conn, pair.collection))
    assert kept is not None
    assert kept.id == report.id


def test_fewer_rows_than_ten_are_all_found_and_pass_nobody(migrated: Migrated, db: Database) -> None:
    migrated(6, model=TWIN)
    report = validate(db, "docs", queries=QUERIES)
    assert report.agreement.overlap.keys() == {1, 5, 10}
    assert {len(result.source) for result in report.results} == {6}
    assert report.verdict.outcome is Outcome.INVESTIGATE


def test_labels_and_weights_reach_the_report(migrated: Migrated, db: Database) -> None:
    migrated(120)
    queries = [
        {"query": query, "label": "even" if n % 2 else "odd", "weight": 9 if n % 2 else 1}
        for n, query in enumerate(QUERIES)
    ]
    report = validate(db, "docs", queries=queries)
    assert {stratum.label for stratum in report.strata} == {"even", "odd"}
    shares = {stratum.label: stratum.weight_share for stratum in report.strata}
    assert shares["even"] == pytest.approx(0.9)
    weights = [result.weight for result in report.results]
    overlaps = [result.overlap for result in report.results]
    assert report.agreement.overlap[10].mean == pytest.approx(np.average(overlaps, weights=weights))
    assert all(stratum.decides for stratum in report.strata)
    small = validate(db, "docs", queries=queries, settings=Settings(stratum_queries=30))
    assert not any(stratum.decides for stratum in small.strata)


def test_rows_of_one_document_count_once(migrated: Migrated, db: Database, conn: Connection) -> None:
    migrated(120)
    conn.execute("ALTER TABLE docs ADD doc int")
    conn.execute("UPDATE docs SET doc = id % 12")
    plain = validate(db, "docs", queries=QUERIES)
    options = Options(by_document="doc")
    judged = [{"query": query, "relevant": {str(n % 12): 1, "99": 1}} for n, query in enumerate(QUERIES)]
    report = validate(db, "docs", queries=judged, options=options)
    for result in report.results:
        documents = [found.key for found in result.source]
        assert len(set(documents)) == len(documents) == 10
    assert report.agreement.overlap[10].mean > plain.agreement.overlap[10].mean
    assert report.queries.unknown_judgments == 1
    assert report.queries.judged == 40
    assert next(quality for quality in report.quality if quality.measure == "R@100").source.mean == 1.0
    with pytest.raises(NotFoundError, match="dock"):
        validate(db, "docs", queries=judged, options=Options(by_document="dock"))


def test_judgments_of_rows_that_are_not_there_are_counted_and_left_out(migrated: Migrated, db: Database) -> None:
    migrated(40)
    queries = [{"query": "row 5", "relevant": {"5": 1, "4711": 2}}, {"query": "row 6", "relevant": ["4712"]}]
    report = validate(db, "docs", queries=queries)
    assert (report.queries.unknown_judgments, report.queries.judged) == (2, 1)
    recall = next(quality for quality in report.quality if quality.measure == "R@100")
    assert recall.target.mean == 1.0
    assert recall.target.queries == 1


def test_keys_in_judgments_may_be_written_another_way_than_postgres_prints_them(
    migrated: Migrated, db: Database
) -> None:
    migrated(40, key=(("id", "uuid"),))
    upper = "{00000000-0000-4000-8000-000000000005}".upper()
    report = validate(db, "docs", queries=[{"query": "row 5", "relevant": [upper]}])
    assert (report.queries.unknown_judgments, report.queries.judged) == (0, 1)


def test_a_judged_key_that_is_none_is_named(migrated: Migrated, db: Database) -> None:
    migrated(20)
    with pytest.raises(UsageError, match=r"a judged key is no key of public\.docs \(id bigint\).*\"five\""):
        validate(db, "docs", queries=[{"query": "row 5", "relevant": ["five"]}])
    with pytest.raises(UsageError, match="has 2 parts"):
        validate(db, "docs", queries=[{"query": "row 5", "relevant": [["5", "6"]]}])


def test_composite_keys_are_judged_as_lists(migrated: Migrated, db: Database) -> None:
    migrated(40, Placement.COMPANION, key=(("tenant", "text"), ("id", "integer")))
    report = validate(db, "docs", queries=[{"query": "row 5", "relevant": [["key 5", 5]]}])
    assert report.queries.judged == 1
    assert {len(found.key) for found in report.results[0].source} == {2}


def test_judgments_in_a_file_of_their_own(migrated: Migrated, db: Database, tmp_path: Path) -> None:
    migrated(60)
    (tmp_path / "q.csv").write_text("id,query\nq1,row 5\nq2,row 7\n")
    (tmp_path / "qrels.trec").write_text("q1 0 5 2\nq2 0 7 1\nq9 0 8 1\n")
    report = validate(db, "docs", queries=tmp_path / "q.csv", qrels=tmp_path / "qrels.trec")
    assert (report.queries.judged, report.queries.distinct) == (2, 2)
    assert report.queries.origin.endswith("q.csv")


def test_queries_by_sql_are_read_only_and_one_statement(migrated: Migrated, db: Database, conn: Connection) -> None:
    migrated(60)
    conn.execute("CREATE TABLE log AS SELECT 'row ' || n AS q, n % 3 AS times FROM generate_series(1, 9) n")
    statement = "SELECT q AS query, count(*) AS weight, 'log%' AS label FROM log WHERE times % 2 = 0 GROUP BY q"
    report = validate(db, "docs", queries_sql=statement)
    assert (report.queries.distinct, report.results[0].label) == (6, "log%")
    with pytest.raises(UsageError, match="read-only"):
        validate(db, "docs", queries_sql="INSERT INTO log VALUES ('x', 1) RETURNING q AS query")
    with pytest.raises(UsageError, match="SQL for queries"):
        validate(db, "docs", queries_sql="SELECT q AS query FROM log; DROP TABLE log")
    with pytest.raises(UsageError, match='no "query"'):
        validate(db, "docs", queries_sql="SELECT 1 AS weight")
    assert conn.execute("SELECT count(*) AS n FROM log").fetchone() == {"n": 9}


def test_queries_from_the_corpus_are_titles_and_said_to_be_a_proxy(migrated: Migrated, db: Database) -> None:
    migrated(60)
    report = validate(db, "docs", queries_from_rows=15)
    assert report.queries.distinct == 15
    assert all(result.text.startswith("Title ") for result in report.results)
    assert any("proxy" in note for note in report.queries.notes)
    again = validate(db, "docs", queries_from_rows=15)
    assert [result.text for result in again.results] == [result.text for result in report.results]


def test_queries_come_from_the_shadow_log_where_texts_are_kept(
    migrated: Migrated, db: Database, conn: Connection, verb: Verb
) -> None:
    collection = migrated(60).collection
    with pytest.raises(RefusedError, match="keep_texts=True"):
        validate(db, "docs", queries_from_shadow=True)
    assert verb("validate", "docs", "--queries-from-shadow")[0] == RefusedError.exit_code
    kept = [("word1 thing2", "help", 3), ("word1  thing2", "help", 1), ("word1 thing2", "", 2), ("word3", "", 1)]
    report_queries(conn, collection.id, [{"text": a, "label": b, "times": c} for a, b, c in kept])
    report = validate(db, "docs", queries_from_shadow=True)
    assert report.queries.origin == "the shadow log, 7 searches"
    assert (report.queries.given, report.queries.distinct, report.queries.repeated) == (4, 3, 1)
    weights = {(result.text, result.label): result.weight for result in report.results}
    assert weights == {("word1 thing2", "help"): 4, ("word1 thing2", None): 2, ("word3", None): 1}


def test_queries_come_from_one_place(migrated: Migrated, db: Database) -> None:
    migrated(20)
    with pytest.raises(UsageError, match="one place"):
        validate(db, "docs", queries=["a"], queries_from_rows=3)


@pytest.mark.parametrize("placement", list(Placement))
def test_stored_rows_serve_as_queries_and_do_not_find_themselves(
    migrated: Migrated, db: Database, placement: Placement
) -> None:
    migrated(80, placement, model=TWIN)
    report = validate(db, "docs", options=Options(rows_as_queries=40))
    assert report.queries.distinct == 40
    assert report.verdict.outcome is Outcome.PASS
    for result in report.results:
        assert result.text not in {f"row {found.key[0]}" for found in result.source}
        assert len(result.source) == 10
    assert any("stored rows serve as queries" in note for note in report.queries.notes)


def test_with_the_old_model_gone_rows_are_compared_and_the_new_one_is_judged_alone(
    migrated: Migrated, db: Database, conn: Connection
) -> None:
    pair = migrated(80)
    update_model(conn, replace(OLD, state=ModelState.GONE))
    judged = [{"query": query, "relevant": _top(NEW, conn, pair.collection, query, 5)} for query in QUERIES]
    report = validate(db, "docs", queries=judged)
    assert report.queries.distinct == 80
    assert report.quality == ()
    assert report.target_quality_alone["nDCG@10"].mean == pytest.approx(1.0)
    assert report.target_quality_alone["nDCG@10"].queries == 40
    assert any("old@1 is gone" in reason for reason in report.verdict.reasons)


def _index(conn: Connection, pair: Pair) -> None:
    for slot in pair.slots:
        name = f"docs_{slot.name}_hnsw"
        conn.execute(
            sql.SQL("CREATE INDEX {} ON {} USING hnsw ({} vector_cosine_ops)").format(
                sql.Identifier(name), identifiers.slot_table(slot), sql.Identifier(slot.vector_column)
            )
        )
        update_slot(conn, replace(slot, index_name=name))
    # A few hundred rows are scanned faster than an index is asked.
    conn.execute(sql.SQL("ALTER DATABASE {} SET enable_seqscan = off").format(sql.Identifier(conn.info.dbname)))


@pytest.mark.parametrize("placement", list(Placement))
def test_the_indexes_are_asked_too_and_their_recall_told(
    migrated: Migrated, db: Database, conn: Connection, placement: Placement
) -> None:
    pair = migrated(300, placement)
    _index(conn, pair)
    report = validate(db, "docs", queries=QUERIES)
    for side, slot in ((report.source, pair.source), (report.target, pair.target)):
        assert side.index is not None
        assert (side.index.slot, side.index.index) == (slot.name, f"docs_{slot.name}_hnsw")
        assert 0.9 <= side.index.recall.mean <= 1.0
        assert [point.ef_search for point in side.index.curve] == [40, 80, 160, 320, 640]
        assert side.index.p50_ms <= side.index.p95_ms
    assert report.ef_search_to_keep_recall in (40, 80)
    unasked = validate(db, "docs", queries=QUERIES, options=Options(check_indexes=False))
    assert unasked.source.index is None


def test_a_poor_index_shows_as_index_error_and_not_as_another_model(
    migrated: Migrated, db: Database, conn: Connection
) -> None:
    pair = migrated(300, model=TWIN)
    _index(conn, pair)
    conn.execute("DROP INDEX docs_v2_hnsw")
    conn.execute("CREATE INDEX docs_v2_hnsw ON docs USING ivfflat (embedding_v2 vector_cosine_ops) WITH (lists = 100)")
    report = validate(db, "docs", queries=QUERIES)
    assert report.agreement.overlap[10].mean == 1.0
    assert report.verdict.outcome is Outcome.PASS
    assert report.source.index is not None
    assert report.target.index is not None
    assert report.target.index.recall.high < report.source.index.recall.low
    curve = report.target.index.curve
    assert [point.probes for point in curve] == [1, 2, 5, 10, 20, 50, 100]
    assert curve[0].recall < curve[3].recall < curve[-1].recall == 1.0
    assert report.ef_search_to_keep_recall is None
    assert report.probes_to_keep_recall in (20, 50, 100)


def test_nothing_to_compare_is_refused(db: Database, conn: Connection) -> None:
    make_docs(conn, 20)
    with pytest.raises(RefusedError, match="no open migration"):
        validate(db, "docs", queries=QUERIES)
    expand_docs(db)
    with pytest.raises(RefusedError, match="embedmig reembed docs"):
        validate(db, "docs", queries=QUERIES)
    with pytest.raises(NotFoundError, match="no collection dogs"):
        validate(db, "dogs", queries=QUERIES)
    assert conn.execute("SELECT count(*) AS n FROM embedmig.report").fetchone() == {"n": 0}


def test_an_empty_table_is_refused(db: Database, conn: Connection) -> None:
    make_docs(conn, 0)
    expand_docs(db)
    with pytest.raises(RefusedError, match="no row of docs"):
        validate(db, "docs", queries=QUERIES)


def test_progress_is_told_step_by_step(migrated: Migrated, db: Database) -> None:
    migrated(60)
    seen: list[tuple[str, int, int | None]] = []
    validate(db, "docs", queries=QUERIES, on_progress=lambda *step: seen.append(step))
    assert ("embed by old@1", 40, 40) in seen
    assert ("embed by new@1", 40, 40) in seen
    assert ("exact", 60, 60) in seen


def test_the_command_line_prints_a_page_or_json_and_exits_by_the_verdict(
    migrated: Migrated, verb: Verb, db: Database, tmp_path: Path
) -> None:
    migrated(120)
    path = tmp_path / "q.jsonl"
    path.write_text(
        "\n".join(json.dumps({"query": query, "label": "[red]"}) for query in QUERIES) + '\n{"query": "x"}\n'
    )
    code, said = verb("validate", "docs", "--queries", str(path), "--cutoff", "0.5")
    assert code == 1
    assert "may stay hidden investigate: overlap@10 is" in said
    for word in (
        "overlap@20",
        "rank-biased overlap (p 0.9)",
        "[red]",
        "cut-off 0.5 becomes",
        "changed most",
        "report 1",
    ):
        assert word in said
    code, said = verb("validate", "docs", "--queries", str(path), "--json", "-k", "3")
    found: dict[str, Any] = json.loads(said)
    assert code == 1
    assert found["verdict"]["outcome"] == "investigate"
    assert set(found["agreement"]["overlap"]) == {"3", "10"}
    assert found["id"] == 2
    code, said = verb("validate", "docs", "--queries", str(tmp_path / "none.jsonl"))
    assert (code, "cannot be read" in said) == (2, True)


def test_the_command_line_exits_0_for_a_pass(migrated: Migrated, verb: Verb, tmp_path: Path) -> None:
    migrated(120, model=TWIN)
    path = tmp_path / "q.txt"
    path.write_text("\n".join(QUERIES))
    code, said = verb("validate", "docs", "--queries", str(path))
    assert code == 0
    assert "may stay hidden pass by overlap: overlap@10 is 1.000" in said
