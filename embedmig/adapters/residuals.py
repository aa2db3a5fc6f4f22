"""How far mapped vectors lie from true ones when an adapter is made, and whether that still holds later."""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from embedmig.adapters.measures import cosines
from embedmig.errors import AdapterInputError
from embedmig.types import Floats

_FEWEST_FRESH = 30
_Z = 1.96


@dataclass(frozen=True, kw_only=True)
class ResidualStatistics:
    """1 - cosine between a mapped row and the true one, over held-out pairs."""

    n: int
    mean: float
    sd: float
    p95: float


@dataclass(frozen=True, kw_only=True)
class ResidualDrift:
    """Fresh pairs against those of the fit."""

    rise: float
    """Of the mean residual, relative: 0.2 is a fifth more than at fitting."""
    low: float
    high: float
    """The 95 % interval of ``rise``."""
    drifted: bool | None
    """Whether even ``low`` is beyond the bound; None: too few fresh pairs to say."""


def measure_residuals(mapped: Floats, true: Floats) -> ResidualStatistics:
    """Of (n, d) rows and the true vectors of the same texts. Raises AdapterInputError on unequal or no rows."""
    if mapped.shape != true.shape or len(mapped) == 0:
        raise AdapterInputError(f"residuals need mapped and true rows alike, given were {mapped.shape}, {true.shape}")
    residuals = 1 - cosines(mapped, true)
    return ResidualStatistics(
        n=len(residuals),
        mean=float(residuals.mean()),
        sd=float(residuals.std(ddof=1)) if len(residuals) > 1 else 0.0,
        p95=float(np.quantile(residuals, 0.95)),
    )


def compare_residuals(at_fit: ResidualStatistics, fresh: ResidualStatistics, *, bound: float = 0.2) -> ResidualDrift:
    """``bound``: how much larger, relative, the mean residual may have become. Below 30 fresh pairs nothing is
    concluded: no data is neither good nor bad."""
    scale = max(at_fit.mean, 1e-6)
    rise = (fresh.mean - at_fit.mean) / scale
    half = _Z * sqrt(at_fit.sd**2 / at_fit.n + fresh.sd**2 / fresh.n) / scale
    drifted = rise - half > bound if fresh.n >= _FEWEST_FRESH else None
    return ResidualDrift(rise=rise, low=rise - half, high=rise + half, drifted=drifted)
