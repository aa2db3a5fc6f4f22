"""Which of two rankings is better, where people said what is relevant: standard measures, by ``ir_measures``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embedmig.errors import UsageError
from embedmig.validation.inference import ONE_LOOK, Inference
from embedmig.validation.intervals import Estimate

MEASURES = ("nDCG@10", "R@100", "RR", "AP")
"""By ir_measures' names: gain at 10, recall at 100, reciprocal rank, average precision."""
DECIDING = "nDCG@10"

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """One measure of both slots over the judged queries."""

    measure: str
    source: Estimate
    target: Estimate
    difference: Estimate
    """Target less source, query by query."""
    p_value: float
    """Two-sided: of the paired randomisation test, or the one that holds at every look (``inference``)."""
    effect_size: float
    """The difference in units of its spread from query to query (Cohen's d for pairs); 0 where nothing differs."""


def score_rankings(
    rankings: Sequence[Sequence[str]], judgments: Sequence[Mapping[str, int]], measures: Sequence[str] = MEASURES
) -> dict[str, Doubles]:
    """(q,) values a measure, 0 to 1: query by query, ``rankings`` best first against grades by item.

    Grades of 1 and more are relevant; an item that is not judged is not. A query without a relevant item has no
    value: NaN. Raises UsageError when ir_measures is not installed.
    """
    library = _ir_measures()
    wanted = {str(measure): measure for measure in map(library.parse_measure, measures)}
    values = {name: np.full(len(rankings), np.nan) for name in wanted}
    judged = [place for place, grades in enumerate(judgments) if any(grade > 0 for grade in grades.values())]
    qrels = {str(place): dict(judgments[place]) for place in judged}
    # The library orders by score and breaks ties its own way: falling whole numbers keep our order.
    run = {str(place): {item: -rank for rank, item in enumerate(rankings[place])} for place in judged}
    for name in wanted:
        values[name][judged] = 0.0
    for metric in library.iter_calc(list(wanted.values()), qrels, run) if judged else ():
        values[str(metric.measure)][int(metric.query_id)] = metric.value
    return values


def compare_quality(
    source: Mapping[str, Doubles],
    target: Mapping[str, Doubles],
    weights: Doubles,
    *,
    confidence: float = 0.95,
    inference: Inference = ONE_LOOK,
) -> list[Quality]:
    """The measures that both have, over the queries that have a value; empty when no query has one."""
    compared = []
    for measure in source:
        there = ~(np.isnan(source[measure]) | np.isnan(target[measure]))
        if there.any():
            sides = source[measure][there], target[measure][there]
            compared.append(_compare(measure, *sides, weights[there], confidence, inference))
    return compared


def _compare(
    measure: str, source: Doubles, target: Doubles, weights: Doubles, confidence: float, inference: Inference
) -> Quality:
    differences = target - source
    difference = inference.mean(differences, weights, bounds=(-1.0, 1.0), confidence=confidence)
    return Quality(
        measure=measure,
        source=inference.mean(source, weights, confidence=confidence),
        target=inference.mean(target, weights, confidence=confidence),
        difference=difference,
        p_value=inference.p_value(differences, weights),
        effect_size=difference.mean / difference.spread if difference.spread > 1e-12 else 0.0,
    )


def _ir_measures() -> Any:
    try:
        import ir_measures
    except ImportError as exc:
        raise UsageError(
            "judgments are scored with ir_measures, which is not installed: pip install 'embedmig[validate]'"
        ) from exc
    return ir_measures
