"""From two sets of rankings to a report's numbers: pure, no I/O."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from embedmig.types import Distance, Key
from embedmig.validation.agreement import RBO_P, jaccard_at, kendall_tau, overlap_at, rank_biased_overlap
from embedmig.validation.cutoffs import Hits
from embedmig.validation.inference import Inference
from embedmig.validation.intervals import Estimate, detectable_difference, effective_queries
from embedmig.validation.quality import DECIDING, Quality, compare_quality, score_rankings
from embedmig.validation.queries import Query
from embedmig.validation.report import Agreement, Found, QueryResult
from embedmig.validation.running_top_k import Ranking
from embedmig.validation.strata import Stratum, split_by_label

Doubles = npt.NDArray[np.float64]

SHOWN = 10
PLANNED_SPREAD = {"overlap@10": 0.25, DECIDING: 0.25}
"""Standard deviations from query to query to plan with before anything is measured: usual ones, rounded up."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The queries with both slots' rankings, row by row."""

    queries: tuple[Query, ...]
    """Their judgments name items as the rankings do."""
    source: tuple[Ranking, ...]
    target: tuple[Ranking, ...]

    @property
    def weights(self) -> Doubles:
        """(q,)"""
        return np.array([query.weight for query in self.queries], dtype=np.float64)

    @property
    def judgments(self) -> list[Mapping[str, int]]:
        """Grade by item, empty where nobody judged; items as one text each."""
        return [{item_of(key): grade for key, grade in (query.relevant or {}).items()} for query in self.queries]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Query by query: overlap@10, and each measure of both sides (NaN where not judged)."""

    overlaps: Doubles
    source: Mapping[str, Doubles]
    target: Mapping[str, Doubles]

    @property
    def differences(self) -> Doubles:
        """In the measure that decides, target less source; NaN where not judged."""
        return self.target[DECIDING] - self.source[DECIDING]


def item_of(key: Key) -> str:
    """A key as one text; the unit separator keeps ('a', 'bc') from ('ab', 'c')."""
    return "\x1f".join(key)


def score(judged: Judged) -> Scores:
    """Raises UsageError when there are judgments and ir_measures is not installed."""
    pairs = zip(judged.source, judged.target, strict=True)
    overlaps = np.array([overlap_at(a.keys, b.keys, SHOWN) for a, b in pairs], dtype=np.float64)
    judgments = judged.judgments
    if not any(grade > 0 for grades in judgments for grade in grades.values()):
        nothing = {DECIDING: np.full(len(overlaps), np.nan)}
        return Scores(overlaps=overlaps, source=nothing, target=nothing)
    source, target = (
        score_rankings([[item_of(key) for key in ranking.keys] for ranking in side], judgments)
        for side in (judged.source, judged.target)
    )
    return Scores(overlaps=overlaps, source=source, target=target)


def measure_agreement(judged: Judged, ks: Sequence[int], *, confidence: float, inference: Inference) -> Agreement:
    """Every measure of agreement as a weighted mean with its interval."""
    weights = judged.weights
    pairs = [(a.keys, b.keys) for a, b in zip(judged.source, judged.target, strict=True)]
    taus = np.array([np.nan if (tau := kendall_tau(a, b)) is None else tau for a, b in pairs])
    known = ~np.isnan(taus)

    def mean(measure: Callable[[Sequence[Key], Sequence[Key]], float]) -> Estimate:
        return inference.mean([measure(a, b) for a, b in pairs], weights, confidence=confidence)

    return Agreement(
        overlap={k: mean(partial(overlap_at, k=k)) for k in ks},
        jaccard={k: mean(partial(jaccard_at, k=k)) for k in ks},
        rank_biased_overlap=mean(rank_biased_overlap),
        rbo_p=RBO_P,
        kendall_tau=inference.mean(taus[known], weights[known], bounds=(-1.0, 1.0), confidence=confidence)
        if known.any()
        else None,
    )


def measure_quality(scores: Scores, weights: Doubles, *, confidence: float, inference: Inference) -> list[Quality]:
    """All measures over the judged queries; empty where there are none."""
    return compare_quality(scores.source, scores.target, weights, confidence=confidence, inference=inference)


def measure_strata(
    judged: Judged, scores: Scores, *, fewest: int, confidence: float, deciding: int | None, inference: Inference
) -> list[Stratum]:
    """By label, worst first. ``deciding``: as ``split_by_label`` has it."""
    labels = [query.label for query in judged.queries]
    return split_by_label(
        labels,
        scores.overlaps,
        scores.differences,
        judged.weights,
        fewest=fewest,
        confidence=confidence,
        deciding=deciding,
        inference=inference,
    )


def plan_detectable(weights: Sequence[float], judged: int, *, confidence: float) -> dict[str, float]:
    """The smallest true differences that so many queries are likely to show."""
    queries = {"overlap@10": effective_queries(weights), DECIDING: float(judged)}
    return {
        measure: detectable_difference(queries[measure], spread, confidence=confidence)
        for measure, spread in PLANNED_SPREAD.items()
        if queries[measure]
    }


def list_results(judged: Judged, scores: Scores) -> list[QueryResult]:
    """Query by query, the least overlap first."""
    results = [
        QueryResult(
            text=query.text,
            label=query.label,
            weight=query.weight,
            overlap=float(overlap),
            source_quality=_known(before),
            target_quality=_known(after),
            source=_first(source, query),
            target=_first(target, query),
        )
        for query, source, target, overlap, before, after in zip(
            judged.queries,
            judged.source,
            judged.target,
            scores.overlaps,
            scores.source[DECIDING],
            scores.target[DECIDING],
            strict=True,
        )
    ]
    return sorted(results, key=lambda result: (result.overlap, result.text))


def hits_of(rankings: Sequence[Ranking], judged: Judged, distance: Distance) -> Hits:
    """The first ten rows of each query as arrays, for bands and cut-offs."""
    distances = np.full((len(rankings), SHOWN), np.nan)
    relevant = np.full((len(rankings), SHOWN), np.nan)
    for place, (ranking, query) in enumerate(zip(rankings, judged.queries, strict=True)):
        shown = min(SHOWN, len(ranking.keys))
        distances[place, :shown] = ranking.distances[:shown]
        if query.relevant:
            relevant[place, :shown] = [query.relevant.get(key, 0) > 0 for key in ranking.keys[:shown]]
    return Hits(
        distance=distance,
        distances=distances,
        weights=judged.weights,
        relevant=None if np.isnan(relevant).all() else relevant,
    )


def _first(ranking: Ranking, query: Query) -> tuple[Found, ...]:
    grades = query.relevant
    return tuple(
        Found(key=key, distance=float(distance), grade=None if grades is None else grades.get(key, 0))
        for key, distance in zip(ranking.keys[:SHOWN], ranking.distances[:SHOWN], strict=True)
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
