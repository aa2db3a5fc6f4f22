import numpy as np
import pytest

from embedmig.adapters import (
    AdapterWarning,
    CentredProcrustesAdapter,
    LinearAdapter,
    ProcrustesAdapter,
    RankingAdapter,
    RidgeAdapter,
    SelfDistilledAdapter,
)
from embedmig.errors import AdapterInputError
from tests.unit.adapters.conftest import MakePairs

ALL = pytest.mark.parametrize(
    "make", [RidgeAdapter, ProcrustesAdapter, CentredProcrustesAdapter, SelfDistilledAdapter, RankingAdapter]
)


@ALL
def test_fewer_than_250_pairs_are_refused(make: type[LinearAdapter], make_pairs: MakePairs) -> None:
    pairs = make_pairs(249)
    with pytest.raises(AdapterInputError, match="249 pairs are too few"):
        make().fit(pairs.old, pairs.new)
    with pytest.raises(AdapterInputError, match="249 pairs are too few"):
        make().fit_blocks(lambda: [(pairs.old[:100], pairs.new[:100]), (pairs.old[100:], pairs.new[100:])])


@ALL
def test_fewer_than_500_pairs_are_fitted_with_a_warning(make: type[LinearAdapter], make_pairs: MakePairs) -> None:
    pairs = make_pairs(499)
    with pytest.warns(AdapterWarning, match="499 pairs are few"):
        adapter = make().fit(pairs.old, pairs.new)
    assert any("499" in note for note in adapter.notes_)


@ALL
def test_500_pairs_are_fitted_without_a_word(make: type[LinearAdapter], make_pairs: MakePairs) -> None:
    pairs = make_pairs(500)
    assert make().fit(pairs.old, pairs.new).notes_ == ()


@ALL
def test_unequal_rows_are_refused(make: type[LinearAdapter], make_pairs: MakePairs) -> None:
    pairs = make_pairs(600)
    with pytest.raises(AdapterInputError, match="600 rows and Y 599"):
        make().fit(pairs.old, pairs.new[:-1])


@ALL
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_and_named(
    make: type[LinearAdapter], value: float, make_pairs: MakePairs
) -> None:
    pairs = make_pairs(600)
    bad = pairs.new.copy()
    bad[417, 3] = value
    with pytest.raises(AdapterInputError, match=r"Y .* the first is row 417"):
        make().fit(pairs.old, bad)


@ALL
def test_rows_of_zeros_are_refused_and_named(make: type[LinearAdapter], make_pairs: MakePairs) -> None:
    pairs = make_pairs(600)
    bad = pairs.old.copy()
    bad[5] = 0
    with pytest.raises(AdapterInputError, match=r"X holds 1 rows of zeros, the first is row 5"):
        make().fit(bad, pairs.new)


@ALL
def test_a_constant_column_is_fitted_and_said(make: type[LinearAdapter], make_pairs: MakePairs) -> None:
    pairs = make_pairs(600)
    old, new = pairs.old.copy(), pairs.new.copy()
    old[:, 7] = 0
    new[:, 9] = 0
    with pytest.warns(AdapterWarning) as said:
        adapter = make().fit(old, new)
    assert sorted(adapter.notes_) == sorted(str(one.message) for one in said)
    assert {note[:43] for note in adapter.notes_} == {
        "1 columns of X are constant over all pairs ",
        "1 columns of Y are constant over all pairs ",
    }
    assert np.isfinite(adapter.transform(old)).all()


@ALL
def test_pairs_that_do_not_span_their_space_are_fitted_and_said(
    make: type[LinearAdapter], make_pairs: MakePairs
) -> None:
    pairs = make_pairs(600)
    flat = np.concatenate([pairs.old, pairs.old[:, :10]], axis=1)
    target = np.concatenate([pairs.new, pairs.new[:, :12]], axis=1)
    with pytest.warns(AdapterWarning, match="spans"):
        adapter = make().fit(flat, target)
    assert np.isfinite(adapter.transform(flat)).all()
    assert adapter.score(flat, target) > 0.3


def test_pairs_are_left_unchanged(make_pairs: MakePairs) -> None:
    pairs = make_pairs(600)
    X, Y = pairs.old * 3, pairs.new * 2
    before = X.copy(), Y.copy()
    RankingAdapter(max_steps=20).fit(X, Y).transform(X)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(Y, before[1])


def test_what_is_no_table_of_numbers_is_refused() -> None:
    for wrong in (np.zeros(5), np.zeros((3, 0)), np.array([["a", "b"]] * 300)):
        with pytest.raises(AdapterInputError):
            RidgeAdapter().fit(wrong, np.zeros((300, 3)))
