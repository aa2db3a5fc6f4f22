"""May the new index serve? The answer from the intervals, by the bound and not by the point. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from embedmig.validation.intervals import Estimate, queries_to_clear
from embedmig.validation.strata import Stratum

_COMPARED = 10
_ROWS_ENOUGH = 200
_FEWEST_TO_PLAN_WITH = 20


class Outcome(StrEnum):
    """What a report says."""

    PASS = "pass"  # noqa: S105
    PASS_BY_QUALITY = "pass_by_quality"  # noqa: S105
    FAIL = "fail"
    INVESTIGATE = "investigate"

    @property
    def passed(self) -> bool:
        """Whether it opens a ramp, as far as the outcome goes."""
        return self in (Outcome.PASS, Outcome.PASS_BY_QUALITY)


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Shares from 0 to 1."""

    pass_overlap: float = 0.80
    investigate_overlap: float = 0.70
    quality_margin: float = 0.01
    """So much less quality than before is taken for none."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome, why, and what would decide where it is open."""

    outcome: Outcome
    sentence: str
    reasons: tuple[str, ...]
    """Further sentences, each a fact that speaks for or against."""
    queries_needed: int | None
    """About how many queries in all would decide, if what was seen stays; None when decided, or when more would not."""


def judge(
    overlap: Estimate,
    quality: Estimate | None,
    strata: Sequence[Stratum] = (),
    thresholds: Thresholds | None = None,
    *,
    rows: int | None = None,
) -> Verdict:
    """``overlap``: mean overlap@10; ``quality``: the judged difference in nDCG@10, new less old, None where nobody
    judged; ``rows``: how many there were to choose from, None for enough.

    pass: the overlap's lower bound reaches the threshold and the quality is not significantly worse; pass by quality:
    the difference's lower bound is above minus the margin; fail: it is significantly worse; else investigate. A
    stratum of enough queries that is broken by itself turns a pass into investigate. Ten rows or fewer agree whatever
    the models, so there the overlap does not count.
    """
    limits = thresholds or Thresholds()
    if rows is not None and rows <= _COMPARED:
        limits = replace(limits, pass_overlap=float("inf"))
    outcome = _outcome(overlap, quality, limits)
    broken = [stratum for stratum in strata if _is_broken(stratum, outcome, limits)]
    if outcome.passed and broken:
        names = ", ".join(stratum.label for stratum in broken)
        sentence = f"investigate: all in all it would {outcome.value.replace('_', ' ')}, but not for {names}"
        outcome, needed, of_which = Outcome.INVESTIGATE, None, ""
    else:
        sentence = _sentence(outcome, overlap, quality, limits)
        needed, of_which = _queries_needed(outcome, overlap, quality, limits)
    reasons = [_describe_stratum(stratum) for stratum in broken]
    if needed is not None:
        reasons.append(f"about {needed:,} {of_which}queries in all would decide, if what was seen stays as it is")
    elif outcome is Outcome.INVESTIGATE and quality is None and not broken:
        reasons.append("judge queries: more of them without judgments would not decide")
    if rows is not None and rows < _ROWS_ENOUGH:
        reasons.append(
            f"with {rows} rows, two rankings by chance alone would overlap by {min(1, _COMPARED / rows):.2f}"
        )
    return Verdict(outcome=outcome, sentence=sentence, reasons=tuple(reasons), queries_needed=needed)


def judge_pipeline(verdict: Verdict, name: str, overlap: Estimate, quality: Estimate | None) -> Verdict:
    """The verdict with what the user's own search made of it: a pass is none where that got significantly worse."""
    gained = "" if quality is None else f", nDCG@10 changes by {_signed(quality)}"
    reasons = (*verdict.reasons, f"after {name}: overlap@10 is {overlap}{gained}")
    if not verdict.outcome.passed or quality is None or quality.high >= 0:
        return replace(verdict, reasons=reasons)
    passed = verdict.outcome.value.replace("_", " ")
    sentence = f"investigate: by itself it would {passed}, but after {name} nDCG@10 is worse by {_signed(quality)}"
    return replace(verdict, outcome=Outcome.INVESTIGATE, sentence=sentence, reasons=reasons)


def is_settled(
    verdict: Verdict, overlap: Estimate, quality: Estimate | None, thresholds: Thresholds, *, rows: int
) -> bool:
    """Whether further queries could not change the verdict, given intervals that hold at every look.

    A pass by overlap whose judged quality may still turn out worse is not settled; neither is a question that judged
    queries can answer. One that only overlap could answer is settled once its upper bound is below the threshold.
    """
    limits = replace(thresholds, pass_overlap=float("inf")) if rows <= _COMPARED else thresholds
    not_worse = quality is None or quality.low > -limits.quality_margin
    match _outcome(overlap, quality, limits):
        case Outcome.FAIL:
            return True
        case Outcome.PASS | Outcome.PASS_BY_QUALITY:
            return not_worse or verdict.outcome is Outcome.INVESTIGATE
        case Outcome.INVESTIGATE:
            return quality is None and overlap.high < limits.pass_overlap


def _outcome(overlap: Estimate, quality: Estimate | None, limits: Thresholds) -> Outcome:
    worse = quality is not None and quality.high < 0
    if overlap.low >= limits.pass_overlap and not worse:
        return Outcome.PASS
    if quality is not None and quality.low > -limits.quality_margin:
        return Outcome.PASS_BY_QUALITY
    return Outcome.FAIL if worse else Outcome.INVESTIGATE


def _is_broken(stratum: Stratum, outcome: Outcome, limits: Thresholds) -> bool:
    if not stratum.decides:
        return False
    quality = stratum.quality
    if quality is not None and quality.high < 0 and quality.low <= -limits.quality_margin:
        return True
    not_worse = quality is not None and quality.low > -limits.quality_margin
    return outcome is Outcome.PASS and stratum.overlap.high < limits.investigate_overlap and not not_worse


def _sentence(outcome: Outcome, overlap: Estimate, quality: Estimate | None, limits: Thresholds) -> str:
    shown = f"overlap@10 is {overlap}"
    match outcome:
        case Outcome.PASS:
            judged = "" if quality is None else f", and nDCG@10 is not worse: {_signed(quality)}"
            return f"pass by overlap: {shown}, at least {limits.pass_overlap:.2f} is wanted{judged}"
        case Outcome.PASS_BY_QUALITY:
            moved = ": a better model moves results" if overlap.mean < limits.pass_overlap else ""
            return f"pass by quality: nDCG@10 changes by {_signed(quality)}; {shown}{moved}"
        case Outcome.FAIL:
            return f"fail: nDCG@10 is worse by {_signed(quality)}; {shown}"
        case Outcome.INVESTIGATE:
            return _open_question(shown, overlap, quality, limits)


def _open_question(shown: str, overlap: Estimate, quality: Estimate | None, limits: Thresholds) -> str:
    if quality is not None:
        return f"investigate: judgments do not tell the two apart yet (nDCG@10 changes by {_signed(quality)}); {shown}"
    if limits.pass_overlap > 1:
        return f"investigate: {shown}, but with so few rows every ranking holds all of them"
    if overlap.mean < limits.investigate_overlap:
        return (
            f"investigate: {shown}, under {limits.investigate_overlap:.2f}, and without judgments nobody can say"
            " whether the new results are better or only different"
        )
    return f"investigate: {shown}, its lower bound does not reach {limits.pass_overlap:.2f}"


def _queries_needed(
    outcome: Outcome, overlap: Estimate, quality: Estimate | None, limits: Thresholds
) -> tuple[int | None, str]:
    """How many, and of which kind."""
    if outcome is not Outcome.INVESTIGATE:
        return None, ""
    by_overlap = queries_to_clear(overlap, limits.pass_overlap)
    by_quality = None
    if quality is not None:
        clears = queries_to_clear(quality, -limits.quality_margin)
        fails = queries_to_clear(_mirrored(quality), 0.0)
        by_quality = min((n for n in (clears, fails) if n is not None), default=None)
    needed = min((n for n in (by_overlap, by_quality) if n is not None), default=None)
    of_which = "judged " if needed is not None and needed == by_quality else ""
    return None if needed is None else max(needed, _FEWEST_TO_PLAN_WITH), of_which


def _mirrored(estimate: Estimate) -> Estimate:
    return Estimate(
        mean=-estimate.mean,
        low=-estimate.high,
        high=-estimate.low,
        confidence=estimate.confidence,
        queries=estimate.queries,
        spread=estimate.spread,
    )


def _signed(quality: Estimate | None) -> str:
    if quality is None:
        return "an unknown amount"
    return f"{quality.mean:+.3f} ({quality.confidence:.0%} interval {quality.low:+.3f} to {quality.high:+.3f})"


def _describe_stratum(stratum: Stratum) -> str:
    quality = "" if stratum.quality is None else f", nDCG@10 {_signed(stratum.quality)}"
    return f"{stratum.label} ({stratum.queries} queries): overlap@10 {stratum.overlap}{quality}"
