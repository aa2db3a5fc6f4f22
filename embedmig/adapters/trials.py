"""How well an adapter does on documents it was not fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embedmig.adapters.checks import as_rows, to_unit_rows
from embedmig.adapters.intervals import Interval, bootstrap_ratio
from embedmig.adapters.kinds import Adapter, Direction, Pairs, Rows, apply_adapter, fit_adapter
from embedmig.adapters.measures import Positions, ndcg, overlap, top_k
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
    """Queries to measure by, embedded by the new model: (q, d_new). Without them the documents ask for one another."""

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


@dataclass(frozen=True, eq=False, kw_only=True)
class Trial:
    """A candidate's figures, one a query: paired with every other's of the same bench."""

    kind: str
    values: Doubles
    ideal: Doubles
    """What the new model itself gets: 1 everywhere, or its own nDCG where there are judgments."""
    top_10: Doubles
    residuals: ResidualStatistics

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
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Ranked:
    """A set of documents scored for the same queries (q, n) through an adapter and by the new model, and its mapped
    rows beside the true ones."""

    given: Floats
    wanted: Floats
    mapped: Floats
    true: Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class Bench:
    """The same held-out documents and the same queries for every candidate. Pairs and queries are checked."""

    pairs: Pairs
    direction: Direction
    asked: Asked | None = None
    distance: Distance = Distance.COSINE
    seed: int = 0

    @property
    def normalise(self) -> bool:
        """Whether lengths mean nothing."""
        return self.distance is Distance.COSINE

    def folds(self) -> list[Rows]:
        """The rows held out each time: five folds that cover all up to 5,000 pairs, one part of more."""
        n = len(self.pairs)
        order = np.random.default_rng(self.seed).permutation(n)
        return np.array_split(order, FOLDS) if n <= CROSS_FITTED else [order[: min(n // FOLDS, HELD_OUT)]]

    def left_by(self, fold: Rows) -> Rows:
        """The rows to fit on when ``fold`` is held out."""
        return np.setdiff1d(np.arange(len(self.pairs)), fold)

    def run(self, kind: str, *, most_pairs: int | None = None) -> Trial:
        """Fits it once for each fold, on at most ``most_pairs``, and measures it on the fold."""
        folds = self.folds()
        ranked = []
        for fold in folds:
            left = self.pairs.at(self.left_by(fold)[:most_pairs])
            adapter = fit_adapter(kind, left, self.direction, normalise=self.normalise, seed=self.seed, of_a_part=True)
            ranked.append(self.rank(adapter, self.pairs.at(fold)))
        return self.measure(kind, ranked, np.concatenate(folds))

    def rank(self, adapter: Adapter, documents: Pairs) -> Ranked:
        """``documents`` by a fitted adapter."""
        queries = documents.new[:_QUERIES_A_FOLD] if self.asked is None else self.asked.vectors
        wanted = similarities(queries, documents.new, self.distance)
        if self.direction is Direction.QUERY:
            given = similarities(apply_adapter(adapter, queries), documents.old, self.distance)
            return Ranked(given=given, wanted=wanted, mapped=apply_adapter(adapter, documents.new), true=documents.old)
        mapped = apply_adapter(adapter, documents.old, documents.texts)
        given = similarities(queries, mapped, self.distance)
        return Ranked(given=given, wanted=wanted, mapped=mapped, true=documents.new)

    def measure(self, kind: str, ranked: Sequence[Ranked], rows: Rows) -> Trial:
        """``rows``: of the pairs, those that stand in ``ranked``, in its order."""
        residuals = measure_residuals(
            np.concatenate([part.mapped for part in ranked]), np.concatenate([part.true for part in ranked])
        )
        if self.asked is not None and self.asked.judgments is not None:
            return _judge(kind, ranked, rows, self.asked.judgments, residuals)
        values, top_10 = [], []
        for part in ranked:
            given, wanted = part.given, part.wanted
            if self.asked is None:
                given, wanted = _without_itself(given), _without_itself(wanted)
            found, best = top_k(given, K), top_k(wanted, K)
            values.append(ndcg(found, _by_rank(best)))
            top_10.append(overlap(found, best))
        # Documents ask within their fold; queries ask in every fold.
        gather = np.concatenate if self.asked is None else _mean_over_folds
        shares = gather(values)
        return Trial(kind=kind, values=shares, ideal=np.ones_like(shares), top_10=gather(top_10), residuals=residuals)


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
    return bench.measure(kind, [bench.rank(adapter, pairs)], np.arange(len(pairs))).score(seed)


def similarities(queries: Floats, documents: Floats, distance: Distance) -> Floats:
    """(q, n), higher is nearer. For cosine both are taken to be of unit length."""
    products: Floats = queries @ documents.T
    if distance is Distance.L2:
        products = 2 * products - np.einsum("ij,ij->i", documents, documents)
    return products


def _judge(
    kind: str,
    ranked: Sequence[Ranked],
    rows: Rows,
    judgments: Sequence[Mapping[int, float]],
    residuals: ResidualStatistics,
) -> Trial:
    """By nDCG@10 over all held-out documents at once, for the queries that have a relevant one among them."""
    position = {row: at for at, row in enumerate(rows.tolist())}
    there = [{position[row]: gain for row, gain in gains.items() if row in position} for gains in judgments]
    use = np.array([any(gain > 0 for gain in gains.values()) for gains in there], dtype=bool)
    if not use.any():
        raise AdapterInputError("no judged document is among the held-out pairs: judge more, or choose without")
    relevant = [gains for gains, wanted in zip(there, use, strict=True) if wanted]
    found = top_k(np.concatenate([part.given for part in ranked], axis=1)[use], K)
    best = top_k(np.concatenate([part.wanted for part in ranked], axis=1)[use], K)
    return Trial(
        kind=kind,
        values=ndcg(found, relevant),
        ideal=ndcg(best, relevant),
        top_10=overlap(found, best),
        residuals=residuals,
    )


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
