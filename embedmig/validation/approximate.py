"""What the slots' own indexes return for the same queries: tells index error from model change."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from psycopg import sql

from embedmig.catalog.serving import Serving
from embedmig.db import Connection, Queries
from embedmig.search.statement import Shape, Statement, compose
from embedmig.types import Floats, Key, Slot
from embedmig.validation.agreement import overlap_at
from embedmig.validation.intervals import Estimate, estimate_mean
from embedmig.validation.running_top_k import Ranking

QUERIES = Queries(__package__, "approximate.sql")

DEPTH = 10
_EF_SEARCH = (40, 80, 160, 320, 640)
_PROBES = (1, 2, 5, 10, 20, 50, 100, 200)
_QUERIES_OF_CURVE = 100


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """What one breadth of search gives."""

    ef_search: int | None = None
    """How many candidates HNSW keeps."""
    probes: int | None = None
    """How many of its lists ivfflat reads."""
    recall: float
    """Of the exact first ten, 0 to 1."""
    p50_ms: float

    @property
    def breadth(self) -> int:
        """The one of the two that the index has."""
        return self.ef_search or self.probes or 0


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
    """By rising breadth."""
    kind: str = "hnsw"
    """Or ivfflat."""

    @property
    def setting(self) -> str:
        """What its breadth is called."""
        return "probes" if self.kind == "ivfflat" else "ef_search"


def check_index(
    conn: Connection, serving: Serving, slot: Slot, queries: Floats, exact: Sequence[Ranking], *, confidence: float
) -> IndexCheck | None:
    """Sends each of the (q, d) ``queries`` to the slot's index and compares with ``exact``, of the same queries over
    the whole slot. None when the slot has no index that a search would use.

    ``conn`` is in no transaction: what a search sets is gone with its statement.
    """
    statement = compose(serving, slot, _shape(slot))
    if statement.index is None:
        return None
    found, times = _search(conn, serving, statement, slot, queries)
    recalls = _recalls(found, exact)
    kind = next(index.kind for index in serving.indexes[slot.id] if index.name == statement.index)
    return IndexCheck(
        slot=slot.name,
        index=statement.index,
        recall=estimate_mean(recalls, confidence=confidence),
        p50_ms=float(np.quantile(times, 0.5)),
        p95_ms=float(np.quantile(times, 0.95)),
        curve=tuple(
            _measure(conn, serving, slot, shape, queries[:_QUERIES_OF_CURVE], exact[:_QUERIES_OF_CURVE])
            for shape in _shapes(conn, slot, statement.index, kind)
        ),
        kind=kind,
    )


def breadth_to_keep_recall(source: IndexCheck, target: IndexCheck) -> int | None:
    """The smallest ef_search, or probes, at which the target's index finds as large a share as the source's does now;
    None when none that was tried does."""
    enough = [point.breadth for point in target.curve if point.recall >= source.recall.mean]
    return min(enough, default=None)


def _shapes(conn: Connection, slot: Slot, index: str, kind: str) -> list[Shape]:
    """The breadths that are tried, rising."""
    if kind != "ivfflat":
        return [_shape(slot)._replace(ef_search=breadth) for breadth in _EF_SEARCH]
    row = conn.execute(QUERIES["index_lists"], {"schema": slot.schema, "name": index}).fetchone()
    assert row is not None
    return [_shape(slot)._replace(probes=breadth) for breadth in sorted({min(n, row["lists"]) for n in _PROBES})]


def _measure(
    conn: Connection, serving: Serving, slot: Slot, shape: Shape, queries: Floats, exact: Sequence[Ranking]
) -> CurvePoint:
    found, times = _search(conn, serving, compose(serving, slot, shape), slot, queries)
    return CurvePoint(
        ef_search=shape.ef_search,
        probes=shape.probes,
        recall=float(np.mean(_recalls(found, exact))),
        p50_ms=float(np.quantile(times, 0.5)),
    )


def _shape(slot: Slot) -> Shape:
    return Shape(slot_id=slot.id, pinned=True, k=DEPTH, filter=None, columns=(), ef_search=None, exact=False)


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
