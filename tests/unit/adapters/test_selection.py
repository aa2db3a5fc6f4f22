import numpy as np
import pytest

from embedmig.adapters import (
    AdapterWarning,
    Asked,
    Direction,
    Pairs,
    ProcrustesAdapter,
    RidgeAdapter,
    evaluate_adapter,
    select_adapter,
)
from embedmig.adapters.trials import Bench
from embedmig.errors import AdapterInputError
from embedmig.types import Distance
from tests.unit.adapters.conftest import MakePairs

BOTH = pytest.mark.parametrize("direction", list(Direction))


def _stretched(n: int, seed: int = 0) -> Pairs:
    """A map that no rotation comes near to: every direction is stretched in its own way."""
    rng = np.random.default_rng(seed)
    stretch = np.random.default_rng(1).uniform(0.05, 3, size=16)
    new = rng.normal(size=(n, 16))
    old = new * stretch + 0.02 * rng.normal(size=(n, 16))
    return Pairs(old=old.astype(np.float32), new=new.astype(np.float32))


@pytest.mark.parametrize("kinds", [None, ["procrustes", "ridge"]])
@BOTH
def test_a_rotation_is_enough_where_nothing_else_is_better(direction: Direction, kinds: list[str] | None) -> None:
    rng = np.random.default_rng(0)
    new = rng.normal(size=(600, 16)).astype(np.float32)
    rotation = np.linalg.qr(rng.normal(size=(16, 16)))[0].astype(np.float32)
    selection = select_adapter(Pairs(old=new @ rotation, new=new), direction, kinds=kinds)
    assert selection.kind == "procrustes"
    assert isinstance(selection.adapter, ProcrustesAdapter)
    assert selection.score is not None
    assert selection.score.share == pytest.approx(1, abs=0.01)


def test_a_candidate_that_is_better_beyond_the_noise_is_chosen() -> None:
    selection = select_adapter(_stretched(1500), Direction.BRIDGE)
    procrustes, ridge = selection.scores
    assert (selection.kind, ridge.kind) == ("ridge", "ridge")
    assert ridge.interval[0] > procrustes.interval[1]
    assert isinstance(selection.adapter, RidgeAdapter)
    assert selection.adapter.n_fit_ == selection.n_pairs == 1500


def test_a_candidate_that_is_better_within_the_noise_is_not(make_pairs: MakePairs) -> None:
    pairs = make_pairs(1500, noise=0.02, bend=0.0, d_old=32)
    selection = select_adapter(pairs, Direction.BRIDGE, kinds=["ridge"])
    assert selection.kind == "ridge"
    both = select_adapter(pairs, Direction.BRIDGE)
    best = max(both.scores, key=lambda score: score.share)
    if both.kind != best.kind:
        assert both.kind == "procrustes"
        assert "not better beyond the noise" in both.reason


@BOTH
def test_pairs_of_strangers_give_no_adapter(direction: Direction, make_pairs: MakePairs) -> None:
    pairs = make_pairs(800)
    shuffled = Pairs(old=pairs.old[np.random.default_rng(0).permutation(800)], new=pairs.new)
    selection = select_adapter(shuffled, direction, kinds=["procrustes", "ridge"])
    assert (selection.kind, selection.adapter, selection.farness, selection.score) == (None, None, None, None)
    assert "no adapter is good enough" in selection.reason
    assert len(selection.scores) >= 2


@BOTH
def test_nothing_is_measured_on_what_was_fitted(direction: Direction) -> None:
    rng = np.random.default_rng(0)
    # With more dimensions than pairs any map fits its own pairs perfectly; these two spaces share nothing.
    pairs = Pairs(old=rng.normal(size=(520, 600)), new=rng.normal(size=(520, 600)))
    selection = select_adapter(pairs, direction, kinds=["ridge", "procrustes"])
    assert selection.adapter is None
    # Ten of about a hundred documents by chance.
    assert all(score.top_10 < 0.2 for score in selection.scores)


@BOTH
def test_250_pairs_are_enough_to_choose_and_249_are_not(direction: Direction, make_pairs: MakePairs) -> None:
    with pytest.warns(AdapterWarning, match="250 pairs are few"):
        selection = select_adapter(make_pairs(250), direction, kinds=["procrustes", "ridge"])
    assert selection.adapter is not None
    with pytest.raises(AdapterInputError, match="249 pairs are too few"):
        select_adapter(make_pairs(249), direction)


def test_every_document_is_held_out_once_up_to_5000_pairs_and_a_part_of_more() -> None:
    rows = np.zeros((5000, 1), np.float32)
    folds = Bench(pairs=Pairs(old=rows, new=rows), direction=Direction.QUERY).folds()
    assert sorted(np.concatenate(folds).tolist()) == list(range(5000))
    rows = np.zeros((30_000, 1), np.float32)
    (fold,) = Bench(pairs=Pairs(old=rows, new=rows), direction=Direction.QUERY).folds()
    assert len(set(fold.tolist())) == 4000
    rows = np.zeros((6000, 1), np.float32)
    bench = Bench(pairs=Pairs(old=rows, new=rows), direction=Direction.QUERY)
    (fold,) = bench.folds()
    assert len(fold) == 1200
    assert sorted([*fold.tolist(), *bench.left_by(fold).tolist()]) == list(range(6000))


@BOTH
def test_the_same_pairs_and_seed_give_the_same_choice(direction: Direction, make_pairs: MakePairs) -> None:
    pairs = make_pairs(300)
    with pytest.warns(AdapterWarning, match="300 pairs are few"):
        one, other = (select_adapter(pairs, direction, seed=3) for _ in range(2))
    assert one.scores == other.scores
    assert one.reason == other.reason
    assert one.adapter is not None
    assert other.adapter is not None
    np.testing.assert_array_equal(one.adapter.weights_, other.adapter.weights_)


@BOTH
def test_queries_decide_when_they_are_given(direction: Direction, make_pairs: MakePairs) -> None:
    pairs = make_pairs(900)
    queries = make_pairs(120, seed=40).new
    selection = select_adapter(pairs, direction, asked=Asked(vectors=queries), kinds=["procrustes", "ridge"])
    assert {score.n_queries for score in selection.scores} == {120}


@BOTH
def test_judgments_decide_when_they_are_given(direction: Direction, make_pairs: MakePairs) -> None:
    pairs = make_pairs(900)
    rng = np.random.default_rng(0)
    about = rng.choice(900, 100, replace=False)
    queries = pairs.new[about] + 0.02 * rng.normal(size=(100, 32)).astype(np.float32)
    judgments: list[dict[int, float]] = [{int(row): 2.0} for row in about]
    judgments[0] = {}
    selection = select_adapter(
        pairs, direction, asked=Asked(vectors=queries, judgments=judgments), floor=0.2, kinds=["ridge"]
    )
    # The query without a relevant document says nothing.
    assert {score.n_queries for score in selection.scores} == {99}
    assert all(0 < score.share <= 1.2 for score in selection.scores)


def test_judged_shares_are_of_what_the_new_model_gets_over_all_documents(make_pairs: MakePairs) -> None:
    pairs = make_pairs(800)
    identical = Pairs(old=pairs.new, new=pairs.new)
    judgments = [{row: 1.0, row + 100: 3.0} for row in range(50)]
    asked = Asked(vectors=pairs.new[:50], judgments=judgments)
    selection = select_adapter(identical, Direction.QUERY, asked=asked, kinds=["procrustes"])
    assert selection.score is not None
    assert selection.score.share == pytest.approx(1, abs=0.02)


def test_no_judged_document_among_the_held_out_is_said(make_pairs: MakePairs) -> None:
    pairs = make_pairs(800)
    with pytest.raises(AdapterInputError, match="no judged document"):
        select_adapter(pairs, Direction.QUERY, asked=Asked(vectors=pairs.new[:3], judgments=[{}, {}, {}]))


def test_queries_of_another_model_are_refused(make_pairs: MakePairs) -> None:
    pairs = make_pairs(800)
    with pytest.raises(AdapterInputError, match="32 dimensions, not 24"):
        select_adapter(pairs, Direction.QUERY, asked=Asked(vectors=pairs.old[:30]))
    with pytest.raises(AdapterInputError, match="one mapping for each"):
        select_adapter(pairs, Direction.QUERY, asked=Asked(vectors=pairs.new[:30], judgments=[{}]))


def test_kinds_that_the_direction_does_not_have_are_refused(make_pairs: MakePairs) -> None:
    with pytest.raises(AdapterInputError, match="procrustes, centred, ridge, ranking, distilled"):
        select_adapter(make_pairs(600), Direction.QUERY, kinds=["text"])
    with pytest.raises(AdapterInputError, match=r"the kinds are procrustes, ridge$"):
        select_adapter(make_pairs(600), Direction.BRIDGE, kinds=["text"])


def test_a_bridge_may_read_the_texts_when_there_are_some(make_pairs: MakePairs) -> None:
    pairs = make_pairs(600)
    texts = [f"text {number}" for number in range(600)]
    selection = select_adapter(Pairs(old=pairs.old, new=pairs.new, texts=texts), Direction.BRIDGE)
    assert [score.kind for score in selection.scores] == ["procrustes", "ridge", "text"]
    with pytest.raises(AdapterInputError, match="600 pairs need 600 texts"):
        select_adapter(Pairs(old=pairs.old, new=pairs.new, texts=texts[:-1]), Direction.BRIDGE)


def test_an_l2_index_has_only_candidates_that_know_lengths() -> None:
    pairs = _stretched(900)
    selection = select_adapter(pairs, Direction.QUERY, distance=Distance.L2, floor=0.0)
    assert [score.kind for score in selection.scores] == ["procrustes", "centred", "ridge"]
    assert selection.adapter is not None
    assert selection.adapter.normalise is False


@BOTH
def test_a_fitted_adapter_is_measured_on_pairs_it_has_not_seen(direction: Direction, make_pairs: MakePairs) -> None:
    selection = select_adapter(make_pairs(1500), direction, kinds=["procrustes", "ridge"])
    assert selection.adapter is not None
    assert selection.score is not None
    again = evaluate_adapter(selection.adapter, selection.score.kind, make_pairs(300, seed=70), direction)
    assert again.share == pytest.approx(selection.score.share, abs=0.1)
    assert again.interval[0] < again.share < again.interval[1]
