"""How far a vector lies from everything an adapter was fitted on: there a map only guesses."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedmig.adapters.normal_equations import Moments
from embedmig.errors import AdapterInputError
from embedmig.types import Floats

_SHRINKAGE = 1.0
"""Of the mean variance, added to every direction: fewer of one's own short queries are flagged, as many strangers."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Farness:
    """Mahalanobis distances from the fitted rows, and the distance from which a vector counts as far."""

    mean: Floats
    """(d_from,)"""
    whitener: Floats
    """(d_from, d_from)"""
    threshold: float

    def distances(self, X: Floats) -> Floats:
        """(n,): 0 at the mean of the fitted rows, about the square root of d_from at a usual one.

        Raises AdapterInputError when X is not (n, d_from).
        """
        X = np.asarray(X, dtype=np.float32)
        if X.ndim != 2 or X.shape[1] != self.mean.size:
            raise AdapterInputError(f"fitted on vectors of {self.mean.size} dimensions, given was shape {X.shape}")
        result: Floats = np.linalg.norm((X - self.mean) @ self.whitener, axis=1)
        return result

    def are_far(self, X: Floats) -> npt.NDArray[np.bool_]:
        """(n,): whether each row lies farther out than all but the last of the held-out rows."""
        return self.distances(X) > self.threshold


def fit_farness(moments: Moments, held_out: Floats, *, quantile: float = 0.99) -> Farness:
    """Distances by the moments of the fitted x; the threshold is a quantile over ``held_out`` (m, d_from), rows of the
    same kind that the moments know nothing of."""
    variances, directions = np.linalg.eigh(moments.gram / moments.n)
    variances = np.maximum(variances, 0) + _SHRINKAGE * max(float(variances.mean()), np.finfo(float).tiny)
    unset = Farness(
        mean=moments.mean_x.astype(np.float32),
        whitener=(directions / np.sqrt(variances)).astype(np.float32),
        threshold=np.inf,
    )
    threshold = float(np.quantile(unset.distances(held_out), quantile))
    return Farness(mean=unset.mean, whitener=unset.whitener, threshold=threshold)
