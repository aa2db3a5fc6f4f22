"""Exact search of validation, per slot, with the reading from Postgres in the clock, as a ratio to two others:

(a) one exact SQL query per search, index scans off, on a sample of the queries;
(b) faiss's IndexFlatIP over the same arrays, already loaded (pip install 'embedmig[bench]'; left out without it), by
    one thread and by as many as there are processors.

Ours reads, sends and computes at once: where others keep the processors busy (load_before), it waits for its turn more
often than one thread of faiss does.

    python scripts/bench/validation.py                                 # 1,000 queries x 100,000 rows, K = 100
    python scripts/bench/validation.py --rows 1000000 --queries 1000   # peak memory at a million rows
"""

import argparse
import importlib.util
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from pgvector import Vector
from psycopg import sql

from embedmig.db import Connection, Database
from embedmig.db.embedded import start_embedded
from embedmig.types import Collection, Floats, KeyColumn, Maintainer, Model, Placement, Slot
from embedmig.validation.exact import exact_top_k
from embedmig.validation.pair import Pair
from embedmig.validation.snapshot import one_snapshot

FOLDER = Path(__file__).resolve().parents[2] / ".embedmig" / "bench" / "validation"
DIMENSIONS = {"source": 256, "target": 384}
ROWS_AT_ONCE = 20_000


def main() -> None:
    arguments = parse()
    db = Database(start_embedded(FOLDER))
    with db.connect() as conn:
        pair = prepare(conn, arguments.rows, Placement(arguments.placement))
        queries = {side: unit(arguments.queries, width, seed=1) for side, width in DIMENSIONS.items()}
        for side, slot in zip(DIMENSIONS, pair.slots, strict=True):
            print(json.dumps(measure(conn, pair, side, slot, queries[side], arguments)))
        both = (queries["source"], queries["target"])
        seconds, peak_mb = timed(lambda: run_ours(conn, pair, both, arguments))
        print(json.dumps({"slot": "both", "ours_s": round(seconds, 2), "peak_mb_above_baseline": peak_mb}))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--placement", choices=[p.value for p in Placement], default="companion")
    parser.add_argument("--memory-mb", type=int, default=512)
    parser.add_argument("--sql-queries", type=int, default=20, help="how many queries (a) is timed on; 0 leaves it out")
    parser.add_argument("--repeat", type=int, default=5, help="the best of so many runs counts, for each alike")
    parser.add_argument("--no-faiss", dest="faiss", action="store_false", help="leave (b) out")
    arguments = parser.parse_args()
    arguments.faiss &= importlib.util.find_spec("faiss") is not None
    return arguments


def measure(
    conn: Connection, pair: Pair, side: str, slot: Slot, queries: Floats, arguments: argparse.Namespace
) -> dict[str, Any]:
    asked = (queries, None) if side == "source" else (None, queries)
    runs = [timed(lambda: run_ours(conn, pair, asked, arguments)) for _ in range(arguments.repeat)]
    ours = min(seconds for seconds, _ in runs)
    found: dict[str, Any] = {
        "slot": side,
        "dimensions": slot.model.dimensions,
        "rows": arguments.rows,
        "queries": arguments.queries,
        "k": arguments.k,
        "placement": arguments.placement,
        "load_before": round(os.getloadavg()[0], 1),
        "ours_s": round(ours, 2),
        "peak_mb_above_baseline": max(peak for _, peak in runs),
    }
    if arguments.sql_queries:
        by_sql = time_sql(conn, pair, slot, queries[: arguments.sql_queries], arguments.k) * len(queries)
        found |= {"sql_s": round(by_sql, 1), "times_sql": round(by_sql / ours, 1)}
    if arguments.faiss:
        # In a process of its own: the threads of two libraries of linear algebra are in each other's way.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as child:
            times = child.submit(time_faiss, conn.info.dsn, slot, queries, arguments.k, arguments.repeat).result()
        for threads, seconds in times.items():
            found |= {f"faiss_{threads}_threads_s": round(seconds, 2), f"of_faiss_{threads}": round(seconds / ours, 2)}
    return found


def run_ours(conn: Connection, pair: Pair, queries: Any, arguments: argparse.Namespace) -> None:
    with one_snapshot(conn):
        exact_top_k(conn, pair, queries, arguments.k, memory_mb=arguments.memory_mb)


def time_sql(conn: Connection, pair: Pair, slot: Slot, queries: Floats, k: int) -> float:
    """Seconds a query, by a sequential scan of the one table that holds the vectors: no join, the kindest case."""
    statement = sql.SQL("SELECT id FROM {} ORDER BY {} <=> %s LIMIT %s").format(
        sql.Identifier(slot.schema, slot.table), sql.Identifier(slot.vector_column)
    )
    with conn.transaction():
        conn.execute("SET LOCAL enable_indexscan = off")
        began = time.perf_counter()
        for query in queries:
            conn.execute(statement, [query, k]).fetchall()
        return (time.perf_counter() - began) / len(queries)


def time_faiss(dsn: str, slot: Slot, queries: Floats, k: int, repeat: int) -> dict[int, float]:
    """The best of ``repeat`` searches with one thread and with as many as there are processors."""
    import faiss

    with Database(dsn).connect() as conn:
        vectors = load(conn, slot)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    times = {}
    for threads in sorted({1, os.cpu_count() or 1}):
        faiss.omp_set_num_threads(threads)
        runs = []
        for _ in range(repeat):
            began = time.perf_counter()
            index.search(queries, k)
            runs.append(time.perf_counter() - began)
        times[threads] = min(runs)
    return times


def load(conn: Connection, slot: Slot) -> Floats:
    rows = conn.execute(
        sql.SQL("SELECT {} AS v FROM {}").format(
            sql.Identifier(slot.vector_column), sql.Identifier(slot.schema, slot.table)
        )
    )
    return np.stack([row["v"].to_numpy() for row in rows]).astype(np.float32)


def timed(work: Callable[[], None]) -> tuple[float, int]:
    """Seconds, and by how many MB the process was larger at its largest than before anything was searched."""
    Path("/proc/self/clear_refs").write_text("5")
    began = time.perf_counter()
    work()
    return time.perf_counter() - began, (memory_kb("VmHWM") - BASELINE_KB) // 1024


def memory_kb(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))


BASELINE_KB = memory_kb("VmRSS")


def prepare(conn: Connection, rows: int, placement: Placement) -> Pair:
    """Made once for each size and placement, and kept."""
    name = f"docs_{rows}_{placement.value}"
    found = conn.execute("SELECT to_regclass(%s) IS NOT NULL AS there", [name]).fetchone()
    in_row = placement is Placement.COLUMN
    if found is None or not found["there"]:
        with conn.transaction():
            create(conn, name, rows, in_row=in_row)
        conn.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(name)))
        if not in_row:
            conn.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(f"{name}_v2")))
    source = slot_of(1, "source", name, "embedding", Placement.COLUMN)
    target = slot_of(2, "target", name if in_row else f"{name}_v2", "embedding_v2", placement)
    return Pair(collection=collection_of(name), source=source, target=target)


def create(conn: Connection, name: str, rows: int, *, in_row: bool) -> None:
    second = sql.SQL(", embedding_v2 vector(384)") if in_row else sql.SQL("")
    conn.execute(
        sql.SQL("CREATE TABLE {} (id bigint PRIMARY KEY, body text, embedding vector(256){})").format(
            sql.Identifier(name), second
        )
    )
    if not in_row:
        conn.execute(
            sql.SQL("CREATE TABLE {} (id bigint PRIMARY KEY, embedding_v2 vector(384))").format(
                sql.Identifier(f"{name}_v2")
            )
        )
    for start in range(0, rows, ROWS_AT_ONCE):
        numbers = range(start, min(start + ROWS_AT_ONCE, rows))
        old = [Vector(v) for v in unit(len(numbers), 256, seed=start + 2)]
        new = [Vector(v) for v in unit(len(numbers), 384, seed=start + 3)]
        texts = ["x" * 200] * len(numbers)
        if in_row:
            copy(conn, name, ["int8", "text", "vector", "vector"], zip(numbers, texts, old, new, strict=True))
        else:
            copy(conn, name, ["int8", "text", "vector"], zip(numbers, texts, old, strict=True))
            copy(conn, f"{name}_v2", ["int8", "vector"], zip(numbers, new, strict=True))


def copy(conn: Connection, table: str, types: list[str], rows: Any) -> None:
    statement = sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(sql.Identifier(table))
    with conn.cursor() as cursor, cursor.copy(statement) as stream:
        stream.set_types(types)
        for row in rows:
            stream.write_row(row)


def unit(rows: int, width: int, *, seed: int) -> Floats:
    vectors = np.random.default_rng(seed).standard_normal((rows, width), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def collection_of(table: str) -> Collection:
    return Collection(
        id=1,
        name=table,
        group=table,
        schema="public",
        table=table,
        key=(KeyColumn(name="id", type="bigint"),),
        text_columns=("body",),
    )


def slot_of(number: int, side: str, table: str, column: str, placement: Placement) -> Slot:
    return Slot(
        id=number,
        collection_id=1,
        name=f"v{number}",
        model=Model(name=side, revision="1", provider="hashing", dimensions=DIMENSIONS[side]),
        placement=placement,
        schema="public",
        table=table,
        vector_column=column,
        model_column=None,
        hash_column=None,
        maintained_by=Maintainer.APP,
    )


if __name__ == "__main__":
    main()
