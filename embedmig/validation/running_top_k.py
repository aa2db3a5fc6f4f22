"""The nearest rows of every query, kept while the rows stream by: pure, no I/O."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from embedmig.types import Distance, Floats, Key

Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

QUERIES_AT_ONCE = 1024
"""Products of a block are made for so many queries at a time."""

_SLACK = 1e-5
"""How far a float32 product may be off, relative to the lengths of the two vectors; generous."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """One query's nearest rows, nearest first: the smaller of k and the rows there are."""

    keys: tuple[Key, ...]
    distances: Floats
    """As pgvector's operator gives them: smaller is nearer."""


@dataclass
class _Nearest:
    distances: Floats
    rows: Rows


@dataclass
class RunningTopK:
    """The k nearest rows of each query over all blocks added so far.

    Candidates are found by float32 products and measured again in double precision, so that equal vectors have
    equal distances wherever they stood in a block; ties are broken by ``tie_order`` of their keys. A vector of zeros
    has no cosine distance and is left out, as pgvector's indexes leave it out.
    """

    queries: Floats
    """(q, d)"""
    k: int
    distance: Distance
    tie_order: Callable[[Any], Any]
    """What a block's raw key is compared by."""
    _nearest: list[_Nearest] = field(init=False)
    _raw_keys: dict[int, Any] = field(init=False, default_factory=dict)
    _rows_seen: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        empty = _Nearest(np.empty(0, np.float32), np.empty(0, np.int64))
        self._nearest = [empty] * len(self.queries)
        self._exact_queries = _in_doubles(self.queries, self.distance)
        self._fast_queries = self._exact_queries.astype(np.float32)
        self._lengths = np.linalg.norm(self._fast_queries, axis=1)

    def add(self, vectors: Floats, raw_keys: Sequence[Any]) -> None:
        """Looks at a block: (n, d) vectors, which may be overwritten, and their n keys in any form."""
        vectors, present = _prepare_block(vectors, self.distance)
        squares = np.einsum("ij,ij->i", vectors, vectors)
        for start in range(0, len(self.queries), QUERIES_AT_ONCE):
            self._add_for(slice(start, start + QUERIES_AT_ONCE), vectors, squares, present, raw_keys)
        self._rows_seen += len(raw_keys)
        self._forget_passed()

    def rankings(self, key_of: Callable[[Any], Key]) -> list[Ranking]:
        """The result so far, one ranking a query; ``key_of`` turns a raw key into a Key."""
        keys = {row: key_of(raw) for row, raw in self._raw_keys.items()}
        return [
            Ranking(keys=tuple(keys[row] for row in nearest.rows.tolist()), distances=nearest.distances)
            for nearest in self._nearest
        ]

    def _add_for(
        self, some: slice, vectors: Floats, squares: Floats, present: Rows | None, raw_keys: Sequence[Any]
    ) -> None:
        scores = self._fast_queries[some] @ vectors.T
        if self.distance is Distance.L2:
            scores *= -2
            scores += squares
        else:
            np.negative(scores, out=scores)
        longest = float(np.sqrt(squares.max(initial=0.0)))
        candidates = self._candidates(some, scores, longest)
        for query, rows in candidates:
            distances = self._measure(query, vectors[rows])
            numbers = rows if present is None else present[rows]
            self._merge(query, distances, numbers, raw_keys)

    def _candidates(self, some: slice, scores: Floats, longest: float) -> list[tuple[int, Rows]]:
        """The rows of the block that may be among the k nearest of each query; queries with none are left out."""
        limits = self._limits(some, scores)
        slack = _SLACK * self._lengths[some] * longest
        if self.distance is Distance.L2:
            slack = _SLACK * (self._lengths[some] + longest) ** 2
        places = np.flatnonzero(scores <= (limits + slack)[:, None])
        if not places.size:
            return []
        queries, rows = np.divmod(places, scores.shape[1])
        bounds = np.flatnonzero(np.diff(queries)) + 1
        firsts = queries[np.concatenate(([0], bounds))]
        return [(int(q) + (some.start or 0), part) for q, part in zip(firsts, np.split(rows, bounds), strict=True)]

    def _limits(self, some: slice, scores: Floats) -> Floats:
        """The score that a row must reach: of the k-th nearest so far, or of the k-th in the block."""
        known = [self._score_of_last(query) for query in range(*some.indices(len(self.queries)))]
        limits = np.array(known, dtype=np.float32)
        open_ = np.flatnonzero(np.isinf(limits))
        if open_.size and scores.shape[1] > self.k:
            limits[open_] = np.partition(scores[open_], self.k - 1, axis=1)[:, self.k - 1]
        return limits

    def _score_of_last(self, query: int) -> float:
        nearest = self._nearest[query]
        if len(nearest.rows) < self.k:
            return float("inf")
        last = float(nearest.distances[-1])
        if self.distance is Distance.COSINE:
            return last - 1
        if self.distance is Distance.L2:
            return last**2 - float(self._lengths[query]) ** 2
        return last

    def _measure(self, query: int, vectors: Floats) -> Floats:
        vector, rows = self._exact_queries[query], vectors.astype(np.float64)
        if self.distance is Distance.L2:
            return np.asarray(np.sqrt(((rows - vector) ** 2).sum(axis=1)), dtype=np.float32)
        products = rows @ vector
        return np.asarray(1 - products if self.distance is Distance.COSINE else -products, dtype=np.float32)

    def _merge(self, query: int, distances: Floats, rows: Rows, raw_keys: Sequence[Any]) -> None:
        nearest, seen = self._nearest[query], self._rows_seen
        both = np.concatenate((nearest.distances, distances))
        numbers = np.concatenate((nearest.rows, rows + seen))
        if len(both) > self.k:
            near = both <= np.partition(both, self.k - 1)[self.k - 1]
            both, numbers = both[near], numbers[near]
        order = np.argsort(both, kind="stable")
        both, numbers = both[order], numbers[order]
        self._raw_keys.update((n, raw_keys[n - seen]) for n in numbers.tolist() if n >= seen)
        if (both[1:] == both[:-1]).any():
            by_key = sorted(range(len(both)), key=lambda i: (both[i], self.tie_order(self._raw_keys[int(numbers[i])])))
            both, numbers = both[by_key], numbers[by_key]
        self._nearest[query] = _Nearest(both[: self.k], numbers[: self.k])

    def _forget_passed(self) -> None:
        """Keys are kept only of rows that some query still counts among its nearest."""
        alive = set(np.concatenate([n.rows for n in self._nearest]).tolist()) if self._nearest else set()
        self._raw_keys = {row: raw for row, raw in self._raw_keys.items() if row in alive}


def _in_doubles(vectors: Floats, distance: Distance) -> Doubles:
    """Cosine compares directions: rows at unit length, zeros left as they are."""
    doubles: Doubles = vectors.astype(np.float64)
    if distance is Distance.COSINE:
        lengths = np.linalg.norm(doubles, axis=1, keepdims=True)
        doubles /= np.where(lengths == 0, 1, lengths)
    return doubles


def _prepare_block(vectors: Floats, distance: Distance) -> tuple[Floats, Rows | None]:
    """The block at unit length where cosine asks for it; with zeros left out, which rows are left, else None."""
    if distance is not Distance.COSINE:
        return vectors, None
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    if lengths.all():
        vectors /= lengths[:, None]
        return vectors, None
    present = np.flatnonzero(lengths)
    return vectors[present] / lengths[present, None], present
