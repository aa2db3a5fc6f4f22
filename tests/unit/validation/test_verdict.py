"""The verdict, case by case."""

import pytest

from embedmig.validation.intervals import Estimate
from embedmig.validation.strata import Stratum
from embedmig.validation.verdict import Outcome, judge


def _estimate(low: float, high: float, *, queries: int = 60, spread: float = 0.2) -> Estimate:
    return Estimate(mean=(low + high) / 2, low=low, high=high, confidence=0.95, queries=queries, spread=spread)


@pytest.mark.parametrize(
    ("overlap", "quality", "outcome"),
    [
        ((0.81, 0.89), None, Outcome.PASS),
        ((0.81, 0.89), (-0.05, 0.02), Outcome.PASS),
        ((0.81, 0.89), (-0.05, -0.02), Outcome.FAIL),
        ((0.78, 0.88), None, Outcome.INVESTIGATE),
        ((0.72, 0.78), None, Outcome.INVESTIGATE),
        ((0.30, 0.40), None, Outcome.INVESTIGATE),
        ((0.30, 0.40), (0.01, 0.08), Outcome.PASS_BY_QUALITY),
        ((0.30, 0.40), (-0.009, 0.08), Outcome.PASS_BY_QUALITY),
        ((0.30, 0.40), (-0.02, 0.08), Outcome.INVESTIGATE),
        ((0.30, 0.40), (-0.09, -0.02), Outcome.FAIL),
        ((0.30, 0.40), (-0.008, -0.002), Outcome.PASS_BY_QUALITY),
    ],
)
def test_the_bounds_decide(overlap: tuple[float, float], quality: tuple[float, float] | None, outcome: Outcome) -> None:
    verdict = judge(_estimate(*overlap), None if quality is None else _estimate(*quality))
    assert verdict.outcome is outcome
    assert verdict.sentence.startswith(outcome.value.split("_")[0])


def test_little_overlap_without_judgments_says_so_first() -> None:
    verdict = judge(_estimate(0.4, 0.5), None)
    assert "under 0.70" in verdict.sentence
    assert "without judgments" in verdict.sentence
    assert verdict.queries_needed is None
    assert any("judge queries" in reason for reason in verdict.reasons)


def test_an_open_case_says_how_many_queries_would_decide() -> None:
    verdict = judge(_estimate(0.79, 0.87), None)
    assert verdict.queries_needed is not None
    assert verdict.queries_needed > 60
    assert any(f"{verdict.queries_needed:,} queries" in reason for reason in verdict.reasons)
    judged = judge(_estimate(0.3, 0.4), _estimate(-0.03, 0.05))
    assert judged.queries_needed is not None


def _stratum(label: str, overlap: Estimate, quality: Estimate | None = None, *, decides: bool = True) -> Stratum:
    return Stratum(label=label, queries=30, weight_share=0.1, overlap=overlap, quality=quality, decides=decides)


def test_a_good_mean_does_not_hide_a_broken_label() -> None:
    good, broken = _stratum("en", _estimate(0.9, 0.95)), _stratum("de", _estimate(0.2, 0.4))
    verdict = judge(_estimate(0.82, 0.9), None, [broken, good])
    assert verdict.outcome is Outcome.INVESTIGATE
    assert "de" in verdict.sentence
    assert "en" not in verdict.sentence.split("for ")[-1].split(", ")
    worse = _stratum("de", _estimate(0.2, 0.4), _estimate(-0.3, -0.1))
    assert judge(_estimate(0.3, 0.4), _estimate(0.02, 0.1), [worse, good]).outcome is Outcome.INVESTIGATE


def test_a_label_with_too_few_queries_or_better_results_breaks_nothing() -> None:
    few = _stratum("de", _estimate(0.2, 0.4), decides=False)
    assert judge(_estimate(0.82, 0.9), None, [few]).outcome is Outcome.PASS
    better = _stratum("de", _estimate(0.2, 0.4), _estimate(0.05, 0.1))
    assert judge(_estimate(0.82, 0.9), _estimate(0.01, 0.1), [better]).outcome is Outcome.PASS


def test_ten_rows_agree_whatever_the_models_so_they_pass_nobody() -> None:
    verdict = judge(_estimate(0.95, 1.0), None, rows=10)
    assert verdict.outcome is Outcome.INVESTIGATE
    assert "every ranking holds all" in verdict.sentence
    assert judge(_estimate(0.95, 1.0), None, rows=11).outcome is Outcome.PASS
    assert any("by chance" in reason for reason in judge(_estimate(0.95, 1.0), None, rows=40).reasons)
    assert judge(_estimate(0.1, 1.0), _estimate(0.02, 0.2), rows=5).outcome is Outcome.PASS_BY_QUALITY
