"""All that least squares and Procrustes need to know of a million pairs, in sums that fit in memory."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from embedmig.errors import AdapterInputError
from embedmig.types import Floats

Doubles = npt.NDArray[np.float64]

_BLOCK_ROWS = 4096


@dataclass(frozen=True, eq=False, kw_only=True)
class Moments:
    """Sums over n pairs, about their means."""

    n: int
    mean_x: Doubles
    mean_y: Doubles
    gram: Doubles
    """(d_from, d_from): sum of (x - mean_x)(x - mean_x)'."""
    cross: Doubles
    """(d_from, d_to): sum of (x - mean_x)(y - mean_y)'."""
    square_y: Doubles
    """(d_to,): sum of (y - mean_y)^2."""


class NormalEquations:
    """Sums over pairs (x, y), added block by block: (d_from + d_to) x d_from numbers, whatever the number of pairs.

    Products are computed in the precision of what is given, 4,096 rows at a time, about the first block's mean (so
    that nothing is lost where columns lie far from zero), and summed in float64.
    """

    def __init__(self, d_from: int, d_to: int) -> None:
        self.n = 0
        self._shift_x, self._shift_y = np.zeros(d_from), np.zeros(d_to)
        self._sum_x, self._sum_y = np.zeros(d_from), np.zeros(d_to)
        self._gram, self._cross = np.zeros((d_from, d_from)), np.zeros((d_from, d_to))
        self._square_y = np.zeros(d_to)

    @property
    def d_from(self) -> int:
        """Dimensions of x."""
        return self._sum_x.size

    @property
    def d_to(self) -> int:
        """Dimensions of y."""
        return self._sum_y.size

    def add(self, X: Floats, Y: Floats) -> Self:
        """Adds pairs: (n, d_from) and (n, d_to). Raises AdapterInputError on another shape or values not finite; what
        was added before stands."""
        if X.ndim != 2 or Y.ndim != 2 or X.shape != (len(Y), self.d_from) or Y.shape[1] != self.d_to:
            raise AdapterInputError(
                f"sums over pairs of {self.d_from} and {self.d_to} dimensions cannot take {X.shape} and {Y.shape}"
            )
        for start in range(0, len(X), _BLOCK_ROWS):
            self._add_block(X[start : start + _BLOCK_ROWS], Y[start : start + _BLOCK_ROWS])
        return self

    def _add_block(self, X: Floats, Y: Floats) -> None:
        sum_x, sum_y = X.sum(axis=0, dtype=np.float64), Y.sum(axis=0, dtype=np.float64)
        if not (np.isfinite(sum_x).all() and np.isfinite(sum_y).all()):
            raise AdapterInputError(
                "the pairs hold NaN or infinity: leave out those rows, and ask where they came from"
            )
        if self.n == 0:
            # As float32 has them, so that exactly these are subtracted from rows of either precision.
            self._shift_x = (sum_x / len(X)).astype(np.float32).astype(np.float64)
            self._shift_y = (sum_y / len(X)).astype(np.float32).astype(np.float64)
        self._sum_x += sum_x - len(X) * self._shift_x
        self._sum_y += sum_y - len(X) * self._shift_y
        X, Y = X - self._shift_x.astype(X.dtype), Y - self._shift_y.astype(Y.dtype)
        # The same array twice: BLAS then computes one triangle.
        self._gram += X.T @ X
        self._cross += X.T @ Y
        self._square_y += np.einsum("ij,ij->j", Y, Y)
        self.n += len(X)

    @classmethod
    def merged(cls, parts: Iterable["NormalEquations"]) -> Self:
        """The sums over all parts' pairs, as if they had been added to one. Raises AdapterInputError when their
        dimensions differ or there is none."""
        parts = list(parts)
        if not parts or len({(part.d_from, part.d_to) for part in parts}) > 1:
            raise AdapterInputError("sums can be merged when there are some, all of the same dimensions")
        total = cls(parts[0].d_from, parts[0].d_to)
        filled = [part for part in parts if part.n]
        if filled:
            total._shift_x, total._shift_y = filled[0]._shift_x, filled[0]._shift_y
        for part in filled:
            total._take(part)
        return total

    def _take(self, part: "NormalEquations") -> None:
        """Adds a part's sums, moved from its shift to this one's."""
        by_x, by_y = part._shift_x - self._shift_x, part._shift_y - self._shift_y
        sum_x, sum_y = part._sum_x, part._sum_y
        self._gram += part._gram + np.outer(sum_x, by_x) + np.outer(by_x, sum_x) + part.n * np.outer(by_x, by_x)
        self._cross += part._cross + np.outer(sum_x, by_y) + np.outer(by_x, sum_y) + part.n * np.outer(by_x, by_y)
        self._square_y += part._square_y + 2 * by_y * sum_y + part.n * by_y**2
        self._sum_x += sum_x + part.n * by_x
        self._sum_y += sum_y + part.n * by_y
        self.n += part.n

    def moments(self) -> Moments:
        """The sums about the means. Raises AdapterInputError when no pair was added."""
        if self.n == 0:
            raise AdapterInputError("no pairs were added")
        drift_x, drift_y = self._sum_x / self.n, self._sum_y / self.n
        return Moments(
            n=self.n,
            mean_x=self._shift_x + drift_x,
            mean_y=self._shift_y + drift_y,
            gram=self._gram - np.outer(self._sum_x, drift_x),
            cross=self._cross - np.outer(self._sum_x, drift_y),
            square_y=np.maximum(self._square_y - self._sum_y * drift_y, 0.0),
        )
