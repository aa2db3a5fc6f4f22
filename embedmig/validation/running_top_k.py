"""The nearest rows of every query, kept while the rows stream by: pure, no I/O."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from embedmig.types import Distance, Floats, Key
from embedmig.validation.products import ROWS_A_PRODUCT, CpuProducts, MakeProducts, Numbers, Products

Doubles = npt.NDArray[np.float64]

QUERIES_AT_ONCE = 512
"""At most so many queries make one portion: what one worker multiplies with a block."""
_NEARLY_UNIT = 1e-6
_KEYS_KEPT = 100_000
_SLACK = 1e-5
"""How far a float32 product may be off, relative to the lengths of the two vectors; generous."""


ForEach = Callable[[Callable[[slice], None], Iterable[slice]], Iterable[None]]
"""``map``, or that of an executor: portions of queries know nothing of each other."""


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
    for_each: ForEach = map
    workers: int = 1
    """How many portions ``for_each`` works on at a time."""
    make_products: MakeProducts = CpuProducts
    _distances: Floats = field(init=False)
    """(q, k), ascending; infinite where there is no row yet."""
    _rows: Numbers = field(init=False)
    """(q, k), rows counted through all blocks; -1 where there is none yet."""
    _keys: "_KeysOfRows" = field(init=False)
    _rows_seen: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        count = len(self.queries)
        self._distances = np.full((count, self.k), np.inf, dtype=np.float32)
        self._rows = np.full((count, self.k), -1, dtype=np.int64)
        self._keys = _KeysOfRows()
        self._exact = _in_doubles(self.queries, self.distance)
        self._lengths = np.linalg.norm(self._exact, axis=1)
        # Signed and scaled here, once, so that the product needs no second pass.
        self._factors = np.asarray(self._exact * (-2 if self.distance is Distance.L2 else -1), dtype=np.float32)

    def add(self, vectors: Floats, raw_keys: Sequence[Any]) -> None:
        """Looks at a block: (n, d) vectors and their n keys, in any form."""
        block = _Block.of(vectors, self.distance, self.make_products)
        for _ in self.for_each(lambda some: self._look(some, block, raw_keys), self._portions()):
            pass
        self._keys.add(self._rows_seen, raw_keys)
        self._keys.forget_all_but(self._rows)
        self._rows_seen += len(raw_keys)

    def rankings(self, key_of: Callable[[Any], Key]) -> list[Ranking]:
        """The result so far, one ranking a query; ``key_of`` turns a raw key into a Key."""
        alive = _there(self._rows)
        keys = dict(zip(alive.tolist(), map(key_of, self._keys.of(alive)), strict=True))
        counts = (self._rows >= 0).sum(axis=1).tolist()
        return [
            Ranking(keys=tuple(map(keys.__getitem__, rows[:count].tolist())), distances=distances[:count])
            for rows, distances, count in zip(self._rows, self._distances, counts, strict=True)
        ]

    def _portions(self) -> Iterator[slice]:
        count = len(self.queries)
        size = min(QUERIES_AT_ONCE, -(-count // self.workers) or 1)
        return (slice(start, min(start + size, count)) for start in range(0, count, size))

    def _look(self, some: slice, block: "_Block", raw_keys: Sequence[Any]) -> None:
        queries, places = self._candidates(some, block)
        if places.size:
            distances = self._measure(queries + some.start, block.vectors, places)
            rows = places if block.places is None else block.places[places]
            self._merge(some, queries, distances, rows + self._rows_seen, raw_keys)

    def _candidates(self, some: slice, block: "_Block") -> tuple[Numbers, Numbers]:
        """Pairs of a query, counted from the start of ``some``, and the place of a row that may be among its k
        nearest; by query."""
        slack, nearest = self._slack(some, block.longest), self._scores_of_nearest(some)
        limits = self._limits(some, nearest[:, -1], block) + slack
        queries, places, reached = block.products.within(self._factors[some], limits)
        if not places.size:
            return queries, places
        # To measure a pair again costs more than to sort it: only those that stand against each other too are left.
        both = np.hstack((nearest, _padded(queries, reached, np.float32(np.inf), len(nearest))))
        kth = np.partition(both, self.k - 1, axis=1)[:, self.k - 1]
        near = reached <= (kth + slack)[queries]
        return queries[near], places[near]

    def _limits(self, some: slice, last: Floats, block: "_Block") -> Floats:
        """A score that the k nearest rows reach: of the k-th nearest so far, or of the k-th in a part of the block."""
        limits = last.copy()
        unknown = np.flatnonzero(np.isinf(limits))
        # To find the k-th of a whole block is slow; what the k-th of a part lets through too much is few.
        if unknown.size and len(block.vectors) >= self.k:
            scores = block.products.scores(self._factors[some][unknown], max(self.k, ROWS_A_PRODUCT))
            limits[unknown] = np.partition(scores, self.k - 1, axis=1)[:, self.k - 1]
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
        """(n,) distances of pairs, which are sorted by query. Back to single precision at the end: what differs by
        rounding alone is a tie."""
        distances = np.empty(len(queries), dtype=np.float32)
        # Query by query, which need not be copied for each of its pairs.
        starts = np.flatnonzero(np.diff(queries, prepend=-1)).tolist()
        for start, end in zip(starts, [*starts[1:], len(queries)], strict=True):
            some = vectors[places[start:end]].astype(np.float64)
            distances[start:end] = _distances(self._exact[queries[start]], some, self.distance)
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
            self._order_ties_by_key(both[place], numbers[place], raw_keys)
        self._distances[some], self._rows[some] = both[:, : self.k], numbers[:, : self.k]

    def _order_ties_by_key(self, distances: Floats, rows: Numbers, raw_keys: Sequence[Any]) -> None:
        """Changes ``rows``: those at one distance stand in the order of their keys."""
        there = int((rows >= 0).sum())
        tied = np.flatnonzero(distances[1:there] == distances[: there - 1])
        for run in np.split(tied, np.flatnonzero(np.diff(tied) > 1) + 1):
            if run[0] < self.k:
                equal = slice(int(run[0]), int(run[-1]) + 2)
                rows[equal] = sorted(rows[equal].tolist(), key=lambda row: self.tie_order(self._raw_key(row, raw_keys)))

    def _raw_key(self, row: int, raw_keys: Sequence[Any]) -> Any:
        new = row - self._rows_seen
        return raw_keys[new] if new >= 0 else self._keys[row]


class _KeysOfRows:
    """The raw keys of rows that some query may still count among its nearest, by the row's number."""

    def __init__(self) -> None:
        self._old: dict[int, Any] = {}
        self._starts: list[int] = []
        self._blocks: list[Sequence[Any]] = []

    def __getitem__(self, row: int) -> Any:
        if row in self._old:
            return self._old[row]
        block = bisect_right(self._starts, row) - 1
        return self._blocks[block][row - self._starts[block]]

    def of(self, rows: Numbers) -> list[Any]:
        """Those of many rows, which ascend."""
        bounds = [*np.searchsorted(rows, self._starts).tolist(), len(rows)]
        keys = [self._old[row] for row in rows[: bounds[0]].tolist()]
        for start, block, first, last in zip(self._starts, self._blocks, bounds, bounds[1:], strict=False):
            keys += [block[place] for place in (rows[first:last] - start).tolist()]
        return keys

    def add(self, start: int, raw_keys: Sequence[Any]) -> None:
        """Those of the rows from ``start`` on."""
        self._starts.append(start)
        self._blocks.append(raw_keys)

    def forget_all_but(self, rows: Numbers) -> None:
        """Lets go the others now and then: to pick single keys out of each block would cost more than they take."""
        if sum(map(len, self._blocks)) > max(_KEYS_KEPT, rows.size):
            alive = _there(rows)
            self._old = dict(zip(alive.tolist(), self.of(alive), strict=True))
            self._starts, self._blocks = [], []


def _there(rows: Numbers) -> Numbers:
    """Each row once, ascending."""
    once = np.unique(rows)
    return once[once >= 0]


@dataclass(frozen=True, kw_only=True)
class _Block:
    vectors: Floats
    """As they are stored; for cosine without the zeros."""
    products: Products
    """Of what queries are multiplied with: the vectors, at unit length for cosine."""
    longest: float
    places: Numbers | None
    """Where the vectors stood in the block, when some were left out."""

    @classmethod
    def of(cls, vectors: Floats, distance: Distance, make_products: MakeProducts) -> "_Block":
        squares = np.einsum("ij,ij->i", vectors, vectors)
        longest = float(np.sqrt(squares.max(initial=0.0)))
        if distance is not Distance.COSINE:
            products = make_products(vectors, squares if distance is Distance.L2 else None)
            return cls(vectors=vectors, products=products, longest=longest, places=None)
        places = None
        if not squares.all():
            places = np.flatnonzero(squares)
            vectors, squares = vectors[places], squares[places]
        are_unit = bool((np.abs(squares - 1) < _NEARLY_UNIT).all())
        directions = vectors if are_unit else vectors / np.sqrt(squares)[:, None]
        return cls(vectors=vectors, products=make_products(directions, None), longest=longest, places=places)


def _in_doubles(vectors: Floats, distance: Distance) -> Doubles:
    """Cosine compares directions: rows at unit length, zeros left as they are."""
    doubles: Doubles = vectors.astype(np.float64)
    if distance is Distance.COSINE:
        lengths = np.linalg.norm(doubles, axis=1, keepdims=True)
        doubles /= np.where(lengths == 0, 1, lengths)
    return doubles


def _distances(query: Doubles, vectors: Doubles, distance: Distance) -> Doubles:
    """(n,) of one query, at unit length for cosine, and (n, d) vectors. Each by itself: einsum adds up a row in the
    same order wherever it stands, as a product of matrices does not."""
    if distance is Distance.L2:
        vectors -= query
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)))
    products = np.einsum("ij,j->i", vectors, query)
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
