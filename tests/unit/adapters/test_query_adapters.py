import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from embedmig.adapters import (
    CentredProcrustesAdapter,
    LinearAdapter,
    Pairs,
    ProcrustesAdapter,
    RankingAdapter,
    RidgeAdapter,
    SelfDistilledAdapter,
    ranking,
)
from embedmig.adapters.measures import overlap, top_k
from tests.unit.adapters.conftest import MakePairs


def _kept(mapped: np.ndarray, pairs: Pairs) -> float:
    """Share of the new model's top 10 that mapped queries find among old vectors."""
    found, wanted = mapped @ pairs.old.T, pairs.new @ pairs.new.T
    np.fill_diagonal(found, -9)
    np.fill_diagonal(wanted, -9)
    return float(overlap(top_k(found, 10), top_k(wanted, 10)).mean())


@pytest.mark.parametrize(("d_from", "d_to"), [(24, 32), (32, 24), (24, 24)])
def test_procrustes_is_orthogonal_between_any_two_widths(make_pairs: MakePairs, d_from: int, d_to: int) -> None:
    pairs = make_pairs(600, d_from, d_to)
    weights = ProcrustesAdapter().fit(pairs.old, pairs.new).weights_
    square = weights @ weights.T if d_from <= d_to else weights.T @ weights
    np.testing.assert_allclose(square, np.eye(min(d_from, d_to)), atol=1e-5)


def test_procrustes_is_what_scipy_finds(make_pairs: MakePairs) -> None:
    pairs = make_pairs(600, 24, 24)
    rotation, _ = orthogonal_procrustes(pairs.old.astype(np.float64), pairs.new.astype(np.float64))
    np.testing.assert_allclose(ProcrustesAdapter().fit(pairs.old, pairs.new).weights_, rotation, atol=1e-4)


def test_procrustes_finds_a_rotation_again() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 16)).astype(np.float32)
    rotation = np.linalg.qr(rng.normal(size=(16, 16)))[0].astype(np.float32)
    np.testing.assert_allclose(ProcrustesAdapter().fit(X, X @ rotation).weights_, rotation, atol=1e-4)


@pytest.mark.parametrize(("d_from", "d_to"), [(24, 32), (32, 24)])
def test_centred_is_orthogonal_and_leads_from_mean_to_mean(make_pairs: MakePairs, d_from: int, d_to: int) -> None:
    pairs = make_pairs(600, d_from, d_to)
    adapter = CentredProcrustesAdapter(normalise=False).fit(pairs.old, pairs.new)
    square = adapter.weights_ @ adapter.weights_.T if d_from <= d_to else adapter.weights_.T @ adapter.weights_
    np.testing.assert_allclose(square, np.eye(min(d_from, d_to)), atol=1e-5)
    mean = pairs.old.mean(axis=0, keepdims=True)
    np.testing.assert_allclose(adapter.transform(mean)[0], pairs.new.mean(axis=0), atol=1e-5)


def test_centred_finds_a_rotation_and_a_shift_again_that_a_rotation_alone_cannot() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 16)).astype(np.float32)
    rotation, shift = np.linalg.qr(rng.normal(size=(16, 16)))[0].astype(np.float32), rng.normal(size=16) * 3
    Y = (X @ rotation + shift).astype(np.float32)
    adapter = CentredProcrustesAdapter(normalise=False).fit(X, Y)
    np.testing.assert_allclose(adapter.weights_, rotation, atol=1e-3)
    np.testing.assert_allclose(adapter.transform(X), Y, atol=1e-2)
    without = ProcrustesAdapter(normalise=False).fit(X, Y).transform(X)
    assert np.abs(without - Y).mean() > 10 * np.abs(adapter.transform(X) - Y).mean()


def test_distilled_ranks_more_like_the_bridge_than_any_other(make_pairs: MakePairs) -> None:
    fitted, fresh = make_pairs(2000, seed=0), make_pairs(400, seed=50)
    bridge = RidgeAdapter().fit(fitted.old, fitted.new)
    by_bridge = top_k(fresh.new @ bridge.transform(fresh.old).T, 10)

    def likeness(make: type[LinearAdapter]) -> float:
        queries = make().fit(fitted.new, fitted.old).transform(fresh.new)
        return float(overlap(top_k(queries @ fresh.old.T, 10), by_bridge).mean())

    others = [likeness(make) for make in (ProcrustesAdapter, RidgeAdapter)]
    assert likeness(SelfDistilledAdapter) > max(others) + 0.02


def test_distilled_keeps_more_than_regressing_queries_on_old_vectors(make_pairs: MakePairs) -> None:
    fitted, fresh = make_pairs(2000, noise=0.25, seed=0), make_pairs(400, noise=0.25, seed=50)
    distilled = SelfDistilledAdapter().fit(fitted.new, fitted.old)
    regressed = RidgeAdapter().fit(fitted.new, fitted.old)
    assert _kept(distilled.transform(fresh.new), fresh) > _kept(regressed.transform(fresh.new), fresh)


def test_distilled_reads_its_blocks_twice_and_gives_what_the_whole_gives(make_pairs: MakePairs) -> None:
    pairs, passes = make_pairs(900), []

    def blocks():  # type: ignore[no-untyped-def]
        passes.append(1)
        return zip(np.split(pairs.new, 3), np.split(pairs.old, 3), strict=True)

    blocked, whole = SelfDistilledAdapter().fit_blocks(blocks), SelfDistilledAdapter().fit(pairs.new, pairs.old)
    assert len(passes) == 2
    np.testing.assert_allclose(blocked.transform(pairs.new), whole.transform(pairs.new), atol=1e-3)


def test_ranking_starts_from_the_rotation_and_ends_nearer_to_the_new_models_ranking(make_pairs: MakePairs) -> None:
    fitted, fresh = make_pairs(1500, noise=0.2, seed=0), make_pairs(400, noise=0.2, seed=50)
    rotation = ProcrustesAdapter().fit(fitted.new, fitted.old)
    taught = RankingAdapter().fit(fitted.new, fitted.old)
    assert taught.n_steps_ > 0
    assert _kept(taught.transform(fresh.new), fresh) > _kept(rotation.transform(fresh.new), fresh)


def test_ranking_gives_the_same_bits_for_the_same_seed(make_pairs: MakePairs) -> None:
    pairs = make_pairs(600)
    first, second, other = (RankingAdapter(seed=seed, max_steps=60).fit(pairs.new, pairs.old) for seed in (1, 1, 2))
    assert first.weights_.tobytes() == second.weights_.tobytes() != other.weights_.tobytes()


def test_ranking_keeps_the_rotation_where_nothing_is_better() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 12)).astype(np.float32)
    rotation = np.linalg.qr(rng.normal(size=(12, 12)))[0].astype(np.float32)
    taught = RankingAdapter().fit(X, X @ rotation)
    assert taught.divergence_ == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(taught.weights_, rotation, atol=1e-3)


def test_ranking_descends_along_the_gradient_of_its_divergence(make_pairs: MakePairs) -> None:
    pairs = make_pairs(40, 5, 6)
    lists = ranking.Lists(new=pairs.new.astype(np.float64), old=pairs.old.astype(np.float64))  # type: ignore[arg-type]
    at = np.random.default_rng(0).normal(size=(6, 5))
    adapter = RankingAdapter(temperature=0.3, jitter=0.0)
    gradient = adapter._gradient(at, lists, np.random.default_rng(0))
    nudge = np.zeros_like(at)
    nudge[2, 3] = 1e-4
    slope = (ranking._divergence(at + nudge, lists, 0.3) - ranking._divergence(at - nudge, lists, 0.3)) / 2e-4
    assert gradient[2, 3] == pytest.approx(slope, rel=0.02)


def test_ranking_descends_on_at_most_max_pairs(make_pairs: MakePairs) -> None:
    pairs = make_pairs(900)
    beyond = Pairs(old=pairs.old.copy(), new=pairs.new.copy())
    beyond.old[600:] = beyond.old[600:][::-1]
    one, other = (RankingAdapter(max_pairs=600, max_steps=40)._gather(iter([(p.new, p.old)])) for p in (pairs, beyond))
    np.testing.assert_array_equal(one[1], other[1])
    assert len(one[0]) == 600
