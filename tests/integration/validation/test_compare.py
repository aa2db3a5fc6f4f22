"""compare: candidates on a sample, against numpy; nothing of the table changes."""

import json
from collections.abc import Callable
from dataclasses import replace
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedmig.catalog.models import get_model, update_model
from embedmig.commands import candidates_page, compare, model_add, validate
from embedmig.db import Connection, Database
from embedmig.embedders import load_embedder, take_fingerprint
from embedmig.errors import NotFoundError, RefusedError, UsageError
from embedmig.settings import Settings
from embedmig.types import Collection, Floats, Key, Model, ModelState, Placement
from embedmig.validation.candidate_vectors import Needed
from embedmig.validation.candidates import CandidatesReport, VariantResult
from embedmig.validation.pair import Pair
from tests.browser import CHROMIUM, Browser
from tests.integration.validation.conftest import texts_of
from tests.support import NEW, OLD, embed, make_docs

Verb = Callable[..., tuple[int, str]]
Migrated = Callable[..., Pair]

QUERIES = [
    {"query": f"row {number} speaks of word{number % 7} and thing{number % 11}", "relevant": {str(number): 1}}
    for number in range(1, 41)
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Vectors are kept in a folder of the test's own."""
    return Settings(cache_dir=tmp_path / "cache")


@pytest.fixture
def docs(db: Database, conn: Connection) -> Collection:
    """120 rows embedded by old@1; wide@1 and priced@1 are registered with fingerprints."""
    collection = make_docs(conn, 120)
    for key, dimensions, price in (("wide@1", 128, None), ("priced@1", 40, 0.5)):
        options = {"dimensions": dimensions, "seed": 5}
        model_add(db, key, provider="hashing", options=options, price=price)
    return collection


def _vectors(conn: Connection, collection: Collection, model: Model) -> tuple[list[Key], Floats, Floats]:
    rows = texts_of(conn, collection)
    asked = embed(model, [str(query["query"]) for query in QUERIES])
    return [tuple(row["key"]) for row in rows], embed(model, [row["text"] for row in rows]), asked


def _top(conn: Connection, collection: Collection, model: Model, k: int = 10) -> list[list[Key]]:
    """The k nearest keys of each query, by numpy alone."""
    keys, documents, asked = _vectors(conn, collection, model)
    cosines = documents.astype(np.float64) @ asked.astype(np.float64).T
    return [[keys[place] for place in np.argsort(-column.round(7), kind="stable")[:k]] for column in cosines.T]


def _whole(report: CandidatesReport, model: str) -> VariantResult:
    return next(one for one in report.candidates if one.model == model).variants[0]


def test_overlap_and_quality_are_what_numpy_counts_over_the_same_rows(
    db: Database, conn: Connection, docs: Collection, settings: Settings
) -> None:
    report = compare(db, "docs", ["wide@1"], queries=QUERIES, sample=500, settings=settings)
    assert (report.rows, report.judged_rows, report.queries.judged) == (120, 40, 40)
    before, after = (_top(conn, docs, get_model(conn, key)) for key in ("old@1", "wide@1"))
    whole = _whole(report, "wide@1")
    assert whole.overlap is not None
    assert whole.overlap.mean == pytest.approx(
        np.mean([len(set(a) & set(b)) / 10 for a, b in zip(before, after, strict=True)])
    )
    qualities = []
    for found in (before, after):
        places = [keys.index((str(n),)) if (str(n),) in keys else None for n, keys in enumerate(found, start=1)]
        qualities.append(np.mean([0 if place is None else 1 / log2(place + 2) for place in places]))
    assert _whole(report, "old@1").quality["nDCG@10"].mean == pytest.approx(qualities[0])
    assert whole.quality["nDCG@10"].mean == pytest.approx(qualities[1])
    assert whole.gain is not None
    assert whole.gain.mean == pytest.approx(qualities[1] - qualities[0])


def test_the_present_model_is_always_among_them_by_the_vectors_that_the_table_holds(
    db: Database, conn: Connection, docs: Collection, settings: Settings
) -> None:
    conn.execute("UPDATE docs SET embedding = (SELECT embedding FROM docs WHERE id = 1)")
    report = compare(db, "docs", ["wide@1"], queries=QUERIES, settings=settings)
    assert [(one.model, one.is_today) for one in report.candidates] == [("old@1", True), ("wide@1", False)]
    today = _whole(report, "old@1")
    assert today.is_today
    assert today.quality["R@100"].mean == pytest.approx(1.0)
    # All rows are equally near: what stands first is the first key as everywhere, and only query 1..10 find theirs.
    assert today.quality["nDCG@10"].mean == pytest.approx(sum(1 / log2(n + 1) for n in range(1, 11)) / 40)
    assert [variant.name for variant in report.candidates[1].variants] == [
        "vector",
        "halfvec",
        "first 64 as vector",
        "first 64 as halfvec",
        "first 32 as vector",
        "first 32 as halfvec",
        "bits in the index, 100 re-ranked",
        "bits",
    ]


def test_judged_rows_are_in_every_sample_and_the_sample_is_the_same_for_the_same_seed(
    db: Database, docs: Collection, settings: Settings
) -> None:
    small = compare(db, "docs", ["wide@1"], queries=QUERIES[:5], sample=30, settings=settings)
    assert (small.rows, small.judged_rows) == (30, 5)
    again = compare(db, "docs", ["wide@1"], queries=QUERIES[:5], sample=30, settings=settings)
    assert again.candidates[1].variants == small.candidates[1].variants
    assert compare(db, "docs", ["wide@1"], queries=QUERIES, sample=3, settings=settings).rows == 40
    unknown = [{"query": "word1", "relevant": {"1": 1, "9999": 1}}]
    assert compare(db, "docs", ["wide@1"], queries=unknown, settings=settings).queries.unknown_judgments == 1


def test_a_second_run_asks_no_model_and_says_so_beforehand(db: Database, docs: Collection, settings: Settings) -> None:
    told: list[list[Needed]] = []
    first = compare(
        db, "docs", ["priced@1"], queries=QUERIES, settings=settings, on_plan=lambda needed: told.append([*needed])
    )
    second = compare(
        db, "docs", ["priced@1"], queries=QUERIES, settings=settings, on_plan=lambda needed: told.append([*needed])
    )
    # old@1 has no fingerprint in this database: its queries are embedded each time.
    assert [one.forecast.texts for one in told[0]] == [40, 160]
    assert [one.forecast.texts for one in told[1]] == [40, 0]
    assert told[0][1].forecast.cost == pytest.approx(told[0][1].forecast.tokens * 0.5 / 1e6)
    assert [(one.asked, one.reused) for one in first.candidates] == [(40, 0), (160, 0)]
    assert [(one.asked, one.reused) for one in second.candidates] == [(40, 0), (0, 160)]
    assert second.candidates[1].variants == first.candidates[1].variants
    assert second.candidates[1].latency == first.candidates[1].latency is not None
    assert first.candidates[1].cost_per_million_rows == pytest.approx(first.candidates[1].tokens_a_row * 0.5)
    assert first.candidates[0].cost_per_million_rows is None


def test_a_run_that_was_cut_short_goes_on_where_it_stopped(db: Database, docs: Collection, settings: Settings) -> None:
    def interrupt(step: str, done: int, total: int | None) -> None:
        if step == "embed by wide@1" and done >= 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(db, "docs", ["wide@1"], queries=QUERIES, settings=settings, on_progress=interrupt)
    report = compare(db, "docs", ["wide@1"], queries=QUERIES, settings=settings)
    # All 40 queries, and what was embedded of the rows.
    assert (report.candidates[1].asked, report.candidates[1].reused) == (56, 104)


def test_without_judgments_it_says_that_nobody_can_tell_which_is_better(
    db: Database, docs: Collection, settings: Settings
) -> None:
    report = compare(db, "docs", ["wide@1"], queries_from_rows=20, settings=settings)
    assert "nobody judged" in report.sentence
    assert _whole(report, "wide@1").quality == {}
    assert _whole(report, "wide@1").overlap is not None
    assert any("proxy" in note for note in report.queries.notes)


def test_a_present_model_that_is_gone_is_shown_and_not_asked(
    db: Database, conn: Connection, docs: Collection, settings: Settings
) -> None:
    update_model(conn, replace(get_model(conn, "old@1"), state=ModelState.GONE))
    report = compare(db, "docs", ["wide@1"], queries=QUERIES, settings=settings)
    assert report.candidates[0].latency is None
    assert _whole(report, "wide@1").overlap is None
    assert _whole(report, "wide@1").gain is None
    assert "old@1 cannot be asked" in report.sentence
    update_model(conn, replace(get_model(conn, "wide@1"), state=ModelState.GONE))
    with pytest.raises(RefusedError, match="wide@1 is gone"):
        compare(db, "docs", ["wide@1"], queries=QUERIES, settings=settings)


def test_a_slot_in_a_companion_and_a_key_of_several_columns_can_be_compared_too(
    migrated: Migrated, db: Database, conn: Connection, settings: Settings
) -> None:
    pair = migrated(50, Placement.COMPANION, key=(("tenant", "text"), ("id", "integer")))
    conn.execute("UPDATE embedmig.migration SET closed_at = now()")
    conn.execute("UPDATE embedmig.slot SET dropped_at = now() WHERE id = %s", [pair.source.id])
    row = texts_of(conn, pair.collection)[7]
    asked: list[Any] = [{"query": row["text"], "relevant": [row["key"]]}]
    report = compare(db, "docs", ["old@1"], queries=asked, settings=settings)
    assert report.today == "new@1"
    assert all(one.variants[0].quality["nDCG@10"].mean == 1.0 for one in report.candidates)


def test_what_cannot_be_compared_is_refused(db: Database, conn: Connection, docs: Collection) -> None:
    with pytest.raises(NotFoundError, match="nobody@1"):
        compare(db, "docs", ["nobody@1"], queries=["a"])
    with pytest.raises(UsageError, match="nothing to ask"):
        compare(db, "docs", ["wide@1"])
    with pytest.raises(UsageError, match="name a model"):
        compare(db, "docs", [], queries=["a"])
    conn.execute("UPDATE docs SET embedding = NULL")
    with pytest.raises(RefusedError, match="nothing to try on"):
        compare(db, "docs", ["wide@1"], queries=["a"])


def test_the_verb_prints_a_table_json_and_a_page_that_fetches_and_runs_nothing(
    db: Database, docs: Collection, verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDMIG_CACHE_DIR", str(tmp_path / "cache"))
    file, page = tmp_path / "q.jsonl", tmp_path / "page.html"
    file.write_text("\n".join(json.dumps(query) for query in QUERIES))
    options = ["compare", "docs", "--model", "wide@1", "--queries", str(file), "--shortened-to", "48"]
    code, shown = verb(*options, "--report", str(page))
    assert code == 0
    assert "wide@1 is asked for 160 texts" in shown
    assert "first 48 as halfvec" in shown
    assert "hnsw over bit" in shown
    html = page.read_text(encoding="utf-8")
    assert "wide@1" in html
    assert "default-src 'none'" in html
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "")
    code, printed = verb(*options, "--json")
    found = json.loads(printed)
    assert [one["model"] for one in found["candidates"]] == ["old@1", "wide@1"]
    assert found["candidates"][1]["reused"] == 160


def test_markup_in_what_users_named_stays_text_on_the_page(
    db: Database, docs: Collection, settings: Settings, tmp_path: Path
) -> None:
    report = compare(db, "docs", ["wide@1"], queries=QUERIES, settings=settings)
    odd = replace(report, collection="<b>docs</b>", queries=replace(report.queries, origin="<img src=x>.jsonl"))
    html = candidates_page(odd, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;docs&lt;/b&gt;" in html
    assert "<img" not in html


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt install chromium")
@pytest.mark.parametrize(("queries", "width", "dark"), [(QUERIES, 390, True), (["word1 thing2"], 1200, False)])
def test_the_page_fits_a_desk_and_a_phone_and_asks_nothing_of_any_network(
    db: Database, docs: Collection, settings: Settings, tmp_path: Path, browser: Browser, queries: Any, width: int,
    dark: bool,
) -> None:  # fmt: skip
    report = compare(db, "docs", ["wide@1"], queries=queries, settings=settings)
    path = candidates_page(report, tmp_path / "page.html")
    browser.open(path, width=width, dark=dark)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.requests == [path.resolve().as_uri()]
    assert browser.complaints == []
    assert browser.evaluate("document.scripts.length") == 0
    assert report.sentence in browser.evaluate("document.body.textContent")


def test_validate_does_not_embed_a_query_again_that_a_cut_short_run_embedded(
    migrated: Migrated, db: Database, conn: Connection, settings: Settings, tmp_path: Path
) -> None:
    migrated(60, Placement.COLUMN)
    for model in (OLD, NEW):
        fingerprint = take_fingerprint(model, load_embedder(model)).to_bytes()
        conn.execute("UPDATE embedmig.model SET fingerprint = %s WHERE id = %s", [fingerprint, model.id])
    texts = [str(query["query"]) for query in QUERIES]

    def interrupt(step: str, done: int, total: int | None) -> None:
        if step == "exact":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        validate(db, "docs", queries=texts, settings=settings, on_progress=interrupt)
    report = validate(db, "docs", queries=texts, settings=settings)
    kept = sorted(path.stat().st_size for path in (tmp_path / "cache" / "vectors").glob("*-queries.f32"))
    assert kept == [40 * (16 + 4 * OLD.dimensions), 40 * (16 + 4 * NEW.dimensions)]
    fresh = validate(db, "docs", queries=texts, settings=Settings(cache_dir=tmp_path / "other"))
    assert fresh.results == report.results
    # How long a query took is known to a run that embedded none.
    paces = [float(path.read_text()) for path in (tmp_path / "cache" / "vectors").glob("*-queries.pace")]
    assert sorted(paces) == pytest.approx(sorted([report.source.embed_ms, report.target.embed_ms]), rel=1e-4)
