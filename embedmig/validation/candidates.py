"""Which model would serve better, and stored how: from vectors of a sample to a table of candidates. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedmig.search.statement import RERANKED_AT_LEAST
from embedmig.types import Key, Slot
from embedmig.validation.agreement import overlap_at
from embedmig.validation.analysis import SHOWN, item_of
from embedmig.validation.candidate_vectors import CandidateVectors, Latency
from embedmig.validation.intervals import Estimate, estimate_mean
from embedmig.validation.quality import DECIDING, score_rankings
from embedmig.validation.queries import QueryCounts, QuerySet, count_queries
from embedmig.validation.running_top_k import Ranking
from embedmig.validation.trial_rows import TrialRows
from embedmig.validation.variants import MILLION, Variant, list_variants, rank_by

Doubles = npt.NDArray[np.float64]

MEASURES = (DECIDING, "R@100")
_DEPTH = 100
_SAMPLE_NOTE = (
    "on a sample there is less to confuse an answer with: quality is higher than over all rows, and what counts is how"
    " the candidates compare"
)
_RERANK_NOTE = (
    f"the {RERANKED_AT_LEAST} that are re-ranked are a larger share of a sample than of a table: what bits in the index"
    " lose is understated"
)
_FEWEST_TO_TRUST_RERANKING = 100 * RERANKED_AT_LEAST


@dataclass(frozen=True, kw_only=True)
class VariantResult:
    """One way to store a candidate's vectors. Shares and qualities from 0 to 1; sizes of a million rows, about."""

    name: str
    dimensions: int
    vector_type: str
    is_today: bool
    """What the table holds now."""
    overlap: Estimate | None
    """overlap@10 with today's results; None where the present model cannot be asked."""
    quality: Mapping[str, Estimate]
    """By measure; empty where nobody judged."""
    gain: Estimate | None
    """In nDCG@10 over today's, query by query."""
    loss: Estimate | None
    """The change in nDCG@10 from the same model's whole vectors; None for those, and where nobody judged."""
    index: str | None
    """None: none can be built, it would be searched row by row."""
    table_bytes: int
    index_bytes: int

    @property
    def bytes(self) -> int:
        """With the index."""
        return self.table_bytes + self.index_bytes


@dataclass(frozen=True, kw_only=True)
class CandidateResult:
    """One model."""

    model: str
    is_today: bool
    dimensions: int
    distance: str
    latency: Latency | None
    """Of embedding one query."""
    tokens_a_row: float | None
    cost_per_million_rows: float | None
    """In the price's currency; None without a price."""
    asked: int
    """For how many texts the model was asked in this run."""
    reused: int
    variants: tuple[VariantResult, ...]
    """The whole vectors first."""


@dataclass(frozen=True, kw_only=True)
class CandidatesReport:
    """What ``compare`` gives."""

    collection: str
    today: str
    """The present model."""
    rows: int
    """The sample."""
    judged_rows: int
    """How many of them are there because a judgment names them."""
    queries: QueryCounts
    sentence: str
    reasons: tuple[str, ...]
    candidates: tuple[CandidateResult, ...]
    """Today's first, the others as they were named."""
    confidence: float
    notes: tuple[str, ...]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class _Scored:
    """A variant's results, and its measures query by query (NaN where nobody judged)."""

    variant: Variant
    rankings: list[Ranking]
    scores: Mapping[str, Doubles]


def weigh_candidates(
    slot: Slot,
    rows: TrialRows,
    query_set: QuerySet,
    candidates: Sequence[CandidateVectors],
    *,
    collection: str,
    order: Callable[[Key], object],
    shortened_to: Sequence[int],
    confidence: float,
    margin: float,
    seconds: Mapping[str, float],
) -> CandidatesReport:
    """``candidates``: that of ``slot``, the present one, first. ``margin``: so much less nDCG@10 is taken for none.

    Raises UsageError when there are judgments and ir_measures is not installed.
    """
    weights = np.array([query.weight for query in rows.queries])
    scored = {one.model.key: _score(one, rows, order, shortened_to) for one in candidates}
    today = next((one for one in scored[slot.model.key] if _is_today(one.variant, slot)), None)
    estimate = _Estimator(weights, confidence)
    results = tuple(_describe(one, slot, scored[one.model.key], today, estimate) for one in candidates)
    trusts_reranking = len(rows.keys) >= _FEWEST_TO_TRUST_RERANKING
    sentence, reasons = _conclude(results, scored, margin, estimate, trusts_reranking=trusts_reranking)
    return CandidatesReport(
        collection=collection,
        today=slot.model.key,
        rows=len(rows.keys),
        judged_rows=rows.judged_rows,
        queries=count_queries(query_set, (query.relevant or {} for query in rows.queries), rows.unknown_judgments),
        sentence=sentence,
        reasons=reasons,
        candidates=results,
        confidence=confidence,
        notes=(_SAMPLE_NOTE, *(() if trusts_reranking else (_RERANK_NOTE,))),
        seconds=seconds,
    )


@dataclass(frozen=True)
class _Estimator:
    weights: Doubles
    confidence: float

    def mean(self, values: Doubles, bounds: tuple[float, float] = (0.0, 1.0)) -> Estimate | None:
        """Over the queries that have a value; None where none has."""
        there = ~np.isnan(values)
        if not there.any():
            return None
        return estimate_mean(values[there], self.weights[there], bounds=bounds, confidence=self.confidence)


def _score(
    candidate: CandidateVectors, rows: TrialRows, order: Callable[[Key], object], shortened_to: Sequence[int]
) -> list[_Scored]:
    if candidate.queries is None:
        return [_Scored(variant, [], {}) for variant in list_variants(candidate.model, shortened_to)]
    grades = [{item_of(key): grade for key, grade in (query.relevant or {}).items()} for query in rows.queries]
    is_judged = any(grade > 0 for some in grades for grade in some.values())
    scored = []
    for variant in list_variants(candidate.model, shortened_to):
        rankings = rank_by(variant, candidate.model, candidate.documents, candidate.queries, rows.keys, order, _DEPTH)
        items = [[item_of(key) for key in ranking.keys] for ranking in rankings]
        scored.append(_Scored(variant, rankings, score_rankings(items, grades, MEASURES) if is_judged else {}))
    return scored


def _describe(
    candidate: CandidateVectors, slot: Slot, scored: Sequence[_Scored], today: _Scored | None, estimate: _Estimator
) -> CandidateResult:
    model = candidate.model
    price, tokens = model.price_per_million_tokens, candidate.tokens_a_row
    is_today = model.key == slot.model.key
    return CandidateResult(
        model=model.key,
        is_today=is_today,
        dimensions=model.dimensions,
        distance=model.distance.value,
        latency=candidate.latency,
        tokens_a_row=tokens,
        cost_per_million_rows=None if price is None or tokens is None else tokens * MILLION * price / 1e6,
        asked=candidate.asked,
        reused=candidate.reused,
        variants=tuple(
            VariantResult(
                name=one.variant.name,
                dimensions=one.variant.dimensions,
                vector_type=one.variant.vector_type,
                is_today=is_today and _is_today(one.variant, slot),
                overlap=_overlap(one, today, estimate),
                quality={
                    measure: mean
                    for measure, values in one.scores.items()
                    if (mean := estimate.mean(values)) is not None
                },
                gain=_difference(one, today, estimate),
                loss=None if one is scored[0] else _difference(one, scored[0], estimate),
                index=one.variant.index,
                table_bytes=one.variant.table_bytes,
                index_bytes=one.variant.index_bytes,
            )
            for one in scored
        ),
    )


def _is_today(variant: Variant, slot: Slot) -> bool:
    return variant.vector_type == slot.vector_type and not variant.is_shortened and not variant.is_reranked


def _overlap(one: _Scored, today: _Scored | None, estimate: _Estimator) -> Estimate | None:
    if today is None or not today.rankings or not one.rankings:
        return None
    pairs = zip(one.rankings, today.rankings, strict=True)
    return estimate.mean(np.array([overlap_at(a.keys, b.keys, SHOWN) for a, b in pairs]))


def _difference(one: _Scored, other: _Scored | None, estimate: _Estimator) -> Estimate | None:
    if other is None or DECIDING not in one.scores or DECIDING not in other.scores:
        return None
    return estimate.mean(one.scores[DECIDING] - other.scores[DECIDING], (-1.0, 1.0))


def _conclude(
    results: Sequence[CandidateResult],
    scored: Mapping[str, Sequence[_Scored]],
    margin: float,
    estimate: _Estimator,
    *,
    trusts_reranking: bool,
) -> tuple[str, tuple[str, ...]]:
    """What the judgments say, in a sentence, and the thriftiest way to have it."""
    judged = [one for one in results if one.variants[0].quality]
    if not judged:
        return (
            "nobody judged the queries: overlap tells how different the candidates are, not which is better",
            ("say what answers them, relevant beside each query, or --qrels",),
        )
    best = max(judged, key=lambda one: one.variants[0].quality[DECIDING].mean)
    sentence = _say_best(best, results)
    whole, everything = scored[best.model][0], best.variants[0]
    enough = [
        (result.bytes, result.name, one.model, gap)
        for one in judged
        for result, some in zip(one.variants, scored[one.model], strict=True)
        if (trusts_reranking or not some.variant.is_reranked)
        and (gap := _difference(some, whole, estimate)) is not None
        and (gap.low > -margin or _nothing_changed(gap))
    ]
    size, name, model, gap = min(enough, key=lambda one: one[0])
    if (name, model) == (everything.name, best.model):
        return sentence, (f"no thriftier way to store {model} is sure to keep that",)
    how = f"no query of {gap.queries:,} changed" if _nothing_changed(gap) else f"within {margin:g}"
    return sentence, (
        f"{model} as {name} keeps that ({how}), in {size / 1e9:.1f} GB a million rows instead of"
        f" {everything.bytes / 1e9:.1f}",
    )


def _nothing_changed(gap: Estimate) -> bool:
    """Then the interval is that of "not one exception in n", and wider than what rounding could do."""
    return gap.mean == 0 and gap.spread == 0


def _say_best(best: CandidateResult, results: Sequence[CandidateResult]) -> str:
    quality, gain = best.variants[0].quality[DECIDING], best.variants[0].gain
    today = next(one for one in results if one.is_today)
    if best.is_today:
        return f"no candidate is better than today's {best.model}, {DECIDING} {quality.mean:.3f}"
    if gain is None:
        return f"{best.model} is the best of them, {DECIDING} {quality.mean:.3f}; {today.model} cannot be asked"
    by = f"{DECIDING} {quality.mean:.3f}, {gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
    if gain.low > 0:
        return f"{best.model} is better than today's {today.model}: {by}"
    return f"no candidate is measurably better than today's {today.model}; {best.model} comes nearest: {by}"
