"""Latencies kept as counts lose 5 % at most, and add up."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedmig.search.latency import BUCKETS, EDGES_S, GROWTH, add_up, as_counts, bucket_of, quantile_s

seconds = st.floats(0.0001, 20)


@given(seconds)
def test_a_latency_lies_within_its_bucket(value: float) -> None:
    place = bucket_of(value)
    assert EDGES_S[place - 1] <= value < EDGES_S[place]


def test_what_is_outside_all_edges_has_a_bucket_too() -> None:
    assert bucket_of(0) == 0
    assert bucket_of(1e9) == BUCKETS - 1


@given(st.lists(seconds, min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_is_known_to_5_percent(values: list[float], share: float) -> None:
    counts = [0] * BUCKETS
    for value in values:
        counts[bucket_of(value)] += 1
    exact = float(np.quantile(values, share, method="inverted_cdf"))
    found = quantile_s(counts, share)
    assert found is not None
    assert exact <= found <= exact * GROWTH * 1.0001


def test_counts_of_several_processes_add_up_whatever_their_length() -> None:
    total = add_up([as_counts({0: 1, 3: 2}), as_counts({5: 1}), []])
    assert total[:6] == [1, 0, 0, 2, 0, 1]
    assert len(total) == BUCKETS
    assert quantile_s([], 0.5) is None
