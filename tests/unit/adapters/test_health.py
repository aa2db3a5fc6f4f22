"""Whether an adapter still fits: residuals on fresh pairs, queries from far away, and what more pairs would bring."""

import numpy as np
import pytest

from embedmig.adapters import (
    Direction,
    NormalEquations,
    Pairs,
    RidgeAdapter,
    compare_residuals,
    measure_learning,
    measure_residuals,
    select_adapter,
)
from embedmig.adapters.farness import fit_farness
from embedmig.errors import AdapterInputError
from tests.unit.adapters.conftest import MakePairs


def test_fresh_pairs_of_the_same_models_have_not_drifted(make_pairs: MakePairs) -> None:
    selection, fresh = select_adapter(make_pairs(1500), Direction.BRIDGE, kinds=["ridge"]), make_pairs(300, seed=30)
    assert selection.adapter is not None
    assert selection.score is not None
    drift = compare_residuals(
        selection.score.residuals, measure_residuals(selection.adapter.transform(fresh.old), fresh.new)
    )
    assert drift.drifted is False
    assert drift.low < 0.1 < 0.2


def test_a_model_that_changed_behind_its_name_is_drift(make_pairs: MakePairs) -> None:
    selection, fresh = select_adapter(make_pairs(1500), Direction.BRIDGE, kinds=["ridge"]), make_pairs(300, seed=30)
    assert selection.adapter is not None
    assert selection.score is not None
    changed = fresh.new + 0.1 * np.random.default_rng(0).normal(size=fresh.new.shape).astype(np.float32)
    drift = compare_residuals(
        selection.score.residuals, measure_residuals(selection.adapter.transform(fresh.old), changed)
    )
    assert drift.drifted is True
    assert 0.2 < drift.low < drift.rise < drift.high


def test_of_few_fresh_pairs_nothing_is_concluded(make_pairs: MakePairs) -> None:
    pairs = make_pairs(600)
    adapter = RidgeAdapter().fit(pairs.old, pairs.new)
    at_fit = measure_residuals(adapter.transform(pairs.old), pairs.new)
    few = measure_residuals(adapter.transform(pairs.old[:29]), pairs.new[::-1][:29])
    assert compare_residuals(at_fit, few).drifted is None


def test_residuals_are_one_less_the_cosine() -> None:
    mapped, true = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[[0, 1, 0]]
    residuals = measure_residuals(mapped, true)
    assert (residuals.n, residuals.mean) == (3, pytest.approx(1 / 3))
    assert residuals.sd == pytest.approx(np.std([0, 0, 1], ddof=1))
    with pytest.raises(AdapterInputError):
        measure_residuals(mapped, true[:2])
    with pytest.raises(AdapterInputError):
        measure_residuals(mapped[:0], true[:0])


def test_one_in_a_hundred_rows_of_the_same_kind_is_far_and_most_strangers_are(make_pairs: MakePairs) -> None:
    selection = select_adapter(make_pairs(3000), Direction.QUERY, kinds=["procrustes"])
    assert selection.farness is not None
    same = selection.farness.are_far(make_pairs(2000, seed=80).new)
    strangers = np.random.default_rng(0).normal(size=(500, 32)).astype(np.float32)
    strangers /= np.linalg.norm(strangers, axis=1, keepdims=True)
    assert same.mean() < 0.04
    assert selection.farness.are_far(strangers).mean() > 0.9


def test_distances_are_measured_in_the_spread_of_what_was_fitted() -> None:
    rng = np.random.default_rng(0)
    spread = np.array([3.0, 0.1])
    rows = (rng.normal(size=(4000, 2)) * spread).astype(np.float32)
    moments = NormalEquations(2, 1).add(rows, np.zeros((4000, 1), np.float32)).moments()
    farness = fit_farness(moments, rows[:500])
    along, across = np.array([[3, 0]], np.float32), np.array([[0, 3]], np.float32)
    assert farness.distances(across)[0] > farness.distances(along)[0]
    assert 0.005 <= farness.are_far(rows[:500]).mean() <= 0.012
    with pytest.raises(AdapterInputError, match="2 dimensions"):
        farness.distances(np.zeros((1, 3), np.float32))


def test_a_learning_curve_climbs_and_ends_on_a_plateau(make_pairs: MakePairs) -> None:
    pairs = make_pairs(4000, noise=0.3, bend=0.0)
    curve = measure_learning("ridge", pairs, Direction.BRIDGE, sizes=[300, 600, 3200])
    assert [size for size, _ in curve.points] == [300, 600, 3200]
    assert curve.points[-1][1].share > curve.points[0][1].share
    plateau = measure_learning("ridge", pairs, Direction.BRIDGE, sizes=[2400, 3200])
    assert not plateau.more_pairs_help


def test_a_learning_curve_says_when_more_pairs_help() -> None:
    rng = np.random.default_rng(0)
    new = rng.normal(size=(2500, 200))
    old = new @ rng.normal(size=(200, 200)) / 14 + 0.3 * rng.normal(size=(2500, 200))
    pairs = Pairs(old=old.astype(np.float32), new=new.astype(np.float32))
    curve = measure_learning("ridge", pairs, Direction.BRIDGE, sizes=[500, 1000])
    assert curve.more_pairs_help


def test_a_learning_curve_halves_the_pairs_by_itself(make_pairs: MakePairs) -> None:
    curve = measure_learning("procrustes", make_pairs(2500), Direction.QUERY)
    assert [size for size, _ in curve.points] == [250, 500, 1000, 2000]


def test_too_few_pairs_for_two_points_are_refused(make_pairs: MakePairs) -> None:
    with pytest.raises(AdapterInputError, match="two sizes"):
        measure_learning("ridge", make_pairs(600), Direction.BRIDGE)
