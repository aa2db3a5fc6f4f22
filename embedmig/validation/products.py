"""Products of many queries with many rows, and which of them count: by numpy, a part of the rows at a time. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from embedmig.types import Floats

Numbers = npt.NDArray[np.int64]
Within = tuple[Numbers, Numbers, Floats]
"""Pairs of a query and a row, by query, and the score of each."""

ROWS_A_PRODUCT = 2048
"""Products are made for so many rows at a time: they are looked at while still in the processor's cache."""


class Products(Protocol):
    """Rows that queries are multiplied with; a smaller score is nearer. Used by several threads at once."""

    def scores(self, factors: Floats, first: int) -> Floats:
        """(q, n): of the (q, d) ``factors`` with the ``first`` rows."""
        ...

    def within(self, factors: Floats, limits: Floats) -> Within:
        """Where a score is no larger than its query's limit, (q,)."""
        ...


MakeProducts = Callable[[Floats, Floats | None], Products]
"""From a block's (n, d) rows, and their (n,) squares where those are part of the score."""


@dataclass(frozen=True)
class CpuProducts:
    """By numpy, with as many threads as its library takes."""

    rows: Floats
    squares: Floats | None

    def scores(self, factors: Floats, first: int) -> Floats:
        """As Products has it."""
        return self._scores(factors, slice(0, first), None)

    def within(self, factors: Floats, limits: Floats) -> Within:
        """As Products has it."""
        out = np.empty((len(factors), min(ROWS_A_PRODUCT, len(self.rows))), dtype=np.float32)
        found: list[Within] = []
        for start in range(0, len(self.rows), ROWS_A_PRODUCT):
            scores = self._scores(factors, slice(start, start + ROWS_A_PRODUCT), out)
            queries, places = np.divmod(np.flatnonzero(scores <= limits[:, None]), scores.shape[1])
            found.append((queries, places + start, scores[queries, places]))
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
        queries, places, reached = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(queries.astype(np.uint16), kind="stable")
        return queries[order], places[order], reached[order]

    def _scores(self, factors: Floats, part: slice, out: Floats | None) -> Floats:
        rows = self.rows[part]
        scores = np.matmul(factors, rows.T, out=None if out is None else out[:, : len(rows)])
        if self.squares is not None:
            scores += self.squares[part]
        return scores
