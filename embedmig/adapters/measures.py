"""How well a ranking by mapped vectors keeps the ranking by true ones. Arrays in, one number a query out."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from embedmig.adapters.normal_equations import Doubles
from embedmig.types import Floats

Positions = npt.NDArray[np.int64]


def top_k(scores: Floats, k: int) -> Positions:
    """(q, k): the columns of the k highest scores (q, n) of each row, best first, ties to the lower column."""
    k = min(k, scores.shape[1])
    found = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    found.sort(axis=1)
    order = np.argsort(-np.take_along_axis(scores, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)


def overlap(found: Positions, wanted: Positions) -> Doubles:
    """(q,): which share of ``wanted`` (q, k) stands in ``found`` (q, k), 0 to 1."""
    shares: Doubles = (found[:, :, None] == wanted[:, None, :]).any(axis=1).mean(axis=1)
    return shares


def reciprocal_rank(found: Positions, relevant: Sequence[Mapping[int, float]]) -> Doubles:
    """(q,): 1 / rank of the first relevant position, 0 when none was found."""
    return np.array([_first(row, gains) for row, gains in zip(found.tolist(), relevant, strict=True)])


def _first(found: list[int], gains: Mapping[int, float]) -> float:
    return next((1.0 / rank for rank, at in enumerate(found, 1) if gains.get(at, 0) > 0), 0.0)


def ndcg(found: Positions, relevant: Sequence[Mapping[int, float]]) -> Doubles:
    """(q,): normalised discounted cumulative gain at k = found.shape[1], linear gains, 0 to 1."""
    discounts = 1 / np.log2(np.arange(2, found.shape[1] + 2))
    results = []
    for row, gains in zip(found.tolist(), relevant, strict=True):
        ideal = sorted(gains.values(), reverse=True)[: found.shape[1]]
        best = float(np.dot(ideal, discounts[: len(ideal)]))
        got = float(np.dot([gains.get(at, 0.0) for at in row], discounts))
        results.append(got / best if best > 0 else 0.0)
    return np.array(results)


def cosines(A: Floats, B: Floats) -> Doubles:
    """(n,): the cosine between row i of either, 0 where one is all zeros."""
    products = np.einsum("ij,ij->i", A, B, dtype=np.float64)
    lengths = np.linalg.norm(A.astype(np.float64), axis=1) * np.linalg.norm(B.astype(np.float64), axis=1)
    result: Doubles = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return result


def mean_cosine(A: Floats, B: Floats) -> float:
    """The mean over rows of the cosine between either's."""
    return float(cosines(A, B).mean())
