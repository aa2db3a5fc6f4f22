"""Latencies as counts: 256 buckets, each 5 % wider than the last, from 0.1 ms to 24 s. Pure.

Counts of many processes add up, and a quantile of them is known to 5 %. The edges are fixed: stored counts lie in them.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

BUCKETS = 256
GROWTH = 1.05
EDGES_S = tuple(0.0001 * GROWTH**place for place in range(BUCKETS - 1))
"""Bucket i holds what is at least EDGES_S[i - 1] and under EDGES_S[i]; the first and the last are open."""


def bucket_of(seconds: float) -> int:
    """0 to 255."""
    return bisect_right(EDGES_S, seconds)


def add_up(counts: Iterable[Sequence[int]]) -> list[int]:
    """(256,) the sum of counts, each of which may be cut off after its last bucket that is not 0."""
    total = [0] * BUCKETS
    for some in counts:
        for place, count in enumerate(some):
            total[place] += count
    return total


def as_counts(sparse: Mapping[int, int]) -> list[int]:
    """Counts by bucket as a list, cut off after the last."""
    return [sparse.get(place, 0) for place in range(max(sparse, default=-1) + 1)]


def quantile_s(counts: Sequence[int], share: float) -> float | None:
    """The upper edge of the bucket that the quantile ``share`` (0 to 1) falls into, in seconds; None of no counts."""
    wanted, seen = share * sum(counts), 0
    if wanted == 0:
        return None
    for place, count in enumerate(counts):
        seen += count
        if seen >= wanted:
            return EDGES_S[min(place, BUCKETS - 2)]
    raise AssertionError("counts add up to their sum")
