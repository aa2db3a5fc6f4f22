"""What is said of all queries from a sample, against simulation and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from embedmig.validation import intervals
from embedmig.validation.intervals import (
    Estimate,
    detectable_difference,
    effective_queries,
    estimate_mean,
    queries_to_clear,
    randomisation_p,
    student_t,
)


@pytest.mark.parametrize("kind", ["overlap", "difference", "weighted"])
def test_a_95_percent_interval_holds_the_truth_in_93_to_97_percent_of_samples(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(11)
    if kind == "difference":
        same = rng.random(100_000) < 0.5
        population, bounds = np.where(same, 0, rng.normal(0.05, 0.25, 100_000)).clip(-1, 1), (-1.0, 1.0)
    else:
        population, bounds = rng.binomial(10, rng.beta(4, 1.5, 100_000)) / 10, (0.0, 1.0)
    monkeypatch.setattr(intervals, "RESAMPLES", 399)
    covered, samples, n = 0, 1_200, 60
    for _ in range(samples):
        monkeypatch.setattr(intervals, "_SEED", int(rng.integers(1 << 30)))
        weights = 1 / np.sqrt(1 + rng.permutation(n)) if kind == "weighted" else None
        found = estimate_mean(rng.choice(population, n), weights, bounds=bounds)
        covered += found.low <= population.mean() <= found.high
    assert 0.93 <= covered / samples <= 0.975


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_the_interval_holds_the_mean_and_stays_within_bounds(values: list[float]) -> None:
    found = estimate_mean(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert found.spread == pytest.approx(np.std(values), abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 5)), min_size=1, max_size=12))
def test_a_whole_weight_counts_a_query_so_many_times(pairs: list[tuple[float, int]]) -> None:
    values, weights = zip(*pairs, strict=True)
    repeated = [value for value, weight in pairs for _ in range(weight)]
    assert estimate_mean(values, weights).mean == pytest.approx(np.mean(repeated))


def test_the_same_values_give_the_same_bits() -> None:
    values = np.random.default_rng(0).random(50)
    assert estimate_mean(values) == estimate_mean(values)
    assert randomisation_p(values - 0.4) == randomisation_p(values - 0.4)


def test_one_query_says_nothing_and_agreeing_ones_say_more_the_more_there_are() -> None:
    assert (estimate_mean([1.0]).low, estimate_mean([1.0]).high) == (0.0, 1.0)
    lows = [estimate_mean([1.0] * n).low for n in (2, 10, 60, 600)]
    assert lows == sorted(lows)
    assert lows[0] < 0.2 < 0.65 < lows[1] < 0.8 < 0.9 < lows[2] < lows[3] < 1
    with pytest.raises(ValueError, match="no queries"):
        estimate_mean([])


@pytest.mark.parametrize("freedom", [1, 2, 5, 12, 59, 500])
def test_students_t_is_scipys(freedom: int) -> None:
    for p in (0.9, 0.975, 0.995):
        assert student_t(p, freedom) == pytest.approx(stats.t.ppf(p, freedom), rel=0.01)


def test_effective_queries_is_the_count_for_equal_weights_and_less_for_others() -> None:
    assert effective_queries([2.0] * 30) == pytest.approx(30)
    assert effective_queries([100.0] + [1.0] * 29) < 2


@pytest.mark.parametrize("shift", [0.0, 0.08, 0.3])
def test_the_randomisation_test_is_scipys(shift: float) -> None:
    differences = np.random.default_rng(4).normal(shift, 0.2, 25)
    theirs = stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    ).pvalue
    assert randomisation_p(differences) == pytest.approx(theirs, abs=0.012)


def test_the_randomisation_test_of_few_queries_is_the_exact_one() -> None:
    differences = [0.1, 0.2, 0.05, 0.3]
    signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1)
    exact = np.mean(np.abs(signs.T @ differences) >= sum(differences) - 1e-12)
    assert randomisation_p(differences) == pytest.approx(exact, abs=0.01)
    assert randomisation_p([0.0] * 30) == 1.0


def test_the_detectable_difference_is_found_in_four_of_five_samples() -> None:
    rng, n, spread = np.random.default_rng(2), 80, 0.25
    truth = detectable_difference(n, spread)
    found = sum(stats.ttest_1samp(rng.normal(truth, spread, n), 0).pvalue < 0.05 for _ in range(2_000))
    assert found / 2_000 == pytest.approx(0.8, abs=0.03)


def test_so_many_queries_clear_the_threshold_and_none_do_from_the_wrong_side() -> None:
    now = Estimate(mean=0.82, low=0.76, high=0.88, confidence=0.95, queries=50, spread=0.2)
    needed = queries_to_clear(now, 0.80)
    assert needed is not None
    assert 0.82 - 1.96 * 0.2 / np.sqrt(needed) == pytest.approx(0.80, abs=1e-4)
    assert queries_to_clear(now, 0.85) is None
