"""Intervals that hold though looked at after every query."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmig.validation.intervals import estimate_mean, student_t
from embedmig.validation.sequences import anytime_mean, anytime_p, anytime_path

RUNS, QUERIES = 400, 300

Doubles = npt.NDArray[np.float64]


def _overlaps(generator: np.random.Generator) -> tuple[Doubles, None, float]:
    chances = generator.beta(4, 1, QUERIES)
    return generator.binomial(10, chances) / 10, None, 0.8


def _rare(generator: np.random.Generator) -> tuple[Doubles, None, float]:
    return (generator.random(QUERIES) > 0.03).astype(np.float64), None, 0.97


def _weighted(generator: np.random.Generator) -> tuple[Doubles, Doubles, float]:
    """Frequent queries, of weight 5, agree in 90 of 100, the others in 30."""
    often = generator.random(QUERIES) < 0.25
    agreed = (generator.random(QUERIES) < np.where(often, 0.9, 0.3)).astype(np.float64)
    return agreed, np.where(often, 5.0, 1.0), (0.25 * 5 * 0.9 + 0.75 * 0.3) / (0.25 * 5 + 0.75)


@pytest.mark.parametrize("draw", [_overlaps, _rare, _weighted])
def test_truth_stays_inside_though_looked_at_after_every_query(draw: object) -> None:
    generator = np.random.default_rng(11)
    held = 0
    for _ in range(RUNS):
        values, weights, truth = draw(generator)  # type: ignore[operator]
        lows, highs = anytime_path(values, weights)
        held += bool(((lows <= truth) & (truth <= highs)).all())
    assert held / RUNS >= 0.95


def test_a_fixed_interval_so_used_misses_far_more_often() -> None:
    generator = np.random.default_rng(12)
    reach = np.array([student_t(0.975, n) for n in range(29, QUERIES)])
    n = np.arange(1, QUERIES + 1)
    missed = 0
    for _ in range(RUNS):
        values, _, truth = _overlaps(generator)
        means = np.cumsum(values) / n
        errors = np.sqrt(np.maximum(np.cumsum(values**2) / n - means**2, 0) / np.maximum(n - 1, 1))
        missed += bool((np.abs(means - truth)[29:] > reach * errors[29:]).any())
    assert missed / RUNS > 0.15


def test_differences_of_no_size_are_called_significant_in_few_runs_however_one_stops() -> None:
    generator = np.random.default_rng(13)
    smallest = [anytime_p(generator.choice([-0.6, 0.0, 0.0, 0.3, 0.3], QUERIES)) for _ in range(RUNS)]
    assert np.mean(np.array(smallest) <= 0.05) <= 0.05
    assert anytime_p(generator.choice([0.0, 0.0, 0.3], QUERIES)) < 0.001


def test_it_decides_and_costs_less_than_three_times_the_width_of_an_interval_that_looks_once() -> None:
    values, _, _ = _overlaps(np.random.default_rng(14))
    always, once = anytime_mean(values), estimate_mean(values)
    assert always.mean == pytest.approx(once.mean)
    assert once.high - once.low < always.high - always.low < 3 * (once.high - once.low)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.3, 0.7, 1.0]), min_size=1, max_size=80), st.integers(1, 9))
def test_bounds_only_tighten_and_equal_weights_count_as_none(values: list[float], weight: int) -> None:
    lows, highs = anytime_path(values)
    assert (np.diff(lows) >= 0).all()
    assert (np.diff(highs) <= 0).all()
    assert ((lows >= 0) & (lows <= highs) & (highs <= 1)).all()
    same = anytime_path(values, [float(weight)] * len(values))
    assert np.array_equal(lows, same[0])
    assert np.array_equal(highs, same[1])
    wider = anytime_path([2 * value - 1 for value in values], bounds=(-1.0, 1.0))
    assert np.allclose(2 * lows - 1, wider[0])


def test_no_value_has_no_mean() -> None:
    with pytest.raises(ValueError, match="no queries"):
        anytime_mean([])
