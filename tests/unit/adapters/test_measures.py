import numpy as np
import pytest

from embedmig.adapters.intervals import bootstrap_mean, bootstrap_ratio
from embedmig.adapters.measures import cosines, ndcg, overlap, reciprocal_rank, top_k


def test_top_k_is_a_stable_sort() -> None:
    scores = np.round(np.random.default_rng(0).normal(size=(50, 40)), 1).astype(np.float32)
    exact = np.argsort(-scores, axis=1, kind="stable")
    np.testing.assert_array_equal(
        np.take_along_axis(scores, top_k(scores, 10), axis=1), np.take_along_axis(scores, exact[:, :10], axis=1)
    )
    np.testing.assert_array_equal(top_k(scores, 100), exact)


def test_overlap_is_the_share_of_what_was_wanted() -> None:
    found, wanted = np.array([[1, 2, 3], [4, 5, 6]]), np.array([[3, 1, 9], [7, 8, 9]])
    np.testing.assert_allclose(overlap(found, wanted), [2 / 3, 0])


def test_reciprocal_rank_is_of_the_first_relevant() -> None:
    found = np.array([[5, 2, 3], [5, 2, 3], [5, 2, 3]])
    np.testing.assert_allclose(
        reciprocal_rank(found, [{2: 1.0, 3: 1.0}, {5: 0.0, 3: 2.0}, {8: 1.0}]), [1 / 2, 1 / 3, 0]
    )


def test_ndcg_is_what_it_is_by_hand() -> None:
    found = np.array([[7, 1, 2]])
    gained = 1 / np.log2(3) + 3 / np.log2(4)
    ideal = 3 / np.log2(2) + 1 / np.log2(3)
    np.testing.assert_allclose(ndcg(found, [{1: 1.0, 2: 3.0}]), [gained / ideal])
    np.testing.assert_allclose(ndcg(np.array([[2, 1, 7]]), [{1: 1.0, 2: 3.0}]), [1])
    np.testing.assert_allclose(ndcg(found, [{}]), [0])


def test_cosines_are_by_row_and_zeros_have_none() -> None:
    A = np.array([[1, 0], [0, 2], [0, 0]], np.float32)
    B = np.array([[1, 1], [0, 5], [1, 1]], np.float32)
    np.testing.assert_allclose(cosines(A, B), [np.sqrt(0.5), 1, 0])


def test_the_interval_of_a_mean_holds_it_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        low, high = bootstrap_mean(rng.exponential(size=80))
        held += low <= 1 <= high
    assert 0.88 <= held / 200 <= 0.99


def test_the_interval_of_a_ratio_knows_that_both_are_of_the_same_queries() -> None:
    of = np.random.default_rng(0).uniform(size=300)
    low, high = bootstrap_ratio(of * 0.8, of)
    assert low == pytest.approx(0.8)
    assert high == pytest.approx(0.8)
    assert bootstrap_ratio(np.zeros(9), np.zeros(9)) == (0, 0)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).uniform(size=50)
    assert bootstrap_mean(values, seed=4) == bootstrap_mean(values, seed=4) != bootstrap_mean(values, seed=5)
