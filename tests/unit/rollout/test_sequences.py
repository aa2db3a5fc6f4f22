"""Wealth grows when the hypothesis is wrong, and hardly ever when it is right, however often one looks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmig.rollout.sequences import (
    log_wealth_above,
    log_wealth_below,
    log_wealth_mean_above,
    log_wealth_mean_below,
)

TENTHS = np.arange(11) / 10
ALPHA = 0.05


@pytest.mark.parametrize("share", [0.01, 0.3])
@pytest.mark.parametrize("test", [log_wealth_above, log_wealth_below])
def test_a_share_at_its_bound_is_hardly_ever_refuted_at_any_look(share: float, test: object) -> None:
    rng = np.random.default_rng(1)
    successes = (rng.random((400, 3_000)) < share).cumsum(axis=1)
    wealth = test(successes, np.arange(1, 3_001), share)  # type: ignore[operator]
    assert (wealth.max(axis=1) >= np.log(1 / ALPHA)).mean() <= ALPHA


def test_a_share_that_wanders_is_tested_by_its_mean_over_time() -> None:
    rng = np.random.default_rng(2)
    wandering = np.where(np.arange(3_000) // 100 % 2, 0.19, 0.01)
    successes = (rng.random((300, 3_000)) < wandering).cumsum(axis=1)
    mean = wandering.cumsum() / np.arange(1, 3_001)
    wealth = log_wealth_above(successes, np.arange(1, 3_001), mean)
    assert (wealth.max(axis=1) >= np.log(1 / ALPHA)).mean() <= ALPHA


@pytest.mark.parametrize("test", [log_wealth_mean_above, log_wealth_mean_below])
def test_a_mean_at_its_bound_is_hardly_ever_refuted_at_any_look(test: object) -> None:
    rng = np.random.default_rng(3)
    drawn = rng.choice(11, size=(300, 1_000), p=np.full(11, 1 / 11))
    counts = np.eye(11, dtype=np.int64)[drawn].cumsum(axis=1)
    wealth = test(TENTHS, counts, 0.5)  # type: ignore[operator]
    assert (wealth.max(axis=1) >= np.log(1 / ALPHA)).mean() <= ALPHA


def test_the_usual_interval_looked_at_each_time_would_cry_wolf() -> None:
    rng = np.random.default_rng(4)
    n = np.arange(1, 3_001)
    means = (rng.random((400, 3_000)) < 0.3).cumsum(axis=1) / n
    z = np.abs(means - 0.3)[:, 100:] / np.sqrt(0.21 / n[100:])
    assert (z.max(axis=1) >= 1.96).mean() > 5 * ALPHA


def test_a_wrong_hypothesis_is_refuted() -> None:
    assert log_wealth_above(60, 1_000, 0.03) > np.log(1 / 0.001)
    assert log_wealth_below(10, 1_000, 0.03) > np.log(1 / 0.01)
    assert log_wealth_mean_below(TENTHS, [0, 0, 0, 0, 100, 100, 0, 0, 0, 0, 0], 0.6) > np.log(1 / 0.001)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 50), min_size=11, max_size=11), st.floats(0.05, 0.95))
def test_bets_hang_on_counts_alone_and_begin_at_1(counts: list[int], mean: float) -> None:
    assert log_wealth_mean_above(TENTHS, [0] * 11, mean) == pytest.approx(0)
    assert log_wealth_above(0, 0, mean) == pytest.approx(0)
    above, below = (float(test(TENTHS, counts, mean)) for test in (log_wealth_mean_above, log_wealth_mean_below))
    assert min(above, below) <= 1e-9
    assert np.isfinite([above, below]).all()


def test_nothing_is_lost_on_a_bound_at_the_end_of_the_scale() -> None:
    assert log_wealth_mean_below(TENTHS, [10] * 11, 1.0) == pytest.approx(0)
    assert log_wealth_above([5, 0], [10, 10], [1.0, 0.0]).tolist() == pytest.approx([log_wealth_above(5, 10, 1.0), 0.0])
