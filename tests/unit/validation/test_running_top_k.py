"""The running top-k against a full sort in double precision."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedmig.types import Distance, Floats
from embedmig.validation import running_top_k
from embedmig.validation.running_top_k import Ranking, RunningTopK


def _run(queries: Floats, vectors: Floats, k: int, distance: Distance, cuts: list[int]) -> list[Ranking]:
    running = RunningTopK(queries, k, distance, tie_order=int)
    bounds = [0, *sorted(cut % (len(vectors) + 1) for cut in cuts), len(vectors)]
    for start, end in pairwise(bounds):
        running.add(vectors[start:end], [str(row) for row in range(start, end)])
    return running.rankings(lambda raw: (raw,))


def _brute(query: Floats, vectors: Floats, k: int, distance: Distance) -> tuple[list[str], list[float]]:
    q, v = query.astype(np.float64), vectors.astype(np.float64)
    rows = np.arange(len(v))
    with np.errstate(invalid="ignore", divide="ignore"):
        distances = {
            Distance.COSINE: 1 - v @ q / (np.linalg.norm(v, axis=1) * np.linalg.norm(q)),
            Distance.L2: np.linalg.norm(v - q, axis=1),
            Distance.INNER_PRODUCT: -(v @ q),
        }[distance]
    rows = rows[np.isfinite(distances)]
    # To seven digits: what is equal in exact arithmetic must be equal here.
    order = sorted(rows, key=lambda row: (round(float(distances[row]), 7), row))[:k]
    return [str(row) for row in order], [float(distances[row]) for row in order]


@pytest.mark.parametrize("distance", Distance)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_it_is_the_full_sort_with_ties_by_key_however_the_rows_are_cut(distance: Distance, data: st.DataObject) -> None:
    # Small whole numbers: many duplicates, many ties, some zeros, and exact arithmetic.
    numbers = st.integers(-2, 2).map(float)
    vectors = data.draw(arrays(np.float32, st.tuples(st.integers(1, 40), st.just(3)), elements=numbers))
    queries = data.draw(arrays(np.float32, (4, 3), elements=numbers).filter(lambda q: q.any(axis=1).all()))
    k, cuts = data.draw(st.integers(1, 12)), data.draw(st.lists(st.integers(0, 40), max_size=4))
    for query, ranking in zip(queries, _run(queries, vectors, k, distance, cuts), strict=True):
        keys, distances = _brute(query, vectors, k, distance)
        assert [key for (key,) in ranking.keys] == keys
        assert ranking.distances == pytest.approx(distances, abs=1e-6)


@pytest.mark.parametrize("distance", Distance)
def test_it_is_the_full_sort_on_many_rows(distance: Distance) -> None:
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((3_000, 48), dtype=np.float32) * rng.uniform(0.5, 2, (3_000, 1)).astype(np.float32)
    queries = rng.standard_normal((20, 48), dtype=np.float32)
    for query, ranking in zip(queries, _run(queries, vectors, 100, distance, [700, 1_500]), strict=True):
        keys, distances = _brute(query, vectors, 100, distance)
        assert [key for (key,) in ranking.keys] == keys
        assert ranking.distances == pytest.approx(distances, abs=1e-5)


def test_equal_vectors_are_ordered_by_key_and_not_by_where_they_stood() -> None:
    rng = np.random.default_rng(3)
    one = rng.standard_normal(64, dtype=np.float32)
    vectors = np.stack([one] * 50)
    forwards = _run(one[None], vectors, 10, Distance.COSINE, [7, 23])
    running = RunningTopK(one[None], 10, Distance.COSINE, tie_order=int)
    running.add(vectors.copy(), [str(row) for row in reversed(range(50))])
    assert forwards[0].keys == running.rankings(lambda raw: (raw,))[0].keys == tuple((str(n),) for n in range(10))


def test_queries_beyond_one_portion_are_answered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_top_k, "QUERIES_AT_ONCE", 3)
    rng = np.random.default_rng(5)
    vectors, queries = rng.standard_normal((90, 8), dtype=np.float32), rng.standard_normal((8, 8), dtype=np.float32)
    for query, ranking in zip(queries, _run(queries, vectors, 5, Distance.L2, [40]), strict=True):
        assert [key for (key,) in ranking.keys] == _brute(query, vectors, 5, Distance.L2)[0]


def test_threads_side_by_side_find_what_one_finds_and_keys_are_kept_as_long_as_they_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running_top_k, "_KEYS_KEPT", 10)
    rng = np.random.default_rng(6)
    vectors, queries = rng.integers(-2, 3, (900, 6)).astype(np.float32), rng.integers(1, 3, (40, 6)).astype(np.float32)
    alone = _run(queries, vectors, 7, Distance.COSINE, [200, 500])
    with ThreadPoolExecutor(4) as pool:
        running = RunningTopK(queries, 7, Distance.COSINE, int, pool.map, workers=4)
        for start in range(0, 900, 90):
            running.add(vectors[start : start + 90], [str(row) for row in range(start, start + 90)])
    for one, other in zip(alone, running.rankings(lambda raw: (raw,)), strict=True):
        assert one.keys == other.keys
        assert np.array_equal(one.distances, other.distances)


def test_no_rows_give_empty_rankings_and_no_queries_give_none() -> None:
    query = np.ones((1, 3), dtype=np.float32)
    assert [ranking.keys for ranking in RunningTopK(query, 5, Distance.COSINE, int).rankings(lambda raw: (raw,))] == [
        ()
    ]
    nobody = RunningTopK(np.empty((0, 3), dtype=np.float32), 5, Distance.COSINE, int)
    nobody.add(np.ones((4, 3), dtype=np.float32), list("abcd"))
    assert nobody.rankings(lambda raw: (raw,)) == []
