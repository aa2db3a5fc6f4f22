"""How much a search through embedmig costs over the same statement sent by psycopg itself.

    python scripts/bench/search.py            100,000 rows of 128 dimensions with HNSW, some minutes
    python scripts/bench/search.py --quick    5,000 rows, seconds
    python scripts/bench/search.py --best-of 5   for a busy machine: of five times a side, the best counts

Every query is asked of all sides, in random order, in one run: what else the machine does hits all alike. Only ratios
count. Beside the time that passed stands the time that processors spent, in this process and in the server's (Linux
tells): about what would pass on a machine with nothing else to do. Sides: the statement without the check (bare
psycopg, prepared), with the check, Searcher with an Embedding, and embedmig.search_v1, which clients in other languages
call.

Then, in blocks that take turns, texts: bare psycopg with the model in front, Searcher, and Searcher with shadow reads
of 10 % in a migration whose target has as many rows. And the throughput of 16 clients on one event loop, a connection
each: bare psycopg and AsyncSearcher.
"""

import argparse
import asyncio
import json
import random
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from ground import server
from pgvector.psycopg import register_vector, register_vector_async
from psycopg.rows import tuple_row

from embedmig import AsyncSearcher, Embedding, Searcher, ShadowOptions
from embedmig.catalog import collections, models, routes, slots
from embedmig.catalog.install import install
from embedmig.db import Database
from embedmig.embedders import load_embedder
from embedmig.schema.expanding import expand
from embedmig.schema.indexes import build_index
from embedmig.search.routing import routing_bucket
from embedmig.types import Collection, Floats, KeyColumn, Maintainer, Model, Placement, Slot

WARM_UP = 200
CLIENTS = 16
ROUNDS = 12
BLOCK = 50
FROM_SQL = "SELECT key, distance, stale FROM embedmig.search_v1('docs', %(embedmig_query)s, 'bench@1', 10)"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--queries", type=int)
    parser.add_argument("--best-of", type=int, default=1)
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    rows = given.rows or (5_000 if given.quick else 100_000)
    queries = given.queries or (400 if given.quick else 3_000)
    with server() as url:
        vectors = make_vectors(rows + queries + WARM_UP, given.dimensions)
        fill(url, vectors[:rows])
        found = compare(url, vectors[rows:], given.best_of)
        found["clients"] = asyncio.run(compare_clients(url, vectors[rows:], 20 if given.quick else 60, given.best_of))
        open_migration(url, vectors[:rows])
        found["texts"] = compare_texts(url, queries, given.best_of)
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


def make_model(name: str, dimensions: int) -> Model:
    """A model that computes next to nothing, so that what is measured is not the model."""
    return Model(name=name, revision="1", provider="hashing", dimensions=dimensions, options={"dimensions": dimensions})


def register(conn: Any, dimensions: int) -> None:
    """The catalog's rows; no verb is measured here."""
    model = make_model("bench", dimensions)
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


def compare(url: str, queries: Floats, best_of: int) -> dict[str, Any]:
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
        without = unchecked(with_check)
        route = {"embedmig_group": "docs", "embedmig_epoch": explained.epoch}
        sides: dict[str, Callable[[Any], Any]] = {
            "bare": sender(bare, without, {}),
            "check": sender(checked, with_check, route),
            "searcher": searcher.search,
            "search_v1": sender(by_function, FROM_SQL, {}),
        }
        times = measure(sides, queries, best_of)
        with searcher._pool.connection() as its_own:
            backends = {"bare": bare, "check": checked, "searcher": its_own, "search_v1": by_function}
            pids = {name: conn.info.backend_pid for name, conn in backends.items()}
        spent = measure_processors(sides, pids, queries)
    return {
        "p50_us": summary(times, 50), "p99_us": summary(times, 99), "cpu_us": spent, "queries": len(queries) - WARM_UP
    }  # fmt: skip


def unchecked(statement: str) -> str:
    """The statement of a search as one would write it without embedmig."""
    bare = re.sub(r"\(SELECT true FROM embedmig\.route .*?epoch\)s\)", "true", statement)
    assert "embedmig.route" not in bare
    return bare


def sender(conn: psycopg.Connection[Any], text: str, params: dict[str, Any]) -> Callable[[Floats], Any]:
    """Sends the statement as psycopg does it best: one cursor, prepared, vectors in binary."""
    register_vector(conn)
    cursor = conn.cursor(row_factory=tuple_row)
    statement: Any = text.encode()

    def send(vector: Floats) -> Any:
        return cursor.execute(statement, {"embedmig_query": vector, **params}, prepare=True).fetchall()

    return send


def measure(sides: dict[str, Callable[[Any], Any]], queries: Floats, best_of: int) -> dict[str, list[float]]:
    """Seconds of every query, the first ones left out."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number, vector in enumerate(queries):
        asked = dict.fromkeys(sides, vector) | {"searcher": Embedding(vector, model="bench@1")}
        taken: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(best_of):
            for name in random.sample(list(sides), len(sides)):
                taken[name].append(timed(sides[name], asked[name]))
        if number >= WARM_UP:
            for name in sides:
                times[name].append(min(taken[name]))
    return times


def measure_processors(
    sides: dict[str, Callable[[Any], Any]], pids: dict[str, int], queries: Floats
) -> dict[str, float]:
    """Microseconds of processors for a search, here and in its backend: the median of blocks that take turns."""
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for begin in range(0, len(queries) - BLOCK + 1, BLOCK):
        for name in random.sample(list(sides), len(sides)):
            block = queries[begin : begin + BLOCK]
            asked = [Embedding(vector, model="bench@1") for vector in block] if name == "searcher" else list(block)
            before = on_processors_ns(pids[name])
            for query in asked:
                sides[name](query)
            # The server notes what a process took when it lies down to wait.
            time.sleep(0.001)
            spent[name].append((on_processors_ns(pids[name]) - before) / len(asked) / 1000)
    return {name: round(statistics.median(found), 1) for name, found in spent.items()}


def on_processors_ns(backend_pid: int) -> int:
    """Of this thread and a backend, so far."""
    return time.thread_time_ns() + int(Path(f"/proc/{backend_pid}/schedstat").read_text().split()[0])


async def compare_clients(url: str, queries: Floats, each: int, best_of: int) -> dict[str, float]:
    """Searches a second of 16 clients on one event loop, each with a connection: the median of rounds that take
    turns, or the best of them."""
    embeddings = [Embedding(vector, model="bench@1") for vector in queries]
    bare = [await psycopg.AsyncConnection.connect(url, autocommit=True) for _ in range(CLIENTS)]
    async with await AsyncSearcher.connect("docs", database_url=url, max_connections=CLIENTS) as searcher:
        statement: Any = unchecked((await searcher.explain(embeddings[0])).sql).encode()
        cursors = []
        for conn in bare:
            await register_vector_async(conn)
            cursors.append(conn.cursor(row_factory=tuple_row))

        async def ask_bare(client: int, number: int) -> None:
            cursor = cursors[client]
            await cursor.execute(statement, {"embedmig_query": queries[number]}, prepare=True)
            await cursor.fetchall()

        async def ask_searcher(_: int, number: int) -> None:
            await searcher.search(embeddings[number])

        sides = {"bare": ask_bare, "searcher": ask_searcher}
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(ROUNDS + 1):
            for name in random.sample(list(sides), len(sides)):
                rate = await measure_round(sides[name], each, len(queries))
                if turn:
                    rates[name].append(rate)
    for conn in bare:
        await conn.close()
    pick = max if best_of > 1 else statistics.median
    return {name: round(pick(found), 1) for name, found in rates.items()}


async def measure_round(ask: Callable[[int, int], Any], each: int, queries: int) -> float:
    """Searches a second."""

    async def client(number: int) -> None:
        for turn in range(each):
            await ask(number, (number * each + turn) % queries)

    start = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return CLIENTS * each / (time.perf_counter() - start)


def open_migration(url: str, vectors: Floats) -> None:
    """A target in a companion, as large as the source, so that shadow reads have something to ask."""
    db = Database(url)
    with db.connect() as conn:
        models.add_model(conn, make_model("next", vectors.shape[1]), None)
        docs = collections.get_collection(conn, "docs")
        target = expand(conn, docs, models.get_model(conn, "next@1"), Placement.COMPANION).target
        assert target.model_column is not None
        columns = f"id, {target.vector_column}, {target.model_column}"
        copy_in = f"COPY {target.schema}.{target.table} ({columns}) FROM STDIN (FORMAT BINARY)"
        with conn.cursor() as cursor, cursor.copy(copy_in.encode()) as copy:
            copy.set_types(["bigint", "vector", "integer"])
            for number, vector in enumerate(vectors):
                copy.write_row((number, vector[::-1].copy(), target.model.id))
    build_index(db, docs, target)
    with db.connect() as conn:
        slots.mark_filled(conn, target)


def compare_texts(url: str, count: int, best_of: int) -> dict[str, Any]:
    """Microseconds of a search by text, in blocks that take turns, so that shadows fall into their own side's time."""
    embedder = load_embedder(make_model("bench", dimensions_of(url)))
    with (
        psycopg.connect(url, autocommit=True) as conn,
        Searcher.connect("docs", database_url=url, max_connections=1) as plain,
        Searcher.connect("docs", database_url=url, max_connections=1, shadow=ShadowOptions(share=0.1)) as shadowing,
    ):
        send = sender(conn, unchecked(plain.explain("text").sql), {})
        sides: dict[str, Callable[[str], Any]] = {
            "bare": lambda text: send(embedder.embed_queries([text])[0]),
            "searcher": plain.search,
            "shadow 10 %": shadowing.search,
        }
        times: dict[str, list[float]] = {name: [] for name in sides}
        texts = [f"words{number} and thing{number % 97} of {number % 13}" for number in range(count + WARM_UP)]
        for begin in range(0, len(texts), BLOCK):
            blocks: dict[str, list[list[float]]] = {name: [] for name in sides}
            for name in random.sample(list(sides) * best_of, len(sides) * best_of):
                blocks[name].append([timed(sides[name], text) for text in texts[begin : begin + BLOCK]])
                wait_for_shadows(shadowing)
            if begin >= WARM_UP:
                for name in sides:
                    times[name] += map(min, zip(*blocks[name], strict=True))
    return {"p50_us": summary(times, 50), "p99_us": summary(times, 99)}


def timed(ask: Callable[[Any], Any], query: Any) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    ask(query)
    return time.perf_counter() - start


def wait_for_shadows(searcher: Searcher) -> None:
    """Until none waits, and the last has had its time."""
    shadows = searcher._notes._shadows
    while shadows is not None and not shadows._waiting.empty():
        time.sleep(0.001)
    time.sleep(0.005)


def dimensions_of(url: str) -> int:
    """Of the source's vectors."""
    with Database(url).connect() as conn:
        return models.get_model(conn, "bench@1").dimensions


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
    head = f"{'p50 us':>8} {'ratio':>6} {'p99 us':>8} {'ratio':>6}"
    lines += [f"{'an Embedding':13} {head} {'cpu us':>8} {'ratio':>6}", *times_table(found), ""]
    lines += [f"{'a text':13} {head}", *times_table(found["texts"])]
    clients = found["clients"]
    lines.append(
        f"\n{CLIENTS} clients on one event loop: bare {clients['bare']:,.0f}/s, AsyncSearcher"
        f" {clients['searcher']:,.0f}/s, {clients['searcher'] / clients['bare']:.3f} of it"
    )
    lines.append(f"routing alone: {found['routing_us']} us")
    return "\n".join(lines)


def times_table(found: dict[str, Any]) -> list[str]:
    """One line a side."""
    lines = []
    for side in found["p50_us"]:
        cells = []
        for percentile in [name for name in ("p50_us", "p99_us", "cpu_us") if name in found]:
            value, bare = found[percentile][side], found[percentile]["bare"]
            cells.append(f"{value:8.0f} {value / bare:6.3f}")
        lines.append(f"{side:13} {' '.join(cells)}")
    return lines


if __name__ == "__main__":
    main()
