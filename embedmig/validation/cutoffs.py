"""What becomes of an application's similarity cut-off when the model, and with it the scale, changes. Pure.

A *similarity* is what applications compare with a number: 1 - distance for cosine, the inner product, and for l2 the
distance itself, which they want small.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from embedmig.types import Distance

Doubles = npt.NDArray[np.float64]
Keeps = Literal["share", "precision"]

_RESAMPLES = 999
_SEED = 20_240_229
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, kw_only=True)
class Hits:
    """The first rows of each query: (q, k) distances, NaN where there are fewer, and weights (q,).

    ``relevant``: (q, k), 1 for relevant, 0 for not, NaN where the query is not judged; None when none is.
    """

    distance: Distance
    distances: Doubles
    weights: Doubles
    relevant: Doubles | None = None


@dataclass(frozen=True, kw_only=True)
class Band:
    """Where a model's similarities lie: the 5, 25, 50, 75 and 95 % points over queries."""

    nearest: tuple[float, ...]
    """Of each query's nearest row."""
    shown: tuple[float, ...]
    """Of all its first rows."""


@dataclass(frozen=True, kw_only=True)
class Cutoff:
    """A cut-off on the old scale, and the one on the new scale that does the same."""

    given: float
    keeps: Keeps
    """What stays the same: the share of rows let through, or the precision among them."""
    kept: float | None
    """That share or precision under the old model, 0 to 1; None when nothing passes."""
    kept_unchanged: float | None
    """What it would become if the old number stayed in the code."""
    equivalent: float | None
    """The new number; None when there is none: see ``note``."""
    low: float | None
    high: float | None
    note: str


def similarities(distances: Doubles, distance: Distance) -> Doubles:
    """Distances as applications see them, and back: it is its own inverse."""
    match distance:
        case Distance.COSINE:
            return 1 - distances
        case Distance.INNER_PRODUCT:
            return -distances
        case Distance.L2:
            return distances


def describe_band(hits: Hits) -> Band:
    """The band of (q, k) hits, of which there is at least one."""
    similar = similarities(hits.distances, hits.distance)
    return Band(nearest=_quantiles(similar[:, 0]), shown=_quantiles(similar))


def translate_cutoff(given: float, source: Hits, target: Hits, keeps: Keeps, *, confidence: float = 0.95) -> Cutoff:
    """The number on the target's scale that keeps the share of rows let through, or the precision among them.

    For precision it is the widest cut-off that is as precise, over the judged queries. The interval is the
    bootstrap's over queries.
    """
    old, new = _Sorted(source, keeps), _Sorted(target, keeps)
    limit = _flip(given, source.distance)
    kept = old.kept_within(limit, source.weights)
    unchanged = new.kept_within(_flip(given, target.distance), target.weights)
    note = _why_not(keeps, kept)
    found = None if note or kept is None else new.limit_keeping(kept, target.weights)
    if found is None or kept is None:
        return Cutoff(
            given=given,
            keeps=keeps,
            kept=kept,
            kept_unchanged=unchanged,
            equivalent=None,
            low=None,
            high=None,
            note=note or "no cut-off on the new scale is as precise",
        )
    resampled = list(_resampled_limits(limit, old, new, source.weights))
    tail = (1 - confidence) / 2
    ends = similarities(np.quantile(np.array([*resampled, found]), [tail, 1 - tail]), target.distance)
    return Cutoff(
        given=given,
        keeps=keeps,
        kept=kept,
        kept_unchanged=unchanged,
        equivalent=_flip(found, target.distance),
        low=float(ends.min()),
        high=float(ends.max()),
        note="" if len(resampled) > 0.9 * _RESAMPLES else "it hangs on few queries: many resamples have no such number",
    )


class _Sorted:
    """The hits of all queries by distance, so that any cut-off under any weights is one look-up."""

    def __init__(self, hits: Hits, keeps: Keeps) -> None:
        counted = ~np.isnan(hits.distances)
        if keeps == "precision" and hits.relevant is not None:
            counted &= ~np.isnan(hits.relevant)
        queries, _ = np.nonzero(counted)
        distances = hits.distances[counted]
        order = np.argsort(distances, kind="stable")
        self._distances, self._queries = distances[order], queries[order]
        self._relevant = None if keeps == "share" or hits.relevant is None else hits.relevant[counted][order]

    def kept_within(self, limit: float, weights: Doubles) -> float | None:
        """The share of hits up to ``limit``, or the precision among them; None when there is nothing to divide by."""
        passing, total, relevant = self._sums(weights)
        place = int(np.searchsorted(self._distances, limit, side="right")) - 1
        if relevant is None:
            if not total:
                return None
            return float(passing[place] / total) if place >= 0 else 0.0
        return float(relevant[place] / passing[place]) if place >= 0 and passing[place] else None

    def limit_keeping(self, kept: float, weights: Doubles) -> float | None:
        """The distance that lets the share ``kept`` through, or the widest whose precision is at least ``kept``."""
        passing, total, relevant = self._sums(weights)
        if not total:
            return None
        if relevant is None:
            place = int(np.searchsorted(passing, kept * total * (1 - 1e-12)))
            return float(self._distances[min(place, len(passing) - 1)])
        # Equal distances pass together: only the last of them is a cut-off.
        last = np.append(self._distances[1:] > self._distances[:-1], True) & (passing > 0)
        precise = np.flatnonzero(last & (relevant >= kept * passing * (1 - 1e-12)))
        return float(self._distances[precise[-1]]) if precise.size else None

    def _sums(self, weights: Doubles) -> tuple[Doubles, float, Doubles | None]:
        each = weights[self._queries]
        passing = np.cumsum(each)
        relevant = None if self._relevant is None else np.cumsum(each * self._relevant)
        return passing, float(passing[-1]) if passing.size else 0.0, relevant


def _resampled_limits(limit: float, old: _Sorted, new: _Sorted, weights: Doubles) -> Iterator[float]:
    generator = np.random.default_rng(_SEED)
    for _ in range(_RESAMPLES):
        drawn = np.bincount(generator.integers(0, len(weights), len(weights)), minlength=len(weights)) * weights
        kept = old.kept_within(limit, drawn)
        found = None if kept is None else new.limit_keeping(kept, drawn)
        if found is not None:
            yield found


def _why_not(keeps: Keeps, kept: float | None) -> str:
    if kept is None:
        return "it lets no judged row through today: there is no precision to keep"
    if keeps == "share" and kept in (0.0, 1.0):
        return f"it lets {'no row' if kept == 0 else 'every row that was looked at'} through today: any number would do"
    return ""


def _flip(number: float, distance: Distance) -> float:
    return float(similarities(np.float64(number), distance))  # type: ignore[arg-type]


def _quantiles(values: Doubles) -> tuple[float, ...]:
    return tuple(float(value) for value in np.nanquantile(values, _QUANTILES))
