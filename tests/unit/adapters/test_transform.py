import numpy as np
import pytest

from embedmig.adapters import LinearAdapter, ProcrustesAdapter, RidgeAdapter
from embedmig.errors import AdapterInputError, AdapterNotFittedError
from embedmig.types import Floats
from tests.unit.adapters.conftest import MakePairs

BOTH = pytest.mark.parametrize("make", [RidgeAdapter, ProcrustesAdapter])


@pytest.fixture
def fit(make_pairs: MakePairs):  # type: ignore[no-untyped-def]
    def fit(make: type[LinearAdapter], **params: object) -> tuple[LinearAdapter, Floats]:
        pairs = make_pairs(600)
        return make(**params).fit(pairs.old, pairs.new), pairs.old

    return fit


@BOTH
def test_before_fit_it_says_so(make: type[LinearAdapter]) -> None:
    with pytest.raises(AdapterNotFittedError, match=make.__name__):
        make().transform(np.ones((2, 3), np.float32))
    with pytest.raises(AdapterNotFittedError):
        make().transform_one(np.ones(3, np.float32))


@BOTH
def test_rows_come_out_float32_and_of_unit_length(make, fit) -> None:  # type: ignore[no-untyped-def]
    adapter, X = fit(make)
    mapped = adapter.transform(X)
    assert (mapped.dtype, mapped.shape) == (np.float32, (600, 32))
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-6)


@BOTH
def test_one_row_is_mapped_as_among_many(make, fit) -> None:  # type: ignore[no-untyped-def]
    adapter, X = fit(make)
    many = adapter.transform(X)
    np.testing.assert_allclose(adapter.transform(X[3:4]), many[3:4], atol=1e-6)
    np.testing.assert_allclose(adapter.transform_one(X[3]), many[3], atol=1e-6)


@BOTH
def test_the_length_of_a_vector_means_nothing_when_normalised(make, fit) -> None:  # type: ignore[no-untyped-def]
    adapter, X = fit(make)
    np.testing.assert_allclose(adapter.transform(X * 5), adapter.transform(X), atol=1e-5)
    np.testing.assert_allclose(adapter.transform_one(X[0] * 5), adapter.transform_one(X[0]), atol=1e-5)


@BOTH
def test_without_normalising_the_map_is_affine(make, fit) -> None:  # type: ignore[no-untyped-def]
    adapter, X = fit(make, normalise=False)
    bias = 0 if adapter.bias_ is None else adapter.bias_
    np.testing.assert_allclose(adapter.transform(X * 5), 5 * (X @ adapter.weights_) + bias, atol=1e-4)
    np.testing.assert_allclose(adapter.transform_one(X[0] * 5), 5 * (X[0] @ adapter.weights_) + bias, atol=1e-4)


@BOTH
def test_out_is_filled_and_returned(make, fit) -> None:  # type: ignore[no-untyped-def]
    adapter, X = fit(make)
    out, one = np.empty((600, 32), np.float32), np.empty(32, np.float32)
    assert adapter.transform(X, out) is out
    assert adapter.transform_one(X[1], one) is one
    np.testing.assert_allclose(one, out[1], atol=1e-6)


@BOTH
def test_lists_and_doubles_are_taken_and_blocks_do_not_show(make, fit) -> None:  # type: ignore[no-untyped-def]
    adapter, X = fit(make)
    np.testing.assert_allclose(adapter.transform(X[:3].tolist()), adapter.transform(X)[:3], atol=1e-6)
    many = np.tile(X, (15, 1)).astype(np.float64)  # more rows than one block has
    np.testing.assert_allclose(adapter.transform(many)[-600:], adapter.transform(X), atol=1e-6)


@BOTH
def test_another_width_is_refused(make, fit) -> None:  # type: ignore[no-untyped-def]
    adapter, X = fit(make)
    for wrong in (X[:, :5], X[0], X[:1, :5]):
        with pytest.raises(AdapterInputError, match="24 dimensions"):
            adapter.transform(wrong)
    with pytest.raises(AdapterInputError, match="24 dimensions"):
        adapter.transform_one(X[0, :5])


@BOTH
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_vector_that_is_none_is_refused_and_named(make, fit, value: float) -> None:  # type: ignore[no-untyped-def]
    adapter, X = fit(make)
    bad = X.copy()
    bad[42] = value
    with pytest.raises(AdapterInputError, match="row 42 holds NaN, infinity or only zeros"):
        adapter.transform(bad)
    with pytest.raises(AdapterInputError, match="the vector holds NaN, infinity or only zeros"):
        adapter.transform_one(bad[42])


def test_a_vector_that_is_mapped_to_nothing_is_refused() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 8)).astype(np.float32)
    adapter = ProcrustesAdapter().fit(X, X[:, :4])
    lost = np.zeros((2, 8), np.float32)
    lost[0, 0] = 1
    lost[1] = np.linalg.svd(adapter.weights_.T)[2][-1]  # orthogonal to all that is kept
    adapter.weights_ -= np.outer(lost[1], lost[1] @ adapter.weights_)
    adapter.weights_[np.abs(adapter.weights_) < 1e-6] = 0
    exact = np.zeros((1, 8), np.float32)
    exact[0, 7] = 1
    adapter.weights_[7] = 0
    with pytest.raises(AdapterInputError, match="mapped to zeros"):
        adapter.transform(np.concatenate([lost[:1], exact]))
    with pytest.raises(AdapterInputError, match="mapped to zeros"):
        adapter.transform_one(exact[0])


def test_no_rows_give_no_rows(fit) -> None:  # type: ignore[no-untyped-def]
    adapter, X = fit(RidgeAdapter)
    assert adapter.transform(X[:0]).shape == (0, 32)
