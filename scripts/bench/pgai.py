"""Rows a second of reembed against pgai 0.12.1's vectorizer worker: the same Postgres, the same endpoint.

    python scripts/bench/pgai.py --pgai /tmp/pgai       50,000 short rows, some minutes
    python scripts/bench/pgai.py --pgai /tmp/pgai --quick

The endpoint speaks OpenAI's protocol and answers at once, so that what is measured is reading, asking and writing. Both
work off the same table of short texts, 128 dimensions, into a table beside it, in two rounds of random order;
only ratios count. Each is its command, started once all is set up, until all rows are done. pgai comes from a virtual
environment of its own: pip install 'pgai[vectorizer-worker]==0.12.1'. It is measured with its defaults, with two
workers, and with the largest batches it takes (2,048 rows, 10 at a time); without splitting texts, without an index.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from ground import fresh_copy, hashing_model, keep, machine, make_table, make_texts, register, server

from embedmig.db import Database
from embedmig.schema.expanding import expand
from embedmig.types import Model, Placement

DIMENSIONS = 128
STUB = Path(__file__).parent / "stub.py"
Side = Callable[[str], tuple[float, int]]
"""Embeds all rows of the database; gives the seconds its command took, and how many have a vector."""


def main() -> None:
    """Measures, prints and keeps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pgai", type=Path, required=True, help="A virtual environment with pgai 0.12.1.")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--quick", action="store_true", help="2,000 rows unless told")
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    rows = given.rows or (2_000 if given.quick else 50_000)
    found: dict[str, Any] = {"rows": rows, "dimensions": DIMENSIONS, "machine": machine()}
    os.environ["OPENAI_API_KEY"] = "none-is-asked-for"
    with server() as url, stub() as base_url:
        make_table(url, make_texts(rows, words=8), DIMENSIONS, index=False, vectors=False)
        sides: dict[str, Side] = {
            "embedmig": lambda inside: ours(inside, base_url),
            "pgai": lambda inside: pgai(inside, base_url, given.pgai),
            "pgai, 2 workers": lambda inside: pgai(inside, base_url, given.pgai, workers=2),
            "pgai, large batches": lambda inside: pgai(
                inside, base_url, given.pgai, ", processing => ai.processing_default(2048, 10)"
            ),
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(1 if given.quick else 2):
            for name in random.sample(list(sides), len(sides)):
                seconds[name].append(measure(url, sides[name], rows))
    found["sides"] = {
        name: {"rows_per_s": rows * len(took) / sum(took), "seconds": took} for name, took in seconds.items()
    }
    found["load_average_after"] = os.getloadavg()
    if not given.quick:
        keep("pgai", found)
    print(json.dumps(found, default=str) if given.as_json else table(found))


@contextmanager
def stub() -> Iterator[str]:
    """The endpoint in a process of its own; gives its address."""
    process = subprocess.Popen(
        [sys.executable, STUB, str(DIMENSIONS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.stdin.close()
        process.wait()


def measure(url: str, side: Side, rows: int) -> float:
    with fresh_copy(url) as inside:
        seconds, done = side(inside)
    if done != rows:
        raise SystemExit(f"{done} of {rows} rows have a vector: the comparison is worth nothing")
    return seconds


def run(command: list[str | Path]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - began


def count(inside: str, query: LiteralString) -> int:
    with psycopg.connect(inside) as conn:
        row = conn.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def ours(inside: str, base_url: str) -> tuple[float, int]:
    """`embedmig reembed` into a companion."""
    new = Model(
        name="new",
        revision="1",
        provider="openai",
        dimensions=DIMENSIONS,
        options={"model": "stub", "base_url": base_url},
    )
    with Database(inside).connect() as conn:
        docs = register(conn, hashing_model("old", DIMENSIONS), new)
        expand(conn, docs, new, Placement.COMPANION)
    seconds = run([Path(sys.executable).parent / "embedmig", "reembed", "docs", "--json", "--database-url", inside])
    return seconds, count(inside, "SELECT count(embedding) FROM embedmig.docs_v2")


def pgai(inside: str, base_url: str, venv: Path, options: str = "", *, workers: int = 1) -> tuple[float, int]:
    """Its worker, until its queue is empty."""
    run([venv / "bin" / "pgai", "install", "-d", inside])
    with psycopg.connect(inside, autocommit=True) as conn:
        # Its view shows the source's columns beside its own, which is named embedding, too.
        conn.execute("ALTER TABLE docs RENAME COLUMN embedding TO old_embedding")
        conn.execute(
            "SELECT ai.create_vectorizer('docs'::regclass, loading => ai.loading_column('body'),"
            f" embedding => ai.embedding_openai('stub', {DIMENSIONS}, base_url => '{base_url}'),"
            " chunking => ai.chunking_none(), indexing => ai.indexing_none(), scheduling => ai.scheduling_none(),"
            f" destination => ai.destination_table('docs_embeddings'){options})"
        )
    worker = ["vectorizer", "worker", "-d", inside, "--once", "--log-level", "ERROR", "-c", str(workers)]
    seconds = run([venv / "bin" / "pgai", *worker])
    return seconds, count(inside, "SELECT count(embedding) FROM docs_embeddings_store")


def table(found: dict[str, Any]) -> str:
    own = found["sides"]["embedmig"]["rows_per_s"]
    lines = [
        f"{found['rows']:,} short rows, {found['dimensions']} dimensions, an endpoint that answers at once; load"
        f" {found['machine']['load_average'][0]} to {found['load_average_after'][0]:.1f} on"
        f" {found['machine']['cores']} cores",
        f"{'':22} {'rows/s':>8} {'embedmig is':>12}",
    ]
    lines += [
        f"{name:22} {side['rows_per_s']:8,.0f} {own / side['rows_per_s']:11.1f}x"
        for name, side in found["sides"].items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
