"""Reports that lack something, or have everything: each makes a page."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from embedmig.catalog.models import update_model
from embedmig.commands import report_page, validate
from embedmig.db import Connection, Database
from embedmig.types import Distance, ModelState, Placement
from embedmig.validation.options import Options
from embedmig.validation.pair import Pair
from tests.integration.validation.conftest import fill
from tests.support import NEW, OLD

Migrated = Callable[..., Pair]

QUERIES = [f"row {number} speaks of word{number % 7} and thing{number % 11}" for number in range(1, 41)]


def _page(db: Database, tmp_path: Path) -> str:
    return report_page(db, "docs", tmp_path / "report.html").read_text(encoding="utf-8")


def test_one_query_over_six_rows(migrated: Migrated, db: Database, tmp_path: Path) -> None:
    migrated(6)
    validate(db, "docs", queries=["row 5"])
    page = _page(db, tmp_path)
    assert "Investigate" in page
    assert "no index was asked" in page


def test_models_that_agree_on_everything(migrated: Migrated, db: Database, tmp_path: Path) -> None:
    migrated(120, model=replace(OLD, revision="2"))
    validate(db, "docs", queries=QUERIES)
    page = _page(db, tmp_path)
    assert "Every query has the same results in the same order." in page
    assert "✓ Pass" in page


def test_both_indexes_with_their_latency_and_curve(
    migrated: Migrated, db: Database, conn: Connection, tmp_path: Path
) -> None:
    migrated(120, Placement.COLUMN)
    conn.execute("CREATE INDEX ON docs USING hnsw (embedding vector_cosine_ops)")
    conn.execute("CREATE INDEX ON docs USING ivfflat (embedding_v2 vector_cosine_ops) WITH (lists = 5)")
    report = validate(db, "docs", queries=QUERIES)
    page = _page(db, tmp_path)
    for side in (report.source, report.target):
        assert side.index is not None
        assert f"{side.index.p95_ms:.1f} ms" in page
        assert f"{side.slot} by {side.index.setting}" in page
    assert "v2 by probes" in page
    assert report.probes_to_keep_recall in (1, 2, 5)
    assert f"probes <b>{report.probes_to_keep_recall}</b>" in page


def test_a_model_that_measures_by_distance(migrated: Migrated, db: Database, tmp_path: Path) -> None:
    migrated(120, model=replace(NEW, revision="l2", distance=Distance.L2))
    validate(db, "docs", queries=QUERIES, options=Options(cutoffs=(0.7,)))
    page = _page(db, tmp_path)
    assert "The two are measured differently (cosine, l2)" in page
    assert "&lt;-&gt; query) &lt;= " in page or "&lt;-&gt; query &lt;= " in page


def test_stored_rows_that_serve_as_queries_once_a_model_is_gone(
    migrated: Migrated, db: Database, conn: Connection, tmp_path: Path
) -> None:
    pair = migrated(120)
    update_model(conn, replace(pair.source.model, state=ModelState.GONE))
    validate(db, "docs", queries=[{"query": query, "relevant": [str(n)]} for n, query in enumerate(QUERIES, 1)])
    page = _page(db, tmp_path)
    assert "model gone" in page
    assert "stored rows serve as queries" in page


def test_a_part_of_the_rows_and_documents_taken_together(
    migrated: Migrated, db: Database, conn: Connection, tmp_path: Path
) -> None:
    pair = migrated(200, filled=False)
    fill(conn, pair.collection, pair.target, "id % 5 = 0")
    conn.execute("ALTER TABLE docs ADD doc text")
    conn.execute("UPDATE docs SET doc = 'doc ' || id / 10 WHERE id < 150")
    validate(db, "docs", queries=QUERIES, options=Options(by_document="doc"))
    page = _page(db, tmp_path)
    assert "(20% of those served), rows of one doc taken together" in page
    assert "<code>doc 3</code>" in page
    assert "Title 30 The body of row 30" in page
    assert "<code>195</code>" in page
    assert "Title 195 The body of row 195" in page
