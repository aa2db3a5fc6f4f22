"""How means and p-values are estimated: for one look at all queries, or for looks after every block. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy.typing as npt

from embedmig.validation.intervals import Estimate, estimate_mean, randomisation_p
from embedmig.validation.sequences import anytime_mean, anytime_p


class MeanEstimator(Protocol):
    """A weighted mean of values within ``bounds``, with its interval."""

    def __call__(
        self,
        values: npt.ArrayLike,
        weights: npt.ArrayLike | None = None,
        *,
        bounds: tuple[float, float] = (0.0, 1.0),
        confidence: float = 0.95,
    ) -> Estimate: ...


@dataclass(frozen=True, kw_only=True)
class Inference:
    """A way to estimate."""

    mean: MeanEstimator
    p_value: Callable[[npt.ArrayLike, npt.ArrayLike | None], float]
    """Two-sided, of "no difference"."""


ONE_LOOK = Inference(mean=estimate_mean, p_value=randomisation_p)
ANYTIME = Inference(mean=anytime_mean, p_value=anytime_p)
"""Holds however often one looks; the values come in the order in which the queries were asked."""
