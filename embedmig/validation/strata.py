"""Queries of one label taken by themselves, so that a good mean hides no broken corner. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedmig.validation.inference import ONE_LOOK, Inference
from embedmig.validation.intervals import Estimate

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """The queries of one label."""

    label: str
    queries: int
    weight_share: float
    """Of all queries' weight, 0 to 1."""
    overlap: Estimate
    """Mean overlap@10."""
    quality: Estimate | None
    """Difference in nDCG@10, new less old, of its judged queries; None when it has none."""
    decides: bool
    """Whether it has enough queries to turn a verdict."""


def split_by_label(
    labels: Sequence[str | None],
    overlaps: Doubles,
    differences: Doubles,
    weights: Doubles,
    *,
    fewest: int,
    confidence: float = 0.95,
    deciding: int | None = None,
    inference: Inference = ONE_LOOK,
) -> list[Stratum]:
    """The strata, worst first; none when no query has a label or all have the same.

    ``overlaps``, ``differences`` (NaN where not judged) and ``weights`` are (q,). A stratum of fewer than ``fewest``
    queries does not decide. All intervals of the deciding strata hold together at ``confidence`` (Bonferroni), for
    among twenty strata one would look broken by chance. ``deciding``: how many will decide once all queries were
    asked; None counts those of these.
    """
    named = np.array([label or "(no label)" for label in labels])
    names, sizes = np.unique(named, return_counts=True)
    if len(names) < 2:
        return []
    deciding = max(1, int((sizes >= fewest).sum()) if deciding is None else deciding)
    each = 1 - (1 - confidence) / deciding
    strata = [
        _stratum(str(name), named == name, overlaps, differences, weights, fewest, each, inference) for name in names
    ]
    return sorted(strata, key=_badness)


def _stratum(
    label: str, mine: npt.NDArray[np.bool_], overlaps: Doubles, differences: Doubles, weights: Doubles,
    fewest: int, confidence: float, inference: Inference,
) -> Stratum:  # fmt: skip
    judged = mine & ~np.isnan(differences)
    quality = None
    if judged.any():
        quality = inference.mean(differences[judged], weights[judged], bounds=(-1.0, 1.0), confidence=confidence)
    return Stratum(
        label=label,
        queries=int(mine.sum()),
        weight_share=float(weights[mine].sum() / weights.sum()),
        overlap=inference.mean(overlaps[mine], weights[mine], confidence=confidence),
        quality=quality,
        decides=int(mine.sum()) >= fewest,
    )


def _badness(stratum: Stratum) -> tuple[float, float]:
    return (0.0 if stratum.quality is None else stratum.quality.mean, stratum.overlap.mean)
