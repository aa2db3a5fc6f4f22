import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from embedmig.adapters import NormalEquations, RidgeAdapter
from embedmig.errors import AdapterInputError
from embedmig.types import Floats


def _rows(n: int, d: int, seed: int, *, about: float = 0.0) -> Floats:
    return (np.random.default_rng(seed).normal(size=(n, d)) + about).astype(np.float32)


def test_moments_are_those_of_all_rows_however_they_were_blocked() -> None:
    X, Y = _rows(1000, 7, 0, about=0.5), _rows(1000, 5, 1)
    sums = NormalEquations(7, 5)
    for start in (0, 1, 400):
        sums.add(X[start : {0: 1, 1: 400, 400: 1000}[start]], Y[start : {0: 1, 1: 400, 400: 1000}[start]])
    moments = sums.moments()
    centred_x, centred_y = X - X.mean(axis=0, dtype=np.float64), Y - Y.mean(axis=0, dtype=np.float64)
    assert moments.n == 1000
    np.testing.assert_allclose(moments.mean_x, X.mean(axis=0, dtype=np.float64), atol=1e-6)
    np.testing.assert_allclose(moments.gram, centred_x.T @ centred_x, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(moments.cross, centred_x.T @ centred_y, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(moments.square_y, (centred_y**2).sum(axis=0), rtol=1e-5)


def test_merged_sums_are_those_of_all_parts() -> None:
    X, Y = _rows(900, 6, 0, about=3), _rows(900, 4, 1, about=-2)
    parts = [NormalEquations(6, 4).add(X[at : at + 300], Y[at : at + 300]) for at in (0, 300, 600)]
    merged, whole = NormalEquations.merged(parts).moments(), NormalEquations(6, 4).add(X, Y).moments()
    assert merged.n == whole.n
    for name in ("mean_x", "mean_y", "gram", "cross", "square_y"):
        np.testing.assert_allclose(getattr(merged, name), getattr(whole, name), rtol=1e-4, atol=1e-3)


def test_columns_far_from_zero_lose_no_precision() -> None:
    X, Y = _rows(5000, 3, 0, about=3000), _rows(5000, 2, 1)
    exact = X.astype(np.float64) - X.mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(NormalEquations(3, 2).add(X, Y).moments().gram, exact.T @ exact, rtol=1e-3, atol=5)


def test_a_bad_block_is_refused_and_what_was_added_stands() -> None:
    X, Y = _rows(500, 4, 0), _rows(500, 3, 1)
    sums = NormalEquations(4, 3).add(X, Y)
    before = sums.moments()
    bad = X.copy()
    bad[17, 2] = np.nan
    with pytest.raises(AdapterInputError, match="NaN"):
        sums.add(bad, Y)
    with pytest.raises(AdapterInputError, match="cannot take"):
        sums.add(X[:, :3], Y)
    with pytest.raises(AdapterInputError, match="cannot take"):
        sums.add(X[:10], Y)
    assert sums.moments().n == before.n
    np.testing.assert_array_equal(sums.moments().gram, before.gram)


def test_merging_nothing_or_other_dimensions_is_refused() -> None:
    with pytest.raises(AdapterInputError):
        NormalEquations.merged([])
    with pytest.raises(AdapterInputError):
        NormalEquations.merged([NormalEquations(3, 2), NormalEquations(2, 2)])
    with pytest.raises(AdapterInputError, match="no pairs"):
        NormalEquations(3, 2).moments()


def test_memory_does_not_grow_with_the_number_of_pairs() -> None:
    def peak(n_blocks: int) -> int:
        def blocks() -> Iterator[tuple[Floats, Floats]]:
            for seed in range(n_blocks):
                yield _rows(2000, 32, seed), _rows(2000, 24, seed + 1)

        tracemalloc.start()
        RidgeAdapter().fit_blocks(blocks)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    assert peak(50) < 1.2 * peak(5)
