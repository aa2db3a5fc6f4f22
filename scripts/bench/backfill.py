"""Rows a second of reembed, in both placements, against what people use, on a table whose old column has an HNSW index.

    python scripts/bench/backfill.py --vecshift /tmp/vs     100,000 rows of 384 dimensions, about ten minutes
    python scripts/bench/backfill.py --quick                2,000 rows, a minute

All sides embed with models that cost next to nothing, so that what is measured is reading and writing. Each side starts
from a fresh copy of the same table, in one run, in rounds of random order, so that what else the machine does hits all;
only ratios count. A side that is not done after --seconds is stopped, and its rate is that until then: the slow ones
grow slower as the old index grows, so that this flatters them. vecshift 0.4.0 comes from a virtual environment of its
own: pip install vecshift==0.4.0.

All through, an application edits 14 rows a second, and searches go on on the old, serving index: p50 and p99 of both
before, during and after, and the recall@10 of that index before and after.

The side "column, out of line" is `column` after ALTER TABLE docs SET (toast_tuple_target = 704), which `plan` advises
where it helps: vectors then leave their rows, updates fit on their pages and leave the old index alone.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from ground import fresh_copy, hashing_model, keep, machine, make_table, make_texts, register, server
from pgvector.psycopg import register_vector
from psycopg import sql

from embedmig.commands import reembed
from embedmig.db import Database
from embedmig.embedders.hashing import HashingEmbedder
from embedmig.schema.expanding import expand
from embedmig.types import Placement

BATCH = 500
EDITS_A_SECOND = 14
QUERIES = 40
LOOK_S = 4.0
"""How long searches and edits are measured before a side begins, and after it."""
COMPANION, COLUMN, OUT_OF_LINE = "companion", "column", "column, out of line"
VECSHIFT, SCRIPT = "vecshift 0.4.0", "everyday script"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What a side is asked to do."""

    url: str
    dimensions: int
    deadline: float
    """By ``time.monotonic``."""


Side = Callable[[Ask], int]
"""Embeds rows until all are done or the deadline is there, and gives how many have a new vector."""


def main() -> None:
    """Measures, prints and keeps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--seconds", type=float, default=45.0, help="A side is stopped after so long, in each round.")
    parser.add_argument("--rounds", type=int, help="[2; 1 with --quick]")
    parser.add_argument("--quick", action="store_true", help="2,000 rows unless told")
    parser.add_argument("--vecshift", type=Path, help="A virtual environment with vecshift 0.4.0.")
    parser.add_argument("--only", action="append", help="These sides alone.")
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    rows = given.rows or (2_000 if given.quick else 100_000)
    rounds = given.rounds or (1 if given.quick else 2)
    found: dict[str, Any] = {
        "rows": rows,
        "dimensions": given.dimensions,
        "seconds": given.seconds,
        "rounds": rounds,
        "machine": machine(),
    }
    sides = choose_sides(given.vecshift, given.only)
    with server() as url:
        inside = make_table(url, make_texts(rows), given.dimensions)
        truth = exact_neighbours(inside)
        turns: dict[str, list[Turn]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name in random.sample(list(sides), len(sides)):
                turns[name].append(measure(url, sides[name], given.dimensions, given.seconds, rows, truth))
    found |= {"sides": {name: sum_up(turns[name], rows) for name in sides}, "load_average_after": os.getloadavg()}
    if not given.quick and not given.only:
        keep("backfill", found)
    print(json.dumps(found, default=str) if given.as_json else table(found))


def choose_sides(vecshift: Path | None, only: list[str] | None) -> dict[str, Side]:
    sides: dict[str, Side] = {
        COMPANION: lambda ask: ours(ask, Placement.COMPANION),
        COLUMN: lambda ask: ours(ask, Placement.COLUMN),
        OUT_OF_LINE: lambda ask: ours(ask, Placement.COLUMN, out_of_line=True),
        SCRIPT: everyday,
    }
    if vecshift is not None:
        sides[VECSHIFT] = lambda ask: run_vecshift(ask, vecshift)
    return {name: side for name, side in sides.items() if not only or name in only}


@dataclass(kw_only=True)
class Felt:
    """Latencies in ms."""

    searches: list[float]
    edits: list[float]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one round of one side gave."""

    rows: int
    seconds: float
    updated: int
    hot: int
    old_index_bytes: int
    felt: dict[str, Felt]
    """before, during, after."""
    recall: tuple[float, float]
    """Of the old index, before and after."""


def measure(url: str, side: Side, dimensions: int, seconds: float, rows: int, truth: "Truth") -> Turn:
    """A fresh table, a look at it, the side, another look."""
    with fresh_copy(url) as inside:
        recall_before = recall_of_index(inside, truth)
        with looking(inside, rows) as before:
            time.sleep(LOOK_S)
        with looking(inside, rows) as during:
            began = time.monotonic()
            done = side(Ask(url=inside, dimensions=dimensions, deadline=began + seconds))
            took = time.monotonic() - began
        with psycopg.connect(inside, autocommit=True) as conn:
            counted = conn.execute(
                "SELECT n_tup_upd, n_tup_hot_upd, pg_relation_size('docs_hnsw') FROM pg_stat_user_tables"
                " WHERE relname = 'docs'"
            ).fetchone()
        assert counted is not None
        with looking(inside, rows) as after:
            time.sleep(LOOK_S)
        return Turn(
            rows=done,
            seconds=took,
            updated=counted[0],
            hot=counted[1],
            old_index_bytes=counted[2],
            felt={"before": before, "during": during, "after": after},
            recall=(recall_before, recall_of_index(inside, truth)),
        )


def sum_up(turns: list[Turn], rows: int) -> dict[str, Any]:
    """Rows a second over all rounds, and what searches and the application's writes felt before, meanwhile, after."""
    done, seconds = sum(turn.rows for turn in turns), sum(turn.seconds for turn in turns)
    updated, hot = sum(turn.updated for turn in turns), sum(turn.hot for turn in turns)
    felt = {
        when: Felt(
            searches=[ms for turn in turns for ms in turn.felt[when].searches],
            edits=[ms for turn in turns for ms in turn.felt[when].edits],
        )
        for when in ("before", "during", "after")
    }
    return {
        "rows": done,
        "rows_per_s": done / seconds,
        "seconds": seconds,
        "rates": [turn.rows / turn.seconds for turn in turns],
        "whole": all(turn.rows >= rows for turn in turns),
        # A companion updates no row: what is counted there are the application's edits.
        "hot_share": hot / updated if updated > done / 10 else None,
        "old_index_bytes": [turn.old_index_bytes for turn in turns],
        "search_ms": {when: quantiles(one.searches) for when, one in felt.items()},
        "edit_ms": {when: quantiles(one.edits) for when, one in felt.items()},
        "recall_before": float(np.mean([turn.recall[0] for turn in turns])),
        "recall_after": float(np.mean([turn.recall[1] for turn in turns])),
    }


@contextmanager
def looking(inside: str, rows: int) -> Iterator[Felt]:
    """Searches and edits go on in threads of their own until the block ends."""
    felt, over = Felt(searches=[], edits=[]), threading.Event()
    threads = [
        threading.Thread(target=search_on, args=(inside, over, felt.searches)),
        threading.Thread(target=edit_on, args=(inside, over, felt.edits, rows)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield felt
    finally:
        over.set()
        for thread in threads:
            thread.join()


def search_on(inside: str, over: threading.Event, felt: list[float]) -> None:
    """Twenty searches a second on the old index."""
    with psycopg.connect(inside, autocommit=True) as conn:
        register_vector(conn)
        queries = some_queries(conn)
        while not over.wait(0.05):
            began = time.perf_counter()
            conn.execute(NEAREST, [random.choice(queries)]).fetchall()
            felt.append((time.perf_counter() - began) * 1000)


def edit_on(inside: str, over: threading.Event, felt: list[float], rows: int) -> None:
    """An application that edits rows here and there."""
    chance = random.Random(5)
    with psycopg.connect(inside, autocommit=True) as conn:
        while not over.wait(1 / EDITS_A_SECOND):
            began = time.perf_counter()
            conn.execute(
                "UPDATE docs SET body = %s WHERE id = %s", [f"edited {chance.random()}", chance.randrange(rows)]
            )
            felt.append((time.perf_counter() - began) * 1000)


NEAREST = "SELECT id FROM docs ORDER BY embedding <=> %s LIMIT 10"


def some_queries(conn: psycopg.Connection[Any]) -> list[Any]:
    """Half-way between two stored vectors, so that no query is itself a row."""
    stored = [
        row[0].to_numpy() for row in conn.execute("SELECT embedding FROM docs ORDER BY id LIMIT %s", [2 * QUERIES])
    ]
    return [(stored[place] + stored[-1 - place]) / 2 for place in range(QUERIES)]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The exact ten nearest of each query."""

    neighbours: list[set[int]]
    queries: list[Any]


def exact_neighbours(inside: str) -> Truth:
    with psycopg.connect(inside, autocommit=True) as conn:
        register_vector(conn)
        queries = some_queries(conn)
        conn.execute("SET enable_indexscan = off")
        exact = [{row[0] for row in conn.execute(NEAREST, [query])} for query in queries]
    return Truth(neighbours=exact, queries=queries)


def recall_of_index(inside: str, truth: Truth) -> float:
    """The application changes texts alone, so the exact answer stays what it was."""
    # A connection of its own: one that searched exactly before may keep the plan.
    with psycopg.connect(inside, autocommit=True) as conn:
        register_vector(conn)
        found = [{row[0] for row in conn.execute(NEAREST, [query])} for query in truth.queries]
    hits = sum(len(one & other) for one, other in zip(found, truth.neighbours, strict=True))
    return hits / (10 * len(truth.queries))


def quantiles(values: list[float]) -> dict[str, float]:
    return {"p50": float(np.percentile(values, 50)), "p99": float(np.percentile(values, 99))} if values else {}


def ours(ask: Ask, placement: Placement, *, out_of_line: bool = False) -> int:
    """What `embedmig reembed` does; after a deadline as after Ctrl-C."""
    db = Database(ask.url)
    old, new = hashing_model("old", ask.dimensions), hashing_model("new", ask.dimensions)
    with db.connect() as conn:
        docs = register(conn, old, new)
        expand(conn, docs, new, placement)
        if out_of_line:
            conn.execute("ALTER TABLE docs SET (toast_tuple_target = 704)")
    stop = threading.Event()
    timer = threading.Timer(max(0.1, ask.deadline - time.monotonic()), stop.set)
    timer.start()
    try:
        result = reembed(db, "docs", stop=stop)
    finally:
        timer.cancel()
    # What was edited meanwhile was embedded twice, and counts once.
    return result.slots[0].census.true if result.slots else count_new(ask.url, placement)


def count_new(url: str, placement: Placement | None = None) -> int:
    columns = {Placement.COMPANION: "embedmig.docs_v2 (embedding)", Placement.COLUMN: "docs (embedding_v2)", None: ""}
    table, _, column = (columns[placement] or "docs (new)").partition(" ")
    with psycopg.connect(url) as conn:
        query = sql.SQL("SELECT count({}) FROM {}").format(
            sql.Identifier(column.strip("()")), sql.Identifier(*table.split("."))
        )
        row = conn.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def everyday(ask: Ask) -> int:
    """What everyone writes: five hundred rows without a vector, embed, UPDATE by executemany, commit."""
    embedder = HashingEmbedder(options={"dimensions": ask.dimensions, "seed": 1})
    with psycopg.connect(ask.url) as conn:
        register_vector(conn)
        conn.execute(sql.SQL("ALTER TABLE docs ADD COLUMN new vector({})").format(sql.Literal(ask.dimensions)))
        conn.commit()
        done = 0
        while rows := conn.execute("SELECT id, body FROM docs WHERE new IS NULL LIMIT %s", [BATCH]).fetchall():
            vectors = embedder.embed_documents([row[1] for row in rows])
            with conn.cursor() as cursor:
                cursor.executemany(
                    "UPDATE docs SET new = %s WHERE id = %s",
                    [(vector, row[0]) for row, vector in zip(rows, vectors, strict=True)],
                )
            conn.commit()
            done += len(rows)
            if time.monotonic() > ask.deadline:
                break
    return done


def run_vecshift(ask: Ask, venv: Path) -> int:
    """Its own command line and hash model; no index is built on either side. SIGINT at the deadline: it ends after its
    batch, as it says."""
    with tempfile.TemporaryDirectory() as folder:
        for step in (
            ["init", "--table", "docs", "--model", f"hash/{ask.dimensions}", "--column", "new"],
            ["apply", "--yes", "--no-index"],
        ):
            process = subprocess.Popen(
                [venv / "bin" / "vecshift", *step],
                cwd=folder,
                env=os.environ | {"VECSHIFT_DSN": ask.url},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            stopped = False
            try:
                said, _ = process.communicate(timeout=max(1.0, ask.deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                stopped = True
                process.send_signal(signal.SIGINT)
                said, _ = process.communicate()
            if process.returncode and not stopped:
                raise SystemExit(f"vecshift {step[0]} failed: {said}")
    return count_new(ask.url)


def table(found: dict[str, Any]) -> str:
    sides = found["sides"]
    lines = [
        f"{found['rows']:,} rows of {found['dimensions']} dimensions, HNSW on the old column; {found['rounds']} rounds;"
        f" sides that were not done after {found['seconds']:g} s: rate until then",
        f"load {found['machine']['load_average'][0]} to {found['load_average_after'][0]:.1f} on"
        f" {found['machine']['cores']} cores",
        "",
        f"{'':20} {'rows/s':>8} {'rows':>8} {'HOT':>5} {'x vecshift':>10} {'x script':>8}  search p50/p99 ms before,"
        f" during, after{'':6} edit p99 ms{'':10} recall@10",
    ]
    for name, side in sides.items():
        ratios = [
            f"{side['rows_per_s'] / sides[peer]['rows_per_s']:.1f}" if peer in sides else "-"
            for peer in (VECSHIFT, SCRIPT)
        ]
        hot = "" if side["hot_share"] is None else f"{side['hot_share']:.0%}"
        searches = ", ".join(f"{felt['p50']:.1f}/{felt['p99']:.1f}" for felt in side["search_ms"].values())
        edits = ", ".join(f"{felt['p99']:.1f}" for felt in side["edit_ms"].values())
        lines.append(
            f"{name:20} {side['rows_per_s']:8,.0f} {side['rows']:8,} {hot:>5} {ratios[0]:>10} {ratios[1]:>8}"
            f"  {searches:48} {edits:20} {side['recall_before']:.3f}, {side['recall_after']:.3f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
