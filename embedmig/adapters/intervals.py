"""Bootstrap intervals over queries, the same for the same seed."""

import numpy as np

from embedmig.adapters.normal_equations import Doubles

_RESAMPLES = 1000
_LOW, _HIGH = 0.025, 0.975

Interval = tuple[float, float]


def bootstrap_mean(values: Doubles, *, seed: int = 0) -> Interval:
    """The 95 % interval of the mean of ``values`` (q,); of a difference when they are paired differences."""
    means = values[_resample(len(values), seed)].mean(axis=1)
    return float(np.quantile(means, _LOW)), float(np.quantile(means, _HIGH))


def bootstrap_ratio(values: Doubles, of: Doubles, *, seed: int = 0) -> Interval:
    """The 95 % interval of mean(values) / mean(of), both (q,) over the same queries; 0 where ``of`` is all zeros."""
    chosen = _resample(len(values), seed)
    above, below = values[chosen].mean(axis=1), of[chosen].mean(axis=1)
    ratios = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return float(np.quantile(ratios, _LOW)), float(np.quantile(ratios, _HIGH))


def _resample(n: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return np.random.default_rng(seed).integers(0, n, size=(_RESAMPLES, n))
