"""Whether rows a second and memory stay what they are while the table grows: 10,000, 100,000 and 1,000,000 rows.

    python scripts/bench/growth.py                 some minutes
    python scripts/bench/growth.py --quick         1,000 and 10,000 rows

A tiny embedder (32 dimensions) into a companion, each size in a process of its own. The rate is that between the first
row written and the last, so that start and end, which cost a small job more, are no part of it; the whole time is shown
beside it. Each size is run three times, and the fastest counts: seconds measure the neighbours' load, too.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import threading
import time
from typing import Any

import psycopg
from ground import fresh_copy, hashing_model, keep, machine, make_table, make_texts, register, server

from embedmig.commands import reembed
from embedmig.db import Database
from embedmig.schema.expanding import expand
from embedmig.types import Placement

DIMENSIONS = 32
SIZES = (10_000, 100_000, 1_000_000)
WRITTEN = "SELECT (SELECT coalesce(sum(rows_written), 0) FROM embedmig.chunk)::bigint"


def main() -> None:
    """Measures, prints and keeps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true", dest="as_json")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(fill(given.one)))
        return
    found: dict[str, Any] = {"dimensions": DIMENSIONS, "machine": machine(), "sizes": {}}
    sizes = (1_000, 10_000) if given.quick else SIZES
    with server() as url:
        for rows in sizes:
            make_table(url, make_texts(rows, words=8), DIMENSIONS, name=f"rows_{rows}", index=False, vectors=False)
        # Sizes take turns, so that a neighbour's load hits all alike.
        for _ in range(3):
            for rows in sizes:
                found["sizes"].setdefault(rows, []).append(measure(url, rows))
    found["load_average_after"] = os.getloadavg()
    if not given.quick:
        keep("growth", found)
    print(json.dumps(found, default=str) if given.as_json else table(found))


def measure(url: str, rows: int) -> dict[str, Any]:
    with fresh_copy(url, f"rows_{rows}") as inside:
        done = subprocess.run([sys.executable, __file__, "--one", inside], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        found: dict[str, Any] = json.loads(done.stdout)
    if found["true"] != rows:
        raise SystemExit(f"{found['true']} of {rows} rows have a vector: the figures are worth nothing")
    return found


def fill(inside: str) -> dict[str, Any]:
    """One job in this process."""
    db = Database(inside)
    with db.connect() as conn:
        docs = register(conn, hashing_model("old", DIMENSIONS), hashing_model("new", DIMENSIONS))
        expand(conn, docs, hashing_model("new", DIMENSIONS), Placement.COMPANION)
    samples: list[tuple[float, int]] = []
    over = threading.Event()
    watcher = threading.Thread(target=watch, args=(inside, over, samples))
    watcher.start()
    began = time.perf_counter()
    result = reembed(db, "docs")
    seconds = time.perf_counter() - began
    over.set()
    watcher.join()
    return {
        "true": result.slots[0].census.true,
        "rows_per_s": rate_of(samples) or result.rows / seconds,
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def watch(inside: str, over: threading.Event, samples: list[tuple[float, int]]) -> None:
    """How many rows are written, twenty times a second."""
    with psycopg.connect(inside, autocommit=True) as conn:
        while not over.wait(0.05):
            row = conn.execute(WRITTEN).fetchone()
            samples.append((time.perf_counter(), 0 if row is None else int(row[0])))


def rate_of(samples: list[tuple[float, int]]) -> float | None:
    """Rows a second between the first row written and the last; None where there were too few looks."""
    steps = [this for before, this in itertools.pairwise(samples) if this[1] > before[1]]
    if len(steps) < 2:
        return None
    (first_s, first), (last_s, last) = steps[0], steps[-1]
    return (last - first) / (last_s - first_s)


def table(found: dict[str, Any]) -> str:
    best = {rows: max(runs, key=lambda run: float(run["rows_per_s"])) for rows, runs in found["sizes"].items()}
    lines = [
        f"{found['dimensions']} dimensions, companion; load {found['machine']['load_average'][0]} to"
        f" {found['load_average_after'][0]:.1f} on {found['machine']['cores']} cores",
        f"{'rows':>10} {'rows/s':>8} {'seconds':>8} {'peak MB':>8}",
    ]
    for rows, runs in found["sizes"].items():
        peak = max(run["peak_mb"] for run in runs)
        lines.append(f"{rows:10,} {best[rows]['rows_per_s']:8,.0f} {best[rows]['seconds']:8.1f} {peak:8.0f}")
    rates = [run["rows_per_s"] for run in best.values()]
    peaks = [run["peak_mb"] for runs in found["sizes"].values() for run in runs]
    lines.append(f"slowest over fastest {min(rates) / max(rates):.2f}, peaks within {max(peaks) - min(peaks):.0f} MB")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
