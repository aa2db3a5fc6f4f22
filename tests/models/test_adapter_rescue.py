"""The old model is gone and only its vectors are left: a real model's queries are answered from them."""

from pathlib import Path

import numpy as np
import pytest

from embedmig import Searcher, commands
from embedmig.db import Connection, Database
from embedmig.demo.models import minilm_path
from embedmig.embedders import load_embedder
from embedmig.settings import Settings
from embedmig.types import Model

pytestmark = pytest.mark.models

ANIMALS = ("cat", "dog", "horse", "eagle", "shark", "spider", "whale", "ant", "lion", "snake", "frog", "owl", "bear")
DOES = (
    "sleeps in the sun", "hunts at night", "crosses a river", "feeds its young", "hides from rain", "looks for food",
    "fights a rival", "runs from a fire", "rests in a tree", "digs a hole", "sings at dawn", "plays in the snow",
    "guards its nest", "follows a trail", "waits for prey", "drinks at a pool", "climbs a hill", "hears a storm",
    "grows old", "sheds its skin",
)  # fmt: skip
TEXTS = [f"The {animal} {does}." for animal in ANIMALS for does in DOES]


def test_queries_by_a_real_model_find_their_rows_among_vectors_of_one_that_is_gone(
    db: Database, conn: Connection, tmp_path: Path
) -> None:
    commands.model_add(db, "minilm@1", provider="sentence-transformers", options={"path": str(minilm_path())})
    commands.model_add(db, "old@1", provider="none", dimensions=128, state="gone")
    new: Model = commands.model_show(db, "minilm@1").model
    # What another model of the same family gave once: a part of the new space, turned and blurred.
    rng = np.random.default_rng(0)
    turned = load_embedder(new).embed_documents(TEXTS) @ np.linalg.qr(rng.normal(size=(384, 384)))[0][:, :128]
    stored = turned / np.linalg.norm(turned, axis=1, keepdims=True) + rng.normal(size=turned.shape) * 0.01
    conn.execute("CREATE TABLE docs (id int PRIMARY KEY, body text, embedding vector(128))")
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO docs VALUES (%s, %s, %s)",
            [(row, text, vector) for row, (text, vector) in enumerate(zip(TEXTS, stored, strict=True))],
        )
    commands.collection_add(db, "docs", table="public.docs", text=["body"], embedding="embedding", model="old@1")
    settings = Settings(cache_dir=tmp_path)
    fitted = commands.adapter_fit(db, "docs", to="minilm@1", kind="procrustes", settings=settings)
    assert fitted.adapter is not None
    assert commands.adapter_use(db, "docs", fitted.adapter.name).asked_model == "minilm@1"
    with Searcher.connect("docs", database_url=db.url) as search:
        found = [search(TEXTS[row], k=5) for row in range(0, len(TEXTS), 20)]
    hits = [row in {hit.key for hit in hits} for row, hits in zip(range(0, len(TEXTS), 20), found, strict=True)]
    assert np.mean(hits) > 0.8
