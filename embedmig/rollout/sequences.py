"""Evidence that may be looked at after every request: tests by betting, for shares, bounded means and quantiles. Pure.

Each function gives the logarithm of a wealth that starts at 1 and, while its hypothesis holds, is a nonnegative
supermartingale: by Ville's inequality it ever reaches 1/alpha with probability alpha at most, however often it
is looked at (a fixed interval, looked at each minute, would cry wolf within days). Sources: Waudby-Smith and Ramdas,
"Estimating means of bounded random variables by betting" (JRSS B, 2024), for bets on a mean; Howard, Ramdas, McAuliffe
and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences" (Annals of Statistics, 2021), whose
sub-Bernoulli bound makes the test of a share hold for its mean over time when the share itself wanders, as it does from
day to night; Howard and Ramdas, "Sequential estimation of quantiles with applications to A/B testing and best-arm
identification" (Bernoulli, 2022), for quantiles as shares beyond an edge.

Bets are spread over a fixed grid, as a mixture, and not tuned on the way: so the wealth hangs on counts alone, in
whatever order they were added up by however many processes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Numbers = npt.ArrayLike

_TILTS: Doubles = np.geomspace(0.01, 8.0, 20)
"""For shares: good from one half down to one in ten thousand."""
_STAKES: Doubles = 0.98 * 0.5 ** np.arange(0, 9, 0.5)
"""For means: of all that may be staked, the part that is."""


def log_wealth_above(successes: Numbers, trials: Numbers, share: Numbers) -> Doubles:
    """Against "at most ``share`` of the trials succeed": grows when more do. Arguments broadcast."""
    return _log_wealth_of_share(successes, trials, share, _TILTS)


def log_wealth_below(successes: Numbers, trials: Numbers, share: Numbers) -> Doubles:
    """Against "at least ``share`` of the trials succeed": grows when fewer do. Arguments broadcast."""
    return _log_wealth_of_share(successes, trials, share, -_TILTS)


def log_wealth_mean_above(values: Numbers, counts: Numbers, mean: float) -> Doubles:
    """Against "the mean is ``mean`` at most". ``values``: (v,) what can be seen, the least and the greatest among
    them; ``counts``: (..., v) how often each was."""
    seen = np.asarray(values, dtype=np.float64)
    return _log_wealth_of_mean(seen - mean, counts, mean - float(seen.min()))


def log_wealth_mean_below(values: Numbers, counts: Numbers, mean: float) -> Doubles:
    """Against "the mean is ``mean`` at least"."""
    seen = np.asarray(values, dtype=np.float64)
    return _log_wealth_of_mean(mean - seen, counts, float(seen.max()) - mean)


def _log_wealth_of_share(successes: Numbers, trials: Numbers, share: Numbers, tilts: Doubles) -> Doubles:
    k, n, p = (np.asarray(x, dtype=np.float64)[..., None] for x in (successes, trials, share))
    # Of trials with different shares, n log(mean) is at least the sum of logs: the wealth is none too large.
    return _mixed(k * tilts - n * np.log1p(np.clip(p, 0, 1) * np.expm1(tilts)))


def _log_wealth_of_mean(gains: Doubles, counts: Numbers, most_lost: float) -> Doubles:
    if most_lost <= 0:
        return np.zeros(np.asarray(counts).shape[:-1])
    bets = np.log1p(np.outer(_STAKES / most_lost, gains))
    return _mixed(np.asarray(counts, dtype=np.float64) @ bets.T)


def _mixed(logs: Any) -> Doubles:
    """The logarithm of the mean over the last axis."""
    top = logs.max(axis=-1)
    mixed: Doubles = top + np.log(np.exp(logs - top[..., None]).mean(axis=-1))
    return mixed
