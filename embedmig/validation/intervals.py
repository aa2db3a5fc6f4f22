"""What a sample of queries says of all queries: means, intervals, a paired test, and how many queries decide. Pure.

Same input, same bits: the random numbers start from a fixed seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

RESAMPLES = 1_999
FLIPS = 9_999
_SEED = 20_240_229
_NUMBERS_AT_ONCE = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over queries with its interval."""

    mean: float
    low: float
    high: float
    confidence: float
    """How often such an interval holds the truth, 0 to 1."""
    queries: int
    spread: float
    """The standard deviation from query to query."""

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.confidence:.0%} interval {self.low:.3f} to {self.high:.3f})"


def estimate_mean(
    values: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    confidence: float = 0.95,
) -> Estimate:
    """The weighted mean of (n,) ``values``, one a query, none of them missing, and its interval.

    The interval is the studentised bootstrap's over queries, and never narrower than Student's t: the first is right
    for skewed values, the second where only a few queries differ at all. ``bounds`` is the range that a value can
    have; where all queries agree, the interval is that of "not one exception in n", and without two queries it is all
    of the range. Raises ValueError for no value at all.
    """
    x = np.asarray(values, dtype=np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    if not x.size:
        raise ValueError("there is no mean of no queries")
    mean, error = _mean_and_error(x, w)
    spread = sqrt(float((w * (x - mean) ** 2).sum() / w.sum()))
    low, high = _interval(x, w, mean, error, bounds, confidence)
    return Estimate(
        mean=mean,
        low=max(bounds[0], min(low, mean)),
        high=min(bounds[1], max(high, mean)),
        confidence=confidence,
        queries=len(x),
        spread=spread,
    )


def effective_queries(weights: npt.ArrayLike) -> float:
    """How many queries of equal weight tell as much as these."""
    w = np.asarray(weights, dtype=np.float64)
    return float(w.sum() ** 2 / (w**2).sum())


def randomisation_p(differences: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Two-sided p-value of the paired randomisation test: how often a mean as far from 0 comes up when it is chance
    which of the two models each query's two results belong to. 1 when no query differs."""
    d = np.asarray(differences, dtype=np.float64)
    contributions = d if weights is None else d * np.asarray(weights, dtype=np.float64)
    observed = abs(contributions.sum())
    if not d.any():
        return 1.0
    generator = np.random.default_rng(_SEED)
    as_far = 0
    for some in _portions(FLIPS, len(d)):
        signs = generator.integers(0, 2, size=(some, len(d)), dtype=np.int8) * 2 - 1
        as_far += int((np.abs(signs @ contributions) >= observed * (1 - 1e-12)).sum())
    return (as_far + 1) / (FLIPS + 1)


def detectable_difference(queries: float, spread: float, *, confidence: float = 0.95, power: float = 0.8) -> float:
    """The smallest true difference that so many queries show with probability ``power``, when differences vary by
    ``spread`` (their standard deviation) from query to query."""
    return (_normal(0.5 + confidence / 2) + _normal(power)) * spread / sqrt(max(queries, 1))


def queries_to_clear(estimate: Estimate, threshold: float) -> int | None:
    """About how many queries in all would bring the lower bound over ``threshold`` if the mean stays; None when the
    mean is not over it, and more queries would not help."""
    gap = estimate.mean - threshold
    if gap <= 0:
        return None
    needed = (_normal(0.5 + estimate.confidence / 2) * estimate.spread / gap) ** 2
    return max(estimate.queries + 1, ceil(needed))


def _mean_and_error(x: Doubles, w: Doubles) -> tuple[float, float]:
    """The weighted mean and its standard error."""
    mean = float((w * x).sum() / w.sum())
    n = effective_queries(w)
    # Equal values differ from their mean by rounding: that is no spread.
    off = np.where(np.isclose(x, mean, rtol=0, atol=1e-12), 0.0, x - mean)
    error = sqrt(float((w**2 * off**2).sum())) / float(w.sum())
    return mean, error * sqrt(n / (n - 1)) if n > 1 else 0.0


def _interval(
    x: Doubles, w: Doubles, mean: float, error: float, bounds: tuple[float, float], confidence: float
) -> tuple[float, float]:
    n = effective_queries(w)
    if n < 2:
        return bounds
    tail = (1 - confidence) / 2
    if error == 0:
        unseen = 1 - tail ** (1 / n)
        return mean - (mean - bounds[0]) * unseen, mean + (bounds[1] - mean) * unseen
    reach = student_t(1 - tail, int(n) - 1) * error
    low, high = _bootstrap_t(x, w, mean, error, tail) or (mean, mean)
    return min(low, mean - reach), max(high, mean + reach)


def _bootstrap_t(x: Doubles, w: Doubles, mean: float, error: float, tail: float) -> tuple[float, float] | None:
    """None where too many resamples hold one value only."""
    generator = np.random.default_rng(_SEED)
    studentised = []
    for some in _portions(RESAMPLES, len(x)):
        drawn = generator.integers(0, len(x), size=(some, len(x)))
        xs, ws = x[drawn], w[drawn]
        totals = ws.sum(axis=1)
        means = (ws * xs).sum(axis=1) / totals
        n = totals**2 / (ws**2).sum(axis=1)
        errors = np.sqrt((ws**2 * (xs - means[:, None]) ** 2).sum(axis=1)) / totals * np.sqrt(n / np.maximum(n - 1, 1))
        sound = errors > 1e-9
        studentised.append((means[sound] - mean) / errors[sound])
    t = np.concatenate(studentised)
    if len(t) < 0.9 * RESAMPLES:
        return None
    upper, lower = np.quantile(t, [1 - tail, tail])
    return mean - float(upper) * error, mean - float(lower) * error


def student_t(p: float, freedom: int) -> float:
    """The quantile at ``p`` of Student's t with ``freedom`` degrees, to 1 % for p up to 0.9995."""
    if freedom == 1:
        return float(np.tan(np.pi * (p - 0.5)))
    if freedom == 2:
        return (2 * p - 1) / sqrt(2 * p * (1 - p))
    z, v = _normal(p), float(freedom)
    # Cornish and Fisher's expansion around the normal quantile.
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )


def _normal(p: float) -> float:
    return NormalDist().inv_cdf(p)


def _portions(total: int, width: int) -> Iterator[int]:
    """``total`` rows of ``width`` numbers in portions that fit into memory."""
    most = max(1, _NUMBERS_AT_ONCE // max(width, 1))
    while total > 0:
        yield min(most, total)
        total -= most
