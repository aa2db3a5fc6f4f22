"""What every linear adapter does once it is fitted: one matrix product, quickly, for one row or a million."""

from collections.abc import Callable, Iterable
from math import isfinite, sqrt
from typing import Any, Self

import numpy as np

from embedmig.adapters.checks import as_pairs, to_unit_rows
from embedmig.adapters.estimator import Estimator
from embedmig.adapters.measures import mean_cosine
from embedmig.adapters.normal_equations import Doubles, NormalEquations
from embedmig.errors import AdapterInputError
from embedmig.types import Floats

Blocks = Callable[[], Iterable[tuple[Floats, Floats]]]
"""Called for each pass over the pairs: gives (X, Y) in blocks, the same blocks in the same order each time."""

_BLOCK_ROWS = 4096
_NO_VECTOR = "holds NaN, infinity or only zeros"
_NOWHERE = "is mapped to zeros: it lies outside all that was fitted"


class LinearAdapter(Estimator):
    """x -> x W + b, scaled to unit length when ``normalise``.

    After fit: ``weights_`` (d_from, d_to) and ``bias_`` (d_to,) or None, float32; ``n_fit_``, the number of pairs;
    ``notes_``, what was odd about them.
    """

    normalise: bool
    weights_: Floats
    bias_: Floats | None
    n_fit_: int
    notes_: tuple[str, ...]

    def fit(self, X: Any, Y: Any) -> Self:
        """``X``: (n, d_from), ``Y``: (n, d_to), row by row the same texts; left unchanged.

        Raises AdapterInputError on unequal rows, values that are not finite, or under 250 pairs; warns
        (AdapterWarning) under 500, and of columns that carry nothing.
        """
        X, Y = as_pairs(X, Y)
        return self.fit_blocks(lambda: [(X, Y)])

    def fit_blocks(self, blocks: Blocks) -> Self:
        """The same from pairs that are read in blocks: memory does not grow with their number.

        ``blocks()`` is called once for each pass that is needed. Raises as ``fit`` does.
        """
        raise NotImplementedError

    def fit_transform(self, X: Any, Y: Any) -> Floats:
        """``fit(X, Y).transform(X)``: the rows fitted on, so no figure for how good it is."""
        return self.fit(X, Y).transform(X)

    def score(self, X: Any, Y: Any) -> float:
        """The mean cosine between ``transform(X)`` and ``Y``, from -1 to 1: what GridSearchCV maximises."""
        X, Y = as_pairs(X, Y)
        return mean_cosine(self.transform(X), Y)

    def transform(self, X: Any, out: Floats | None = None) -> Floats:
        """(n, d_to) float32, unit length when ``normalise``, written into ``out`` when given.

        Raises AdapterNotFittedError before fit, AdapterInputError on another width or values not finite.
        """
        self._require_fitted()
        rows = np.asarray(X, dtype=np.float32) if getattr(X, "dtype", None) != np.float32 else X
        if getattr(rows, "ndim", 0) != 2 or rows.shape[1] != self.weights_.shape[0]:
            self._refuse_width(rows)
        if out is None:
            out = np.empty((len(rows), self.weights_.shape[1]), dtype=np.float32)
        if len(rows) == 1:
            self.transform_one(rows[0], out[0])
            return out
        for start in range(0, len(rows), _BLOCK_ROWS):
            self._transform_block(rows[start : start + _BLOCK_ROWS], out[start : start + _BLOCK_ROWS], start)
        return out

    def transform_one(self, x: Floats, out: Floats | None = None) -> Floats:
        """(d_to,) for one float32 vector (d_from,): what a search calls, some microseconds.

        Raises as ``transform`` does.
        """
        try:
            length = sqrt(x.dot(x))
            if not isfinite(length) or (length == 0 and self.normalise):
                raise AdapterInputError(f"the vector {_NO_VECTOR}")
            mapped = x.dot(self.weights_, out)
        except (AttributeError, TypeError, ValueError):
            # Asked for only now: a search that goes well does not pay for the question.
            self._require_fitted()
            self._refuse_width(x)
            raise
        if self.bias_ is not None:
            if self.normalise and length != 1:
                mapped *= 1 / length
            mapped += self.bias_
        if self.normalise:
            length = sqrt(mapped.dot(mapped))
            if length == 0:
                raise AdapterInputError(f"the vector {_NOWHERE}")
            mapped *= 1 / length
        return mapped

    def _transform_block(self, rows: Floats, out: Floats, start: int) -> None:
        lengths = _lengths(rows)
        bad = ~np.isfinite(lengths) | ((lengths == 0) & self.normalise)
        if bad.any():
            raise AdapterInputError(f"row {start + int(bad.argmax())} {_NO_VECTOR}")
        np.matmul(rows, self.weights_, out=out)
        if self.bias_ is not None:
            if self.normalise:
                out /= lengths[:, None]
            out += self.bias_
        if self.normalise:
            lengths = _lengths(out)
            if not lengths.all():
                raise AdapterInputError(f"row {start + int(lengths.argmin())} {_NOWHERE}")
            out /= lengths[:, None]

    def _refuse_width(self, rows: Any) -> None:
        raise AdapterInputError(
            f"{type(self).__name__} was fitted on vectors of {self.weights_.shape[0]} dimensions, given was an array"
            f" of shape {np.shape(rows)}: is it from another model?"
        )

    def _learn(self, weights: Doubles, bias: Doubles | None, *, n: int, notes: tuple[str, ...]) -> Self:
        self.weights_ = np.ascontiguousarray(weights, dtype=np.float32)
        self.bias_ = None if bias is None else np.ascontiguousarray(bias, dtype=np.float32)
        self.n_fit_, self.notes_ = n, notes
        return self


def sum_blocks(blocks: Blocks, *, normalise: bool) -> NormalEquations:
    """The normal equations of all blocks. Raises AdapterInputError when they cannot be summed."""
    sums = NormalEquations(0, 0)
    for block in blocks():
        X, Y = read_block(*block, normalise=normalise)
        sums = sums if sums.n else NormalEquations(X.shape[1], Y.shape[1])
        sums.add(X, Y)
    return sums


def read_block(X: Any, Y: Any, *, normalise: bool) -> tuple[Floats, Floats]:
    """One block as it is fitted: checked, and at unit length when ``normalise``."""
    X, Y = as_pairs(X, Y)
    return (to_unit_rows(X, "X"), to_unit_rows(Y, "Y")) if normalise else (X, Y)


def _lengths(rows: Floats) -> Floats:
    lengths: Floats = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return lengths
