"""Puts a report together from what was answered: pure, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from embedmig.errors import RefusedError
from embedmig.settings import Settings
from embedmig.types import Distance, ModelState, Slot
from embedmig.validation import analysis
from embedmig.validation.answers import Answers
from embedmig.validation.approximate import IndexCheck, breadth_to_keep_recall
from embedmig.validation.cutoffs import Hits, describe_band, translate_cutoff
from embedmig.validation.inference import ONE_LOOK, Inference
from embedmig.validation.intervals import Estimate
from embedmig.validation.options import Options
from embedmig.validation.pair import Pair
from embedmig.validation.queries import QuerySet, count_queries
from embedmig.validation.report import (
    CutoffAdvice,
    PipelineResult,
    RowCounts,
    Sequential,
    Side,
    ValidationReport,
)
from embedmig.validation.verdict import Verdict, judge_pipeline
from embedmig.validation.weighing import deciding_difference, thresholds_of, weigh


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything that was found out by asking."""

    pair: Pair
    query_set: QuerySet
    answers: Answers
    part: float
    indexes: tuple[IndexCheck | None, IndexCheck | None]
    embed_ms: tuple[float | None, float | None]
    target_quality_alone: Mapping[str, Estimate]
    seconds: Mapping[str, float]
    inference: Inference = ONE_LOOK
    deciding: int | None = None
    """How many labels decide once all queries were asked; None: all were."""
    sequential: Sequential | None = None
    pipeline: PipelineResult | None = None


def assemble_report(material: Material, options: Options, settings: Settings) -> ValidationReport:
    """Measures, verdict and all that people look at. Raises UsageError when ir_measures is needed and missing."""
    judged, pair, confidence = material.answers.judged, material.pair, settings.confidence
    weighed = weigh(judged, material.answers.counts.judged, options, settings, material.inference, material.deciding)
    queries = count_queries(material.query_set, judged.judgments, material.answers.unknown_judgments)
    hits = [
        analysis.hits_of(rankings, judged, slot.model.distance)
        for rankings, slot in zip((judged.source, judged.target), pair.slots, strict=True)
    ]
    source, target = (
        _side(slot, found, index, embed_ms)
        for slot, found, index, embed_ms in zip(pair.slots, hits, material.indexes, material.embed_ms, strict=True)
    )
    return ValidationReport(
        id=None,
        collection=pair.collection.name,
        verdict=_with_conditions(_after_pipeline(weighed.verdict, material.pipeline), material),
        source=source,
        target=target,
        queries=queries,
        rows=_count_rows(material),
        agreement=weighed.agreement,
        quality=weighed.quality,
        target_quality_alone=material.target_quality_alone,
        strata=weighed.strata,
        cutoffs=tuple(_advise(pair, given, hits[0], hits[1], confidence) for given in options.cutoffs),
        detectable=analysis.plan_detectable(judged.weights.tolist(), queries.judged, confidence=confidence),
        by_document=options.by_document,
        ef_search_to_keep_recall=_breadth(material.indexes, "hnsw"),
        probes_to_keep_recall=_breadth(material.indexes, "ivfflat"),
        results=tuple(analysis.list_results(judged, weighed.scores)),
        seconds=material.seconds,
        thresholds=thresholds_of(settings),
        sequential=material.sequential,
        pipeline=material.pipeline,
    )


def refuse_two_scales(pair: Pair, answers: Answers, options: Options) -> None:
    """A cut-off means nothing where a slot's distances come from two scales. Raises RefusedError."""
    if options.cutoffs and answers.counts.mixes_scales:
        share = answers.counts.bridged_share
        raise RefusedError(
            f"no cut-off can be translated while {share:.0%} of {pair.target.name} are bridged: its similarities"
            f" come from two scales. Finish embedmig reembed {pair.collection.name} first"
        )


def _side(slot: Slot, hits: Hits, index: IndexCheck | None, embed_ms: float | None) -> Side:
    return Side(
        slot=slot.name,
        model=slot.model.key,
        distance=slot.model.distance.value,
        band=describe_band(hits),
        index=index,
        embed_ms=embed_ms,
    )


def _count_rows(material: Material) -> RowCounts:
    counts = material.answers.counts
    return RowCounts(
        judged=counts.judged,
        part=material.part,
        only_source=counts.only_source,
        only_target=counts.only_target,
        bridged_share=counts.bridged_share,
    )


def _after_pipeline(verdict: Verdict, pipeline: PipelineResult | None) -> Verdict:
    if pipeline is None:
        return verdict
    overlap = pipeline.agreement.overlap[analysis.SHOWN]
    return judge_pipeline(verdict, pipeline.name, overlap, deciding_difference(pipeline.quality))


def _with_conditions(verdict: Verdict, material: Material) -> Verdict:
    """The verdict with what limits it: a part of the rows, bridged rows, a model that is gone."""
    reasons = list(verdict.reasons)
    if material.part < 1:
        reasons.insert(
            0,
            f"judged on {material.answers.counts.judged:,} rows, {material.part:.0%} of those served: neighbours are"
            " sparser on a part, so it stands for the part and opens no ramp",
        )
    if share := material.answers.counts.bridged_share:
        reasons.append(
            f"{share:.0%} of the target's rows are bridged: it stands for that share, give or take 10 points"
        )
    reasons += [
        f"{slot.model.key} is gone: what it would find for a new query, and how well, cannot be judged"
        for slot in material.pair.slots
        if slot.model.state is ModelState.GONE
    ]
    return replace(verdict, reasons=tuple(reasons))


def _advise(pair: Pair, given: float, source: Hits, target: Hits, confidence: float) -> CutoffAdvice:
    keeps = "share" if source.relevant is None else "precision"
    cutoff = translate_cutoff(given, source, target, keeps, confidence=confidence)  # type: ignore[arg-type]
    return CutoffAdvice(
        cutoff=cutoff,
        was=_code(pair.source, given),
        becomes=None if cutoff.equivalent is None else _code(pair.target, cutoff.equivalent),
    )


def _code(slot: Slot, cutoff: float) -> str:
    distance = f"{slot.vector_column} {slot.model.distance.operator} query"
    match slot.model.distance:
        case Distance.COSINE:
            return f"1 - ({distance}) >= {cutoff:.4g}"
        case Distance.INNER_PRODUCT:
            return f"-({distance}) >= {cutoff:.4g}"
        case Distance.L2:
            return f"{distance} <= {cutoff:.4g}"


def _breadth(indexes: tuple[IndexCheck | None, IndexCheck | None], kind: str) -> int | None:
    source, target = indexes
    if source is None or target is None or target.kind != kind:
        return None
    return breadth_to_keep_recall(source, target)
