"""The nearest rows of every query, kept while the rows stream by: pure, no I/O."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from embedmig.types import Distance, Floats, Key

Doubles = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

QUERIES_AT_ONCE = 256
"""Products of a block are made for so many queries at a time: they stay in the processor's cache."""

_PART_OF_BLOCK = 1024
"""To find the k-th of a whole block is slow; what the k-th of a part lets through too much is few."""
_PAIRS_AT_ONCE = 256
_SLACK = 1e-5
"""How far a float32 product may be off, relative to the lengths of the two vectors; generous."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """One query's nearest rows, nearest first: the smaller of k and the rows there are."""

    keys: tuple[Key, ...]
    distances: Floats
    """As pgvector's operator gives them: smaller is nearer."""


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
    _distances: Floats = field(init=False)
    """(q, k), ascending; infinite where there is no row yet."""
    _rows: Numbers = field(init=False)
    """(q, k), rows counted through all blocks; -1 where there is none yet."""
    _raw_keys: dict[int, Any] = field(init=False, default_factory=dict)
    _rows_seen: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        count = len(self.queries)
        self._distances = np.full((count, self.k), np.inf, dtype=np.float32)
        self._rows = np.full((count, self.k), -1, dtype=np.int64)
        self._exact = _in_doubles(self.queries, self.distance)
        self._lengths = np.linalg.norm(self._exact, axis=1)
        # Signed and scaled here, once, so that the product needs no second pass.
        self._factors = np.asarray(self._exact * (-2 if self.distance is Distance.L2 else -1), dtype=np.float32)

    def add(self, vectors: Floats, raw_keys: Sequence[Any]) -> None:
        """Looks at a block: (n, d) vectors and their n keys, in any form."""
        block = _Block.of(vectors, self.distance)
        for start in range(0, len(self.queries), QUERIES_AT_ONCE):
            some = slice(start, min(start + QUERIES_AT_ONCE, len(self.queries)))
            queries, places = self._candidates(some, block)
            if places.size:
                distances = self._measure(queries + start, block.vectors, places)
                rows = places if block.places is None else block.places[places]
                self._merge(some, queries, distances, rows + self._rows_seen, raw_keys)
        self._keep_keys(raw_keys)
        self._rows_seen += len(raw_keys)

    def rankings(self, key_of: Callable[[Any], Key]) -> list[Ranking]:
        """The result so far, one ranking a query; ``key_of`` turns a raw key into a Key."""
        alive = np.unique(self._rows).tolist()
        keys = {row: key_of(self._raw_keys[row]) for row in alive if row >= 0}
        counts = (self._rows >= 0).sum(axis=1).tolist()
        return [
            Ranking(keys=tuple(keys[row] for row in rows[:count].tolist()), distances=distances[:count])
            for rows, distances, count in zip(self._rows, self._distances, counts, strict=True)
        ]

    def _candidates(self, some: slice, block: "_Block") -> tuple[Numbers, Numbers]:
        """Pairs of a query, counted from the start of ``some``, and the place of a row that may be among its k
        nearest; by query."""
        scores = self._factors[some] @ block.directions.T
        if block.squares is not None:
            scores += block.squares
        slack, nearest = self._slack(some, block.longest), self._scores_of_nearest(some)
        limits = self._limits(nearest[:, -1], scores) + slack
        queries, places = np.divmod(np.flatnonzero(scores <= limits[:, None]), max(1, scores.shape[1]))
        if not places.size:
            return queries, places
        # To measure a pair again costs more than to sort it: only those that stand against each other too are left.
        reached = scores[queries, places]
        both = np.hstack((nearest, _padded(queries, reached, np.float32(np.inf), len(nearest))))
        kth = np.partition(both, self.k - 1, axis=1)[:, self.k - 1]
        near = reached <= (kth + slack)[queries]
        return queries[near], places[near]

    def _limits(self, last: Floats, scores: Floats) -> Floats:
        """A score that the k nearest rows reach: of the k-th nearest so far, or of the k-th in a part of the block."""
        limits = last.copy()
        unknown = np.flatnonzero(np.isinf(limits))
        part = scores[unknown, : max(self.k, _PART_OF_BLOCK)]
        if unknown.size and part.shape[1] >= self.k:
            limits[unknown] = np.partition(part, self.k - 1, axis=1)[:, self.k - 1]
        return limits

    def _scores_of_nearest(self, some: slice) -> Floats:
        """(q, k): what the product would give for the rows that are the nearest so far."""
        scores = self._distances[some].astype(np.float64)
        match self.distance:
            case Distance.COSINE:
                scores -= 1
            case Distance.L2:
                scores = scores**2 - self._lengths[some, None] ** 2
        return np.asarray(scores, dtype=np.float32)

    def _slack(self, some: slice, longest: float) -> Floats:
        """How far each query's scores may be off."""
        lengths = self._lengths[some]
        match self.distance:
            case Distance.COSINE:
                slack = np.full(len(lengths), _SLACK)
            case Distance.L2:
                slack = _SLACK * (lengths + longest) ** 2
            case Distance.INNER_PRODUCT:
                slack = _SLACK * lengths * longest
        return np.asarray(slack, dtype=np.float32)

    def _measure(self, queries: Numbers, vectors: Floats, places: Numbers) -> Floats:
        """(n,) distances of pairs. Back to single precision at the end: what differs by rounding alone is a tie."""
        distances = np.empty(len(queries), dtype=np.float32)
        for start in range(0, len(queries), _PAIRS_AT_ONCE):
            some = slice(start, start + _PAIRS_AT_ONCE)
            a, b = self._exact[queries[some]], vectors[places[some]].astype(np.float64)
            distances[some] = _distances_of_pairs(a, b, self.distance)
        return distances

    def _merge(self, some: slice, queries: Numbers, distances: Floats, rows: Numbers, raw_keys: Sequence[Any]) -> None:
        both = np.hstack(
            (self._distances[some], _padded(queries, distances, np.float32(np.inf), len(self._rows[some])))
        )
        numbers = np.hstack((self._rows[some], _padded(queries, rows, -1, len(self._rows[some]))))
        order = np.argsort(both, axis=1, kind="stable")
        both, numbers = np.take_along_axis(both, order, 1), np.take_along_axis(numbers, order, 1)
        # A tie behind the k-th cannot change what comes before it.
        tied = (both[:, 1 : self.k + 1] == both[:, : self.k][:, : both.shape[1] - 1]) & (
            numbers[:, 1 : self.k + 1] >= 0
        )
        for place in np.flatnonzero(tied.any(axis=1)).tolist():
            by_key = self._order_by_key(both[place], numbers[place], raw_keys)
            both[place], numbers[place] = both[place][by_key], numbers[place][by_key]
        self._distances[some], self._rows[some] = both[:, : self.k], numbers[:, : self.k]

    def _order_by_key(self, distances: Floats, rows: Numbers, raw_keys: Sequence[Any]) -> list[int]:
        there = [place for place, row in enumerate(rows.tolist()) if row >= 0]
        keys = {place: self.tie_order(self._raw_key(int(rows[place]), raw_keys)) for place in there}
        there.sort(key=lambda place: (distances[place], keys[place]))
        return [*there, *range(len(there), len(rows))]

    def _raw_key(self, row: int, raw_keys: Sequence[Any]) -> Any:
        new = row - self._rows_seen
        return raw_keys[new] if new >= 0 else self._raw_keys[row]

    def _keep_keys(self, raw_keys: Sequence[Any]) -> None:
        """Of the block's rows that some query counts among its nearest; those passed since are let go now and then."""
        new = np.unique(self._rows[self._rows >= self._rows_seen]) - self._rows_seen
        self._raw_keys.update((row + self._rows_seen, raw_keys[row]) for row in new.tolist())
        if len(self._raw_keys) > 2 * self._rows.size:
            alive = np.unique(self._rows).tolist()
            self._raw_keys = {row: self._raw_keys[row] for row in alive if row >= 0}


@dataclass(frozen=True, kw_only=True)
class _Block:
    vectors: Floats
    """As they are stored; for cosine without the zeros."""
    directions: Floats
    """What queries are multiplied with: at unit length for cosine."""
    squares: Floats | None
    """(n,) squared lengths, where l2 needs them."""
    longest: float
    places: Numbers | None
    """Where the vectors stood in the block, when some were left out."""

    @classmethod
    def of(cls, vectors: Floats, distance: Distance) -> "_Block":
        squares = np.einsum("ij,ij->i", vectors, vectors)
        longest = float(np.sqrt(squares.max(initial=0.0)))
        if distance is not Distance.COSINE:
            needed = squares if distance is Distance.L2 else None
            return cls(vectors=vectors, directions=vectors, squares=needed, longest=longest, places=None)
        places = None
        if not squares.all():
            places = np.flatnonzero(squares)
            vectors, squares = vectors[places], squares[places]
        directions = vectors / np.sqrt(squares)[:, None]
        return cls(vectors=vectors, directions=directions, squares=None, longest=longest, places=places)


def _in_doubles(vectors: Floats, distance: Distance) -> Doubles:
    """Cosine compares directions: rows at unit length, zeros left as they are."""
    doubles: Doubles = vectors.astype(np.float64)
    if distance is Distance.COSINE:
        lengths = np.linalg.norm(doubles, axis=1, keepdims=True)
        doubles /= np.where(lengths == 0, 1, lengths)
    return doubles


def _distances_of_pairs(queries: Doubles, vectors: Doubles, distance: Distance) -> Doubles:
    """Row by row; queries at unit length for cosine."""
    if distance is Distance.L2:
        vectors -= queries
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)))
    products = np.einsum("ij,ij->i", queries, vectors)
    if distance is Distance.INNER_PRODUCT:
        return np.asarray(-products)
    return np.asarray(1 - products / np.sqrt(np.einsum("ij,ij->i", vectors, vectors)))


def _padded(queries: Numbers, values: npt.NDArray[Any], fill: Any, rows: int) -> npt.NDArray[Any]:
    """Values by query as ``rows`` rows of equal length, filled up behind; ``queries`` ascends."""
    counts = np.bincount(queries, minlength=rows)
    columns = np.arange(len(queries)) - (np.cumsum(counts) - counts)[queries]
    table = np.full((rows, int(counts.max())), fill, dtype=values.dtype)
    table[queries, columns] = values
    return table
