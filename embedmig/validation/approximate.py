"""What the slots' own indexes return for the same queries: tells index error from model change."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from psycopg import sql

from embedmig.catalog.serving import Serving
from embedmig.db import Connection
from embedmig.search.statement import Shape, Statement, compose
from embedmig.types import Floats, Key, Slot
from embedmig.validation.agreement import overlap_at
from embedmig.validation.intervals import Estimate, estimate_mean
from embedmig.validation.running_top_k import Ranking

DEPTH = 10
_EF_SEARCH = (40, 80, 160, 320, 640)
_QUERIES_OF_CURVE = 100


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """What one breadth of search gives."""

    ef_search: int
    recall: float
    """Of the exact first ten, 0 to 1."""
    p50_ms: float


@dataclass(frozen=True, kw_only=True)
class IndexCheck:
    """A slot's index against exact search, as the Searcher would ask it."""

    slot: str
    index: str
    recall: Estimate
    """The share of the exact first ten that the index finds."""
    p50_ms: float
    p95_ms: float
    curve: tuple[CurvePoint, ...]
    """By rising ef_search; empty for an index that has none."""


def check_index(
    conn: Connection, serving: Serving, slot: Slot, queries: Floats, exact: Sequence[Ranking], *, confidence: float
) -> IndexCheck | None:
    """Sends each of the (q, d) ``queries`` to the slot's index and compares with ``exact``, of the same queries over
    the whole slot. None when the slot has no index that a search would use.

    ``conn`` is in no transaction: what a search sets is gone with its statement.
    """
    statement = compose(serving, slot, _shape(slot, None))
    if statement.index is None:
        return None
    found, times = _search(conn, serving, statement, slot, queries)
    recalls = _recalls(found, exact)
    kind = next(index.kind for index in serving.indexes[slot.id] if index.name == statement.index)
    curve = _curve(conn, serving, slot, queries, exact) if kind == "hnsw" else ()
    return IndexCheck(
        slot=slot.name,
        index=statement.index,
        recall=estimate_mean(recalls, confidence=confidence),
        p50_ms=float(np.quantile(times, 0.5)),
        p95_ms=float(np.quantile(times, 0.95)),
        curve=curve,
    )


def breadth_to_keep_recall(source: IndexCheck, target: IndexCheck) -> int | None:
    """The smallest ef_search at which the target's index finds as large a share as the source's does now; None when
    none that was tried does."""
    enough = [point.ef_search for point in target.curve if point.recall >= source.recall.mean]
    return min(enough, default=None)


def _curve(
    conn: Connection, serving: Serving, slot: Slot, queries: Floats, exact: Sequence[Ranking]
) -> tuple[CurvePoint, ...]:
    some, points = slice(_QUERIES_OF_CURVE), []
    for ef_search in _EF_SEARCH:
        statement = compose(serving, slot, _shape(slot, ef_search))
        found, times = _search(conn, serving, statement, slot, queries[some])
        recall = float(np.mean(_recalls(found, exact[some])))
        points.append(CurvePoint(ef_search=ef_search, recall=recall, p50_ms=float(np.quantile(times, 0.5))))
    return tuple(points)


def _shape(slot: Slot, ef_search: int | None) -> Shape:
    return Shape(slot_id=slot.id, pinned=True, k=DEPTH, filter=None, columns=(), ef_search=ef_search, exact=False)


def _search(
    conn: Connection, serving: Serving, statement: Statement, slot: Slot, queries: Floats
) -> tuple[list[list[Key]], list[float]]:
    """The keys that each query finds, and how long it took, in ms."""
    width = len(serving.collection.key)
    key = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(f"embedmig_key{n + 1}")) for n in range(width))
    text = sql.SQL("SELECT ARRAY[{}] AS key FROM ({}) AS found ORDER BY embedmig_distance").format(
        key, sql.SQL(statement.sql.decode())
    )
    found, times = [], []
    for query in queries:
        began = time.perf_counter()
        rows = conn.execute(text, {"embedmig_query": query, "embedmig_slot_id": slot.id}).fetchall()
        times.append((time.perf_counter() - began) * 1000)
        found.append([tuple(row["key"]) for row in rows])
    return found, times


def _recalls(found: Sequence[Sequence[Key]], exact: Sequence[Ranking]) -> list[float]:
    return [overlap_at(ranking.keys, keys, DEPTH) for keys, ranking in zip(found, exact, strict=True)]
