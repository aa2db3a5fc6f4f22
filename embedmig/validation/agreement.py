"""How far two rankings of the same query agree: pure, on sequences of anything that hashes, best first, no repeats."""

from collections.abc import Hashable, Sequence

import numpy as np

RBO_P = 0.9
"""At this persistence the first ten ranks carry 86 % of the weight."""

Items = Sequence[Hashable]


def overlap_at(a: Items, b: Items, k: int) -> float:
    """The share, 0 to 1, of the first ``k`` of one that are among the first ``k`` of the other.

    With fewer than ``k`` items, the share of those there are; two empty rankings agree.
    """
    first, second = a[:k], b[:k]
    longest = max(len(first), len(second))
    return len(set(first) & set(second)) / longest if longest else 1.0


def jaccard_at(a: Items, b: Items, k: int) -> float:
    """Shared items over all items of the two first ``k``, 0 to 1; two empty rankings agree."""
    first, second = set(a[:k]), set(b[:k])
    union = first | second
    return len(first & second) / len(union) if union else 1.0


def rank_biased_overlap(a: Items, b: Items, p: float = RBO_P) -> float:
    """Rank-biased overlap, 0 to 1, extrapolated from what is seen (Webber, Moffat and Zobel 2010, equation 32).

    A reader goes on to the next rank with probability ``p``. Rankings may differ in length; two empty ones agree.
    """
    short, long = sorted((a, b), key=len)
    if not short:
        return 1.0 if not long else 0.0
    shared = _shared_by_depth(short, long)
    depths = np.arange(1, len(long) + 1, dtype=np.float64)
    weights = p**depths
    at_short, at_long = shared[len(short) - 1], shared[-1]
    seen = float((shared / depths * weights).sum())
    beyond = depths[len(short) :] - len(short)
    unseen = float((at_short * beyond / (len(short) * depths[len(short) :]) * weights[len(short) :]).sum())
    tail = (at_long - at_short) / len(long) + at_short / len(short)
    return float((1 - p) / p * (seen + unseen) + tail * p ** len(long))


def kendall_tau(a: Items, b: Items) -> float | None:
    """Kendall's tau, -1 to 1, over the items that both rank; None with fewer than two of them."""
    place = {item: rank for rank, item in enumerate(b)}
    ranks = np.array([place[item] for item in a if item in place])
    if len(ranks) < 2:
        return None
    later = ranks[None, :] > ranks[:, None]
    upper = np.triu_indices(len(ranks), 1)
    return float(2 * later[upper].mean() - 1)


def _shared_by_depth(short: Items, long: Items) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How many items the two have in common down to depth 1, 2, ... of the longer."""
    counts = np.zeros(len(long))
    seen_short: set[Hashable] = set()
    seen_long: set[Hashable] = set()
    shared = 0
    for depth, item in enumerate(long):
        other = short[depth] if depth < len(short) else None
        if depth < len(short):
            shared += (other in seen_long) + (item in seen_short) + (item == other)
            seen_short.add(other)
        else:
            shared += item in seen_short
        seen_long.add(item)
        counts[depth] = shared
    return counts
