"""Least squares with a bias: what bridges are made of."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from embedmig.adapters.checks import describe_poverty, require_enough, say
from embedmig.adapters.linear import Blocks, LinearAdapter, sum_blocks
from embedmig.adapters.normal_equations import Doubles, Moments, NormalEquations
from embedmig.errors import AdapterInputError
from embedmig.types import Floats

_SMALLEST, _LARGEST = 1e-9, 1e2
"""The penalties that are tried, as shares of the largest eigenvalue."""
_MOST_FREEDOM = 0.9
"""Of the pairs. Where the fit has nearly as many degrees of freedom as pairs, both sides of GCV's fraction go to 0."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RidgeSolution:
    """The map that minimises sum |y - x W - b|^2 + alpha |W - prior|^2."""

    weights: Doubles
    bias: Doubles
    alpha: float
    eigenvalues: Doubles
    """Of the centred gram matrix."""
    degrees_of_freedom: float
    """Per output column, the bias counted: the trace of the hat matrix."""


def solve_ridge(moments: Moments, *, alpha: float | None = None, prior: Doubles | None = None) -> RidgeSolution:
    """One eigendecomposition; every penalty's solution and its GCV score follow from it in closed form.

    ``alpha`` None: the penalty with the least generalised cross-validation score, one for all columns.
    """
    cross = moments.cross if prior is None else moments.cross - moments.gram @ prior
    square = float(moments.square_y.sum())
    if prior is not None:
        square += float((prior * (moments.gram @ prior - 2 * moments.cross)).sum())
    eigenvalues, vectors = np.linalg.eigh(moments.gram)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    rotated = vectors.T @ cross
    if alpha is None:
        alpha = choose_alpha(eigenvalues, np.einsum("ij,ij->i", rotated, rotated), square, moments.n)
    damped = eigenvalues + alpha
    weights = vectors @ np.divide(rotated, damped[:, None], out=np.zeros_like(rotated), where=damped[:, None] > 0)
    if prior is not None:
        weights += prior
    return RidgeSolution(
        weights=weights,
        bias=moments.mean_y - moments.mean_x @ weights,
        alpha=alpha,
        eigenvalues=eigenvalues,
        degrees_of_freedom=1 + _freedom(eigenvalues, alpha),
    )


def choose_alpha(eigenvalues: Doubles, energies: Doubles, square: float, n: int) -> float:
    """The penalty with the least GCV score n RSS / (n - df)^2: a coarse grid, then a fine one around its best.

    ``energies``: (d,) the squared length of the cross products along each eigenvector; ``square``: the targets' sum
    of squares about their mean.
    """
    largest = float(eigenvalues.max(initial=0.0))
    if largest == 0:
        return 1.0
    grid = largest * np.logspace(np.log10(_SMALLEST), np.log10(_LARGEST), 56)
    best = _least_gcv(grid, eigenvalues, energies, square, n)
    step = grid[1] / grid[0]
    return _least_gcv(best * np.logspace(-1, 1, 21, base=step), eigenvalues, energies, square, n)


def _least_gcv(grid: Doubles, eigenvalues: Doubles, energies: Doubles, square: float, n: int) -> float:
    scores = []
    for alpha in grid:
        left = n - 1 - _freedom(eigenvalues, alpha)
        residual = square - float((energies * (eigenvalues + 2 * alpha) / (eigenvalues + alpha) ** 2).sum())
        scores.append(n * max(residual, 0.0) / left**2 if left > (1 - _MOST_FREEDOM) * n else np.inf)
    return float(grid[int(np.argmin(scores))])


def _freedom(eigenvalues: Doubles, alpha: float) -> float:
    damped = eigenvalues + alpha
    return float(np.divide(eigenvalues, damped, out=np.zeros_like(damped), where=damped > 0).sum())


class RidgeAdapter(LinearAdapter):
    """Least squares with a bias; the default bridge.

    ``alpha``: the penalty on squared weights, as in scikit-learn's Ridge; None chooses it by generalised
    cross-validation. ``normalise``: rows are scaled to unit length before fitting and after mapping, which is right
    for cosine; False for models whose lengths mean something. ``prior``: (d_from, d_to) weights, of an adapter fitted
    on another domain's pairs, that the penalty draws towards instead of zero.

    After fit, besides what LinearAdapter says: ``alpha_``, ``degrees_of_freedom_``.
    """

    alpha_: float
    degrees_of_freedom_: float

    def __init__(self, alpha: float | None = None, normalise: bool = True, prior: Floats | None = None) -> None:
        self.alpha = alpha
        self.normalise = normalise
        self.prior = prior

    def fit_blocks(self, blocks: Blocks) -> Self:
        """One pass over the blocks."""
        return self.fit_sums(sum_blocks(blocks, normalise=self.normalise))

    def fit_sums(self, sums: NormalEquations) -> Self:
        """The same from sums that the caller gathered (over rows of unit length when ``normalise``).

        Raises AdapterInputError under 250 pairs, or when ``prior`` has another shape.
        """
        notes = require_enough(sums.n, of_a_part=self._of_a_part)
        moments = sums.moments()
        solution = solve_ridge(moments, alpha=self.alpha, prior=self._read_prior(sums))
        notes += describe_poverty(moments, solution.eigenvalues)
        self.alpha_, self.degrees_of_freedom_ = solution.alpha, solution.degrees_of_freedom
        return self._learn(solution.weights, solution.bias, n=sums.n, notes=say(notes, of_a_part=self._of_a_part))

    def _read_prior(self, sums: NormalEquations) -> Doubles | None:
        if self.prior is None:
            return None
        prior = np.asarray(self.prior, dtype=np.float64)
        if prior.shape != (sums.d_from, sums.d_to):
            raise AdapterInputError(
                f"the prior has shape {prior.shape}, these pairs want {(sums.d_from, sums.d_to)}: is it another pair's?"
            )
        return prior
