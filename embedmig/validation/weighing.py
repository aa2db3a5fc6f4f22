"""From rankings to a verdict. Pure."""

from dataclasses import dataclass

from embedmig.settings import Settings
from embedmig.validation import analysis
from embedmig.validation.analysis import Judged, Scores
from embedmig.validation.inference import Inference
from embedmig.validation.intervals import Estimate
from embedmig.validation.options import Options
from embedmig.validation.pipelines import PipelineAnswers
from embedmig.validation.quality import DECIDING, Quality
from embedmig.validation.report import Agreement, PipelineResult
from embedmig.validation.strata import Stratum
from embedmig.validation.verdict import Thresholds, Verdict, judge


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """The verdict and all that it rests on."""

    scores: Scores
    agreement: Agreement
    quality: tuple[Quality, ...]
    strata: tuple[Stratum, ...]
    verdict: Verdict

    @property
    def overlap(self) -> Estimate:
        """The one that decides."""
        return self.agreement.overlap[analysis.SHOWN]

    @property
    def gain(self) -> Estimate | None:
        """The judged difference that decides; None where nobody judged."""
        return deciding_difference(self.quality)


def weigh(
    judged: Judged, rows: int, options: Options, settings: Settings, inference: Inference, deciding: int | None = None
) -> Weighed:
    """``rows``: how many there were to choose from; ``deciding``: how many labels will decide in the end, None for
    those that do now. Raises UsageError when ir_measures is needed and missing."""
    confidence = settings.confidence
    scores = analysis.score(judged)
    agreement = analysis.measure_agreement(
        judged, depths_within(rows, options), confidence=confidence, inference=inference
    )
    quality = tuple(analysis.measure_quality(scores, judged.weights, confidence=confidence, inference=inference))
    strata = analysis.measure_strata(
        judged,
        scores,
        fewest=settings.stratum_queries,
        confidence=confidence,
        deciding=deciding,
        inference=inference,
    )
    gain = deciding_difference(quality)
    verdict = judge(agreement.overlap[analysis.SHOWN], gain, strata, thresholds_of(settings), rows=rows)
    return Weighed(scores=scores, agreement=agreement, quality=quality, strata=tuple(strata), verdict=verdict)


def measure_pipeline(
    name: str, asked: PipelineAnswers, judged: Judged, rows: int, options: Options, settings: Settings,
    inference: Inference,
) -> PipelineResult:  # fmt: skip
    """Agreement and quality of what the user's own search found. ``judged``: the same queries, answered exactly."""
    source, target = asked.rankings
    found = Judged(queries=judged.queries, source=source, target=target)
    weighed = weigh(found, rows, options, settings, inference)
    return PipelineResult(
        name=name,
        agreement=weighed.agreement,
        quality=weighed.quality,
        source_p50_ms=asked.p50_ms[0],
        target_p50_ms=asked.p50_ms[1],
        source_empty=sum(not ranking.keys for ranking in source),
        target_empty=sum(not ranking.keys for ranking in target),
    )


def depths_within(rows: int, options: Options) -> list[int]:
    """Without those at which every ranking holds all rows; 10 stays, the verdict is by it."""
    return sorted({analysis.SHOWN, *(k for k in options.ks if k < rows)})


def deciding_difference(quality: tuple[Quality, ...]) -> Estimate | None:
    """In the measure that the verdict is by."""
    return next((one.difference for one in quality if one.measure == DECIDING), None)


def thresholds_of(settings: Settings) -> Thresholds:
    """The settings that the verdict is measured by."""
    return Thresholds(
        pass_overlap=settings.pass_overlap,
        investigate_overlap=settings.investigate_overlap,
        quality_margin=settings.quality_margin,
    )
