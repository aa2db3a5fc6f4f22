import numpy as np
import pytest

from embedmig.adapters import Direction, Excerpts, Pairs, cut_excerpts, held_out_rows, select_adapter
from embedmig.adapters.trials import split_folds
from embedmig.errors import AdapterInputError
from tests.unit.adapters.conftest import MakePairs


def test_an_excerpt_is_two_to_four_words_that_stand_together_in_its_text() -> None:
    texts = [" ".join(f"w{number}-{word}" for word in range(30)) for number in range(200)]
    excerpts = cut_excerpts(texts)
    assert {len(excerpt.split()) for excerpt in excerpts} == {2, 3, 4}
    assert all(excerpt in text for excerpt, text in zip(excerpts, texts, strict=True))


def test_an_excerpt_is_at_most_half_of_a_short_text() -> None:
    assert all(len(excerpt.split()) == 2 for excerpt in cut_excerpts(["one two three four"] * 50))


def test_a_text_without_spaces_is_cut_by_letters() -> None:
    text = "北京是中华人民共和国的首都也是全国的政治中心"
    assert all(8 <= len(excerpt) <= 16 and excerpt in text for excerpt in cut_excerpts([text] * 50))
    assert cut_excerpts(["", " ", "a", "ab"]) == ["", "", "a", cut_excerpts(["", " ", "a", "ab"])[3]]


def test_the_same_seed_cuts_the_same_excerpts() -> None:
    texts = ["one two three four five six seven eight nine ten"] * 20
    assert cut_excerpts(texts, seed=1) == cut_excerpts(texts, seed=1) != cut_excerpts(texts, seed=2)


def _excerpts(pairs: Pairs, *, blur: float) -> Excerpts:
    rows = held_out_rows(len(pairs))[:200]
    noise = np.random.default_rng(0).normal(size=(200, pairs.new.shape[1])).astype(np.float32)
    return Excerpts(vectors=pairs.new[rows] + blur * noise, rows=rows)


def test_excerpts_decide_among_query_adapters_and_the_share_stays_that_of_documents(make_pairs: MakePairs) -> None:
    pairs = make_pairs(900, noise=0.2)
    kinds = ["procrustes", "ridge"]
    plain = select_adapter(pairs, Direction.QUERY, kinds=kinds)
    asked = select_adapter(pairs, Direction.QUERY, kinds=kinds, excerpts=_excerpts(pairs, blur=0.05), floor=0.2)
    assert [score.share for score in asked.scores] == [score.share for score in plain.scores]
    assert all(score.own_row is None for score in plain.scores)
    found = {score.kind: score.own_row for score in asked.scores}
    assert all(0 < own <= 1 for own in found.values() if own is not None)
    assert "excerpts" in asked.reason


def test_an_excerpt_counts_in_the_fold_that_holds_out_its_document(make_pairs: MakePairs) -> None:
    pairs = make_pairs(600)
    same = Pairs(old=pairs.new, new=pairs.new)
    selection = select_adapter(same, Direction.QUERY, kinds=["procrustes"], excerpts=_excerpts(same, blur=0.0))
    assert selection.score is not None
    assert selection.score.own_row == 1.0


def test_the_first_held_out_rows_fall_evenly_on_the_folds() -> None:
    for n in (251, 5000):
        first = set(held_out_rows(n)[:100].tolist())
        assert [len(first & set(fold.tolist())) for fold in split_folds(n, 0)] == [20] * 5
    assert set(held_out_rows(9000).tolist()) == set(split_folds(9000, 0)[0].tolist())


def test_excerpts_that_are_of_no_held_out_document_are_refused(make_pairs: MakePairs) -> None:
    pairs = make_pairs(5200)
    fitted = np.setdiff1d(np.arange(5200), held_out_rows(5200))[:50]
    with pytest.raises(AdapterInputError, match="no excerpt is of a held-out document"):
        select_adapter(
            pairs, Direction.QUERY, kinds=["procrustes"], excerpts=Excerpts(vectors=pairs.new[fitted], rows=fitted)
        )


def test_excerpts_of_another_width_or_number_are_refused(make_pairs: MakePairs) -> None:
    pairs = make_pairs(600)
    for wrong in (
        Excerpts(vectors=pairs.old[:9], rows=np.arange(9)),
        Excerpts(vectors=pairs.new[:9], rows=np.arange(8)),
        Excerpts(vectors=pairs.new[:0], rows=np.arange(0)),
    ):
        with pytest.raises(AdapterInputError, match=r"excerpts are \(q, 32\)"):
            select_adapter(pairs, Direction.QUERY, kinds=["procrustes"], excerpts=wrong)


def test_a_bridge_is_not_chosen_by_excerpts(make_pairs: MakePairs) -> None:
    pairs = make_pairs(600)
    with pytest.raises(AdapterInputError, match="excerpts are for query adapters"):
        select_adapter(pairs, Direction.BRIDGE, excerpts=_excerpts(pairs, blur=0.0))
