"""Every measure of agreement against an independent way to compute it."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from embedmig.validation.agreement import jaccard_at, kendall_tau, overlap_at, rank_biased_overlap

rankings = st.lists(st.integers(0, 30), unique=True, max_size=20)
depths = st.integers(1, 25)


@given(rankings, rankings, depths)
def test_overlap_counts_what_numpy_counts(a: list[int], b: list[int], k: int) -> None:
    shared = np.intersect1d(a[:k], b[:k]).size
    longest = max(len(a[:k]), len(b[:k]))
    assert overlap_at(a, b, k) == (shared / longest if longest else 1.0)
    assert overlap_at(a, b, k) == overlap_at(b, a, k)


@given(rankings, rankings, depths)
def test_jaccard_counts_what_numpy_counts(a: list[int], b: list[int], k: int) -> None:
    union = np.union1d(a[:k], b[:k]).size
    assert jaccard_at(a, b, k) == (np.intersect1d(a[:k], b[:k]).size / union if union else 1.0)


def test_fewer_rows_than_k_that_agree_overlap_fully() -> None:
    assert overlap_at([1, 2], [2, 1], 10) == 1.0
    assert overlap_at([1, 2], [2, 3], 10) == 0.5
    assert overlap_at([], [], 10) == 1.0
    assert overlap_at([], [1], 10) == 0.0


def _rbo_term_by_term(a: list[int], b: list[int], p: float) -> float:
    """Equation 32 as it is printed, each sum on its own."""
    short, long = sorted((a, b), key=len)
    s, length = len(short), len(long)

    def x(d: int) -> int:
        return len(set(short[:d]) & set(long[:d]))

    first = sum(x(d) / d * p**d for d in range(1, length + 1))
    second = sum(x(s) * (d - s) / (s * d) * p**d for d in range(s + 1, length + 1))
    return (1 - p) / p * (first + second) + ((x(length) - x(s)) / length + x(s) / s) * p**length


@given(rankings.filter(bool), rankings.filter(bool), st.floats(0.5, 0.99))
def test_rank_biased_overlap_is_the_published_sum(a: list[int], b: list[int], p: float) -> None:
    assert rank_biased_overlap(a, b, p) == pytest.approx(_rbo_term_by_term(a, b, p), abs=1e-12)


@given(rankings.filter(bool), st.floats(0.5, 0.99))
def test_rank_biased_overlap_runs_from_nothing_shared_to_the_same_ranking(a: list[int], p: float) -> None:
    assert rank_biased_overlap(a, a, p) == pytest.approx(1.0)
    assert rank_biased_overlap(a, [item + 100 for item in a], p) == 0.0
    assert rank_biased_overlap(a, [], p) == 0.0
    assert rank_biased_overlap([], [], p) == 1.0


def test_rank_biased_overlap_weighs_the_top_more() -> None:
    top_swapped, bottom_swapped = [9, 2, 3, 4, 5], [1, 2, 3, 4, 9]
    assert rank_biased_overlap([1, 2, 3, 4, 5], top_swapped) < rank_biased_overlap([1, 2, 3, 4, 5], bottom_swapped)


@given(rankings, rankings)
def test_kendalls_tau_is_scipys_over_the_common_items(a: list[int], b: list[int]) -> None:
    common = [item for item in a if item in b]
    tau = kendall_tau(a, b)
    if len(common) < 2:
        assert tau is None
        return
    assert tau == pytest.approx(stats.kendalltau(range(len(common)), [b.index(item) for item in common]).statistic)
    pairs = list(combinations(common, 2))
    agreeing = sum(b.index(first) < b.index(second) for first, second in pairs)
    assert tau == pytest.approx((2 * agreeing - len(pairs)) / len(pairs))
