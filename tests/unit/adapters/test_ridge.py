import numpy as np
import pytest
from sklearn.linear_model import Ridge

from embedmig.adapters import AdapterWarning, NormalEquations, RidgeAdapter
from embedmig.adapters.ridge import solve_ridge
from embedmig.errors import AdapterInputError
from embedmig.types import Floats
from tests.unit.adapters.conftest import MakePairs


def _gcv(X: Floats, Y: Floats, alpha: float) -> float:
    """By the hat matrix itself."""
    X64, Y64 = X - X.mean(axis=0, dtype=np.float64), Y - Y.mean(axis=0, dtype=np.float64)
    hat = X64 @ np.linalg.solve(X64.T @ X64 + alpha * np.eye(X.shape[1]), X64.T)
    left = len(X) - 1 - np.trace(hat)
    return float(len(X) * ((Y64 - hat @ Y64) ** 2).sum() / left**2)


def test_a_given_penalty_gives_what_scikit_learn_gives(make_pairs: MakePairs) -> None:
    pairs = make_pairs(700)
    ours = RidgeAdapter(alpha=2.5, normalise=False).fit(pairs.old, pairs.new)
    theirs = Ridge(alpha=2.5, solver="cholesky").fit(pairs.old.astype(np.float64), pairs.new.astype(np.float64))
    np.testing.assert_allclose(ours.weights_, theirs.coef_.T, atol=2e-5)
    np.testing.assert_allclose(ours.bias_, theirs.intercept_, atol=2e-5)


@pytest.mark.parametrize("noise", [0.02, 0.3, 1.5])
def test_the_chosen_penalty_has_the_least_gcv_score(make_pairs: MakePairs, noise: float) -> None:
    pairs = make_pairs(600, noise=noise)
    adapter = RidgeAdapter().fit(pairs.old, pairs.new)
    chosen = _gcv(pairs.old, pairs.new, adapter.alpha_)
    others = [_gcv(pairs.old, pairs.new, adapter.alpha_ * factor) for factor in (0.1, 0.5, 0.8, 1.25, 2, 10)]
    assert chosen <= min(others) * (1 + 1e-6)


def test_degrees_of_freedom_are_the_trace_of_the_hat_matrix(make_pairs: MakePairs) -> None:
    pairs = make_pairs(600)
    adapter = RidgeAdapter(alpha=5.0).fit(pairs.old, pairs.new)
    centred = pairs.old - pairs.old.mean(axis=0, dtype=np.float64)
    hat = centred @ np.linalg.solve(centred.T @ centred + 5.0 * np.eye(24), centred.T)
    assert adapter.degrees_of_freedom_ == pytest.approx(1 + np.trace(hat), rel=1e-4)


def test_the_bias_carries_what_the_means_differ_by() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 5)).astype(np.float32)
    adapter = RidgeAdapter(normalise=False).fit(X, X[:, :3] + np.float32(7))
    np.testing.assert_allclose(adapter.transform(X), X[:, :3] + 7, atol=1e-3)


def test_more_dimensions_than_pairs_do_not_overfit() -> None:
    rng = np.random.default_rng(0)
    X, Y = (rng.normal(size=(300, d)).astype(np.float32) for d in (400, 20))
    with pytest.warns(AdapterWarning, match=r"300 pairs are few|spans"):
        adapter = RidgeAdapter().fit(X, Y)
    # There is nothing to learn between random vectors: the least squares of 300 pairs would be perfect.
    assert adapter.degrees_of_freedom_ < 100


def test_a_large_penalty_leaves_the_prior(make_pairs: MakePairs) -> None:
    pairs = make_pairs(600)
    prior = np.random.default_rng(3).normal(size=(24, 32)).astype(np.float32)
    adapter = RidgeAdapter(alpha=1e9, prior=prior).fit(pairs.old, pairs.new)
    np.testing.assert_allclose(adapter.weights_, prior, atol=1e-3)


def test_a_prior_of_another_domain_helps_few_pairs(make_pairs: MakePairs) -> None:
    elsewhere, own, fresh = make_pairs(4000, seed=5), make_pairs(500, noise=0.8, seed=10), make_pairs(500, seed=20)
    prior = RidgeAdapter().fit(elsewhere.old, elsewhere.new).weights_
    alone = RidgeAdapter().fit(own.old[:250].repeat(2, axis=0), own.new[:250].repeat(2, axis=0))
    helped = RidgeAdapter(prior=prior).fit(own.old[:250].repeat(2, axis=0), own.new[:250].repeat(2, axis=0))
    assert helped.score(fresh.old, fresh.new) > alone.score(fresh.old, fresh.new)


def test_the_gcv_score_knows_of_the_prior(make_pairs: MakePairs) -> None:
    pairs = make_pairs(600, noise=0.3)
    prior = np.random.default_rng(3).normal(size=(24, 32)) * 0.1
    moments = NormalEquations(24, 32).add(pairs.old, pairs.new).moments()
    chosen = solve_ridge(moments, prior=prior).alpha
    shifted = (pairs.new - pairs.old @ prior).astype(np.float32)
    assert _gcv(pairs.old, shifted, chosen) <= min(_gcv(pairs.old, shifted, chosen * f) for f in (0.5, 2)) * (1 + 1e-6)


def test_a_prior_of_another_shape_is_refused(make_pairs: MakePairs) -> None:
    pairs = make_pairs(600)
    with pytest.raises(AdapterInputError, match="prior"):
        RidgeAdapter(prior=np.zeros((3, 3), np.float32)).fit(pairs.old, pairs.new)


def test_blocks_give_what_the_whole_gives(make_pairs: MakePairs) -> None:
    pairs = make_pairs(900)
    whole = RidgeAdapter().fit(pairs.old, pairs.new)
    blocked = RidgeAdapter().fit_blocks(lambda: zip(np.split(pairs.old, 9), np.split(pairs.new, 9), strict=True))
    np.testing.assert_allclose(blocked.weights_, whole.weights_, atol=1e-3)
    assert blocked.n_fit_ == whole.n_fit_ == 900


def test_the_same_pairs_give_the_same_bits(make_pairs: MakePairs) -> None:
    pairs = make_pairs(600)
    first, second = (RidgeAdapter().fit(pairs.old, pairs.new) for _ in range(2))
    assert first.weights_.tobytes() == second.weights_.tobytes()
