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


@dataclass(frozen=True, kw_only=True)
class _Block:
    vectors: Floats
    lengths: Floats
    rows: Rows | None
    """Where the vectors stood in the block, when some were left out."""
    raw_keys: Sequence[Any]


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
        """Looks at a block: (n, d) vectors and their n keys, in any form."""
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        rows = None
        if self.distance is Distance.COSINE and not lengths.all():
            rows = np.flatnonzero(lengths)
            vectors, lengths = vectors[rows], lengths[rows]
        block = _Block(vectors=vectors, lengths=lengths, rows=rows, raw_keys=raw_keys)
        for start in range(0, len(self.queries), QUERIES_AT_ONCE):
            self._add_for(range(start, min(start + QUERIES_AT_ONCE, len(self.queries))), block)
        self._rows_seen += len(raw_keys)
        self._forget_passed()

    def rankings(self, key_of: Callable[[Any], Key]) -> list[Ranking]:
        """The result so far, one ranking a query; ``key_of`` turns a raw key into a Key."""
        keys = {row: key_of(raw) for row, raw in self._raw_keys.items()}
        return [
            Ranking(keys=tuple(keys[row] for row in nearest.rows.tolist()), distances=nearest.distances)
            for nearest in self._nearest
        ]

    def _add_for(self, some: range, block: "_Block") -> None:
        scores = self._fast_queries[some.start : some.stop] @ block.vectors.T
        if self.distance is Distance.L2:
            scores *= -2
            scores += block.lengths**2
        elif self.distance is Distance.COSINE:
            scores *= -1 / block.lengths
        else:
            np.negative(scores, out=scores)
        for query, rows in self._candidates(some, scores, float(block.lengths.max(initial=0.0))):
            distances = self._measure(query, block.vectors[rows])
            self._merge(query, distances, rows if block.rows is None else block.rows[rows], block.raw_keys)

    def _candidates(self, some: range, scores: Floats, longest: float) -> list[tuple[int, Rows]]:
        """The rows of the block that may be among the k nearest of each query; queries with none are left out."""
        limits = self._limits(some, scores) + self._slack(some, longest)
        places = np.flatnonzero(scores <= limits[:, None])
        if not places.size:
            return []
        queries, rows = np.divmod(places, scores.shape[1])
        bounds = np.flatnonzero(np.diff(queries)) + 1
        firsts = queries[np.concatenate(([0], bounds))]
        return [(int(q) + some.start, part) for q, part in zip(firsts, np.split(rows, bounds), strict=True)]

    def _slack(self, some: range, longest: float) -> Floats:
        """How far each query's scores may be off."""
        lengths = self._lengths[some.start : some.stop]
        match self.distance:
            case Distance.COSINE:
                return np.full(len(some), _SLACK, dtype=np.float32)
            case Distance.L2:
                return np.asarray(_SLACK * (lengths + longest) ** 2, dtype=np.float32)
            case Distance.INNER_PRODUCT:
                return np.asarray(_SLACK * lengths * longest, dtype=np.float32)

    def _limits(self, some: range, scores: Floats) -> Floats:
        """The score that a row must reach: of the k-th nearest so far, or of the k-th in the block."""
        known = [self._score_of_last(query) for query in some]
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
            distances = np.sqrt(((rows - vector) ** 2).sum(axis=1))
        elif self.distance is Distance.COSINE:
            distances = 1 - rows @ vector / np.linalg.norm(rows, axis=1)
        else:
            distances = -(rows @ vector)
        # Back to single precision, so that what differs by rounding alone is a tie.
        return np.asarray(distances, dtype=np.float32)

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
