"""How well an adapter does on documents it was not fitted on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embedmig.adapters.checks import as_rows, to_unit_rows
from embedmig.adapters.excerpts import Excerpts
from embedmig.adapters.intervals import Interval, bootstrap_ratio
from embedmig.adapters.kinds import Adapter, Direction, Pairs, Rows, apply_adapter, fit_adapter
from embedmig.adapters.measures import Positions, ndcg, overlap, reciprocal_rank, top_k
from embedmig.adapters.normal_equations import Doubles
from embedmig.adapters.residuals import ResidualStatistics, measure_residuals
from embedmig.errors import AdapterInputError
from embedmig.types import Distance, Floats

K = 10
FOLDS = 5
CROSS_FITTED = 5_000
"""Up to so many pairs every document is held out once, in five folds; of more, one part is."""
HELD_OUT = 4_000
_QUERIES_A_FOLD = 500


@dataclass(frozen=True, eq=False, kw_only=True)
class Asked:
    """Queries to measure by, embedded by the new model as queries: (q, d_new). Without them documents ask for one
    another."""

    vectors: Floats
    judgments: Sequence[Mapping[int, float]] | None = None
    """For each query: row of the pairs -> gain."""

    def checked(self, d_new: int, *, normalise: bool) -> "Asked":
        """The same as an array, of unit length when ``normalise``. Raises AdapterInputError on another width, values
        not finite, or judgments for another number of queries."""
        vectors = as_rows(self.vectors, "the queries")
        if vectors.shape[1] != d_new:
            raise AdapterInputError(
                f"queries are embedded by the new model, {d_new} dimensions, not {vectors.shape[1]}"
            )
        if self.judgments is not None and len(self.judgments) != len(vectors):
            raise AdapterInputError(
                f"{len(vectors)} queries have {len(self.judgments)} judgments: one mapping for each"
            )
        return Asked(vectors=to_unit_rows(vectors, "the queries") if normalise else vectors, judgments=self.judgments)


@dataclass(frozen=True, kw_only=True)
class CandidateScore:
    """One adapter on documents it was not fitted on. Shares run from 0 to 1."""

    kind: str
    share: float
    """Of the new model's top 10, the first weighing most (the nDCG of its list); with judgments: of its nDCG@10."""
    interval: Interval
    """95 %, by bootstrap over the queries."""
    top_10: float
    """Of the new model's top 10, all weighing alike."""
    residuals: ResidualStatistics
    n_queries: int
    own_row: float | None = None
    """With excerpts: the mean reciprocal rank of the row that each was cut from."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Trial:
    """A candidate's figures, one a query: paired with every other's of the same bench."""

    kind: str
    values: Doubles
    ideal: Doubles
    """What the new model itself gets: 1 everywhere, or its own nDCG where there are judgments."""
    top_10: Doubles
    residuals: ResidualStatistics
    own_rows: Doubles | None
    """(excerpts,)"""

    @property
    def decisive(self) -> Doubles:
        """What candidates are compared by."""
        return self.values if self.own_rows is None else self.own_rows

    def score(self, seed: int) -> CandidateScore:
        """The figures over all queries."""
        ideal = float(self.ideal.mean())
        return CandidateScore(
            kind=self.kind,
            share=float(self.values.mean()) / ideal if ideal else 0.0,
            interval=bootstrap_ratio(self.values, self.ideal, seed=seed),
            top_10=float(self.top_10.mean()),
            residuals=self.residuals,
            n_queries=len(self.values),
            own_row=None if self.own_rows is None else float(self.own_rows.mean()),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Ranked:
    """The documents of a fold scored for the same queries (q, n), through an adapter and by the new model."""

    rows: Rows
    """Of the pairs."""
    given: Floats
    wanted: Floats
    mapped: Floats
    """(n, d_to)"""
    true: Floats
    """(n, d_to): where they should have been mapped to."""
    own_rows: Doubles | None
    """Of the excerpts of these documents."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Bench:
    """The same held-out documents and the same queries for every candidate. Pairs and queries are checked."""

    pairs: Pairs
    direction: Direction
    asked: Asked | None = None
    excerpts: Excerpts | None = None
    distance: Distance = Distance.COSINE
    seed: int = 0

    @property
    def normalise(self) -> bool:
        """Whether lengths mean nothing."""
        return self.distance is Distance.COSINE

    def folds(self) -> list[Rows]:
        """The rows held out each time."""
        return split_folds(len(self.pairs), self.seed)

    def left_by(self, fold: Rows) -> Rows:
        """The rows to fit on when ``fold`` is held out, shuffled, so that the first of them are a fair sample."""
        order = _shuffle(len(self.pairs), self.seed)
        return order[~np.isin(order, fold)]

    def run(self, kind: str, *, most_pairs: int | None = None) -> Trial:
        """Fits it once for each fold, on at most ``most_pairs``, and measures it on the fold."""
        ranked = []
        for fold in self.folds():
            left = self.pairs.at(self.left_by(fold)[:most_pairs])
            adapter = fit_adapter(kind, left, self.direction, normalise=self.normalise, seed=self.seed, of_a_part=True)
            ranked.append(self.rank(adapter, fold))
        return self.measure(kind, ranked)

    def rank(self, adapter: Adapter, rows: Rows) -> Ranked:
        """The documents ``rows`` by a fitted adapter."""
        documents = self.pairs.at(rows)
        queries = documents.new[:_QUERIES_A_FOLD] if self.asked is None else self.asked.vectors
        if self.direction is Direction.QUERY:
            mapped, true, stored = apply_adapter(adapter, documents.new), documents.old, documents.old
        else:
            mapped, true = apply_adapter(adapter, documents.old, documents.texts), documents.new
            stored = mapped
        given = self._score(adapter, queries, stored)
        wanted = similarities(queries, documents.new, self.distance)
        if self.asked is None:
            given, wanted = _without_itself(given), _without_itself(wanted)
        own_rows = None if self.excerpts is None else self._find_own(adapter, self.excerpts, rows, stored)
        return Ranked(rows=rows, given=given, wanted=wanted, mapped=mapped, true=true, own_rows=own_rows)

    def _score(self, adapter: Adapter, queries: Floats, stored: Floats) -> Floats:
        if self.direction is Direction.QUERY:
            queries = apply_adapter(adapter, queries)
        return similarities(queries, stored, self.distance)

    def _find_own(self, adapter: Adapter, excerpts: Excerpts, rows: Rows, stored: Floats) -> Doubles:
        position = {row: at for at, row in enumerate(rows.tolist())}
        there = np.flatnonzero(np.isin(excerpts.rows, rows))
        found = top_k(self._score(adapter, excerpts.vectors[there], stored), K)
        return reciprocal_rank(found, [{position[row]: 1.0} for row in excerpts.rows[there].tolist()])

    def measure(self, kind: str, ranked: Sequence[Ranked]) -> Trial:
        """The figures over all folds. Raises AdapterInputError when there are judgments, but of no document here, or
        excerpts, but of none."""
        if self.asked is not None and self.asked.judgments is not None:
            values, ideal, top_10 = _judge(ranked, self.asked.judgments)
        else:
            values, top_10 = _compare_lists(ranked, gather=np.concatenate if self.asked is None else _mean_over_folds)
            ideal = np.ones_like(values)
        own_rows = [part.own_rows for part in ranked if part.own_rows is not None]
        if own_rows and not sum(map(len, own_rows)):
            raise AdapterInputError("no excerpt is of a held-out document: cut them from the rows of held_out_rows()")
        return Trial(
            kind=kind,
            values=values,
            ideal=ideal,
            top_10=top_10,
            residuals=measure_residuals(
                np.concatenate([part.mapped for part in ranked]), np.concatenate([part.true for part in ranked])
            ),
            own_rows=np.concatenate(own_rows) if own_rows else None,
        )


def held_out_rows(n: int, *, seed: int = 0) -> Rows:
    """Which of n pairs are held out while candidates are compared: all up to 5,000, a fifth or 4,000 of more. Cut
    excerpts from the first of them: they fall evenly on the folds."""
    order = _shuffle(n, seed)
    return order if n <= CROSS_FITTED else order[: min(n // FOLDS, HELD_OUT)]


def split_folds(n: int, seed: int) -> list[Rows]:
    """The rows held out each time: five folds that cover all up to 5,000 pairs, one part of more."""
    held = held_out_rows(n, seed=seed)
    return [held[start::FOLDS] for start in range(FOLDS)] if n <= CROSS_FITTED else [held]


def _shuffle(n: int, seed: int) -> Rows:
    return np.random.default_rng(seed).permutation(n)


def evaluate_adapter(
    adapter: Adapter,
    kind: str,
    pairs: Pairs,
    direction: Direction,
    *,
    asked: Asked | None = None,
    distance: Distance = Distance.COSINE,
    seed: int = 0,
) -> CandidateScore:
    """A fitted adapter on pairs that it has not seen.

    Raises AdapterInputError on pairs or queries that cannot be measured.
    """
    normalise = distance is Distance.COSINE
    pairs = pairs.checked(normalise=normalise)
    asked = asked.checked(pairs.new.shape[1], normalise=normalise) if asked is not None else None
    bench = Bench(pairs=pairs, direction=direction, asked=asked, distance=distance, seed=seed)
    return bench.measure(kind, [bench.rank(adapter, np.arange(len(pairs)))]).score(seed)


def similarities(queries: Floats, documents: Floats, distance: Distance) -> Floats:
    """(q, n), higher is nearer. For cosine both are taken to be of unit length."""
    products: Floats = queries @ documents.T
    if distance is Distance.L2:
        products = 2 * products - np.einsum("ij,ij->i", documents, documents)
    return products


def _compare_lists(ranked: Sequence[Ranked], gather: Callable[[Sequence[Doubles]], Doubles]) -> tuple[Doubles, Doubles]:
    """For each query how much of the new model's top 10 is found: the first weighing most, and all alike.

    ``gather``: how the folds' figures become one array, for documents ask within their fold and queries in every one.
    """
    values, top_10 = [], []
    for part in ranked:
        found, best = top_k(part.given, K), top_k(part.wanted, K)
        values.append(ndcg(found, _by_rank(best)))
        top_10.append(overlap(found, best))
    return gather(values), gather(top_10)


def _judge(ranked: Sequence[Ranked], judgments: Sequence[Mapping[int, float]]) -> tuple[Doubles, Doubles, Doubles]:
    """nDCG@10 of the adapter and of the new model, and the share of its top 10, for each query with a relevant
    document in some fold: the mean over those folds, for scores of two folds' maps cannot stand in one list."""
    folds = [_judge_fold(part, judgments) for part in ranked]
    use = np.any([~np.isnan(values) for values, _, _ in folds], axis=0)
    if not use.any():
        raise AdapterInputError("no judged document is among the held-out pairs: judge more, or choose without")
    values, ideal, top_10 = (np.nanmean([fold[at][use] for fold in folds], axis=0) for at in range(3))
    return values, ideal, top_10


def _judge_fold(part: Ranked, judgments: Sequence[Mapping[int, float]]) -> tuple[Doubles, Doubles, Doubles]:
    """The same in one fold, NaN for a query without a relevant document there."""
    position = {row: at for at, row in enumerate(part.rows.tolist())}
    relevant = [{position[row]: gain for row, gain in gains.items() if row in position} for gains in judgments]
    found, best = top_k(part.given, K), top_k(part.wanted, K)
    missing = np.array([not any(gain > 0 for gain in gains.values()) for gains in relevant], dtype=bool)
    figures = ndcg(found, relevant), ndcg(best, relevant), overlap(found, best)
    for figure in figures:
        figure[missing] = np.nan
    return figures


def _by_rank(best: Positions) -> list[dict[int, float]]:
    return [{at: 1 / rank for rank, at in enumerate(row, 1)} for row in best.tolist()]


def _without_itself(scores: Floats) -> Floats:
    scores = scores.copy()
    itself = np.arange(len(scores))
    scores[itself, itself] = -np.inf
    return scores


def _mean_over_folds(parts: Sequence[Doubles]) -> Doubles:
    mean: Doubles = np.mean(parts, axis=0)
    return mean
