"""What a model's vectors find when they are stored shorter, in half precision or as bits, against numpy by hand."""

from dataclasses import replace

import numpy as np
import pytest

from embedmig.types import Distance, Floats
from embedmig.validation.running_top_k import Ranking
from embedmig.validation.variants import Variant, list_variants, rank_by
from tests.support import NEW

MODEL = replace(NEW, dimensions=64)
KEYS = [(str(number),) for number in range(300)]
RNG = np.random.default_rng(4)


def _unit(rows: int) -> Floats:
    vectors = RNG.standard_normal((rows, 64), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


DOCUMENTS, ASKED = _unit(300), _unit(7)


def _rank(variant: Variant, k: int = 10) -> list[Ranking]:
    return rank_by(variant, MODEL, DOCUMENTS, ASKED, KEYS, lambda key: int(key[0]), k)


def _by(distances: np.ndarray, k: int = 10) -> list[tuple[str, ...]]:
    # Of equal distances the lower key, as everywhere.
    return [KEYS[place] for place in np.argsort(distances, kind="stable")[:k]]


def test_whole_vectors_find_what_their_cosines_say() -> None:
    for query, ranking in zip(ASKED, _rank(Variant(dimensions=64, vector_type="vector")), strict=True):
        assert list(ranking.keys) == _by(1 - DOCUMENTS.astype(np.float64) @ query)


def test_halves_are_rounded_as_postgres_rounds_them() -> None:
    halves = DOCUMENTS.astype(np.float16).astype(np.float64)
    for query, ranking in zip(ASKED, _rank(Variant(dimensions=64, vector_type="halfvec")), strict=True):
        asked = query.astype(np.float16).astype(np.float64)
        cosines = halves @ asked / np.linalg.norm(halves, axis=1) / np.linalg.norm(asked)
        assert list(ranking.keys) == _by(1 - cosines)
        assert ranking.distances == pytest.approx(np.sort(1 - cosines)[:10], abs=1e-6)


def test_shortened_vectors_are_their_first_numbers_at_unit_length() -> None:
    variant = Variant(dimensions=16, vector_type="vector", is_shortened=True)
    first = DOCUMENTS[:, :16].astype(np.float64)
    for query, ranking in zip(ASKED[:, :16], _rank(variant), strict=True):
        assert list(ranking.keys) == _by(1 - first @ query / np.linalg.norm(first, axis=1) / np.linalg.norm(query))


def test_bits_order_by_the_signs_that_differ() -> None:
    for query, ranking in zip(ASKED, _rank(Variant(dimensions=64, vector_type="bit")), strict=True):
        assert list(ranking.keys) == _by(((DOCUMENTS > 0) != (query > 0)).sum(axis=1))


def test_re_ranked_bits_are_the_nearest_hundred_by_signs_in_the_order_of_the_vectors() -> None:
    variant = Variant(dimensions=64, vector_type="vector", is_reranked=True)
    for query, ranking in zip(ASKED, _rank(variant), strict=True):
        hundred = set(_by(((DOCUMENTS > 0) != (query > 0)).sum(axis=1), 100))
        by_vectors = [key for key in _by(1 - DOCUMENTS.astype(np.float64) @ query, 300) if key in hundred]
        assert list(ranking.keys) == by_vectors[:10]


def test_a_model_has_a_half_and_a_quarter_unless_told_and_bits_unless_measured_by_l2() -> None:
    names = [variant.name for variant in list_variants(replace(MODEL, dimensions=384))]
    assert names[:4] == ["vector", "halfvec", "first 192 as vector", "first 192 as halfvec"]
    assert names[-2:] == ["bits in the index, 100 re-ranked", "bits"]
    told = list_variants(replace(MODEL, distance=Distance.L2), shortened_to=[48, 64, 1000])
    assert [variant.name for variant in told] == ["vector", "halfvec", "first 48 as vector", "first 48 as halfvec"]


@pytest.mark.parametrize(
    ("dimensions", "vector_type", "index"),
    [
        (2000, "vector", "hnsw over vector"),
        (2001, "vector", None),
        (4000, "halfvec", "hnsw over halfvec"),
        (4001, "halfvec", None),
        (8000, "bit", "hnsw over bit"),
    ],
)
def test_the_index_is_the_one_that_the_dimensions_allow(dimensions: int, vector_type: str, index: str | None) -> None:
    variant = Variant(dimensions=dimensions, vector_type=vector_type)
    assert variant.index == index
    assert (variant.index_bytes > 0) is (index is not None)


def test_what_is_stored_smaller_takes_less() -> None:
    sizes = [Variant(dimensions=384, vector_type=kind).table_bytes for kind in ("vector", "halfvec", "bit")]
    assert sizes == sorted(sizes, reverse=True)
    assert 1.5e9 < sizes[0] < 2e9
