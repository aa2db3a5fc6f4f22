"""Intervals and p-values that hold at every moment, however often one looks and whenever one stops. Pure.

By betting against each candidate for the mean (Waudby-Smith and Ramdas, "Estimating means of bounded random variables
by betting", JRSS B 2024, sections 4.2 and 4.4): a bettor whose stakes depend on the past alone gains nothing on the
true mean, so that by Ville's inequality his capital on it ever passes 1/alpha in at most alpha of all runs. What
capital has passed that is excluded for good. The order of the values is the order in which they came.
"""

from math import log

import numpy as np
import numpy.typing as npt

from embedmig.validation.intervals import Estimate

Doubles = npt.NDArray[np.float64]

_CANDIDATES = 1_001
_STAKE = 0.5
"""At most this share of the capital can be lost by one value."""


def anytime_mean(
    values: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    confidence: float = 0.95,
) -> Estimate:
    """As ``estimate_mean``, and the interval holds together with those of all earlier looks at the first of these
    values. Raises ValueError for no value at all."""
    x, w = _arrays(values, weights)
    if not x.size:
        raise ValueError("there is no mean of no queries")
    lows, highs = anytime_path(x, w, bounds=bounds, confidence=confidence)
    mean = float((w * x).sum() / w.sum())
    return Estimate(
        mean=mean,
        low=min(float(lows[-1]), mean),
        high=max(float(highs[-1]), mean),
        confidence=confidence,
        queries=len(x),
        spread=float(np.sqrt((w * (x - mean) ** 2).sum() / w.sum())),
    )


def anytime_path(
    values: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    confidence: float = 0.95,
) -> tuple[Doubles, Doubles]:
    """(n,) lower and upper bounds of the weighted mean after each of (n,) values. All of them together hold the truth
    with probability ``confidence``; later ones lie within earlier ones."""
    x, w = _arrays(values, weights)
    width = bounds[1] - bounds[0]
    candidates = np.linspace(0, 1, _CANDIDATES)
    capital = _log_capital((x - bounds[0]) / width, w, candidates, 1 - confidence)
    # Once excluded, always excluded; what lies between an excluded candidate and its neighbour is still possible.
    excluded = np.maximum.accumulate(capital, axis=0) >= log(1 / (1 - confidence))
    possible = ~excluded
    possible[~possible.any(axis=1)] = True
    step = 1 / (_CANDIDATES - 1)
    lows = np.maximum(candidates[possible.argmax(axis=1)] - step, 0)
    highs = np.minimum(candidates[_CANDIDATES - 1 - possible[:, ::-1].argmax(axis=1)] + step, 1)
    return bounds[0] + width * lows, bounds[0] + width * highs


def anytime_p(differences: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Two-sided p-value of "the mean of these differences, each from -1 to 1, is 0", valid whenever one stops: one
    over the most that the bettor ever had."""
    d, w = _arrays(differences, weights)
    capital = _log_capital((d + 1) / 2, w, np.array([0.5]), 0.05)
    return float(min(1.0, np.exp(-capital.max())))


def _log_capital(x: Doubles, w: Doubles, candidates: Doubles, alpha: float) -> Doubles:
    """(n, c): the log of the larger of two bettors' halves, one betting that the mean is above the candidate, one
    below. A query of weight w counts as w / (the largest weight): its stakes are that share of the others'."""
    share = w / w.max()
    stakes = _stakes(x, share, alpha)
    gains = share[:, None] * (x[:, None] - candidates[None, :])
    with np.errstate(divide="ignore"):
        above = np.minimum(stakes[:, None], _STAKE / candidates[None, :])
        below = np.minimum(stakes[:, None], _STAKE / (1 - candidates[None, :]))
    up = np.cumsum(np.log1p(above * gains), axis=0)
    down = np.cumsum(np.log1p(-below * gains), axis=0)
    larger: Doubles = np.maximum(up, down) - log(2)
    return larger


def _stakes(x: Doubles, share: Doubles, alpha: float) -> Doubles:
    """(n,): what is staked on each value, from those before it alone: more, the less they varied."""
    n = np.arange(1, len(x) + 1)
    seen, total = np.cumsum(share), np.cumsum(share * x)
    means = (0.5 + total) / (1 + seen)
    variances = (0.25 + np.cumsum((share * (x - means)) ** 2)) / (n + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    stakes: Doubles = np.sqrt(2 * log(2 / alpha) / (before * n * np.log1p(n)))
    return stakes


def _arrays(values: npt.ArrayLike, weights: npt.ArrayLike | None) -> tuple[Doubles, Doubles]:
    x = np.asarray(values, dtype=np.float64)
    return x, np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
