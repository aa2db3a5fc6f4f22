"""Which adapter for these pairs: chosen on documents that none of the candidates was fitted on, or none at all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedmig.adapters.excerpts import Excerpts
from embedmig.adapters.farness import Farness, fit_farness
from embedmig.adapters.intervals import bootstrap_mean
from embedmig.adapters.kinds import Adapter, Direction, Pairs, candidates, fit_adapter
from embedmig.adapters.normal_equations import NormalEquations
from embedmig.adapters.trials import Asked, Bench, CandidateScore, Trial
from embedmig.errors import AdapterInputError
from embedmig.types import Distance


@dataclass(frozen=True, eq=False, kw_only=True)
class Selection:
    """What was chosen, and on what grounds."""

    kind: str | None
    """None: no candidate is good enough."""
    adapter: Adapter | None
    """Fitted on all pairs."""
    reason: str
    scores: tuple[CandidateScore, ...]
    """Of every candidate, in the order in which ties are decided."""
    farness: Farness | None
    """Of what is mapped, from what was fitted."""
    n_pairs: int
    direction: Direction

    @property
    def score(self) -> CandidateScore | None:
        """The chosen one's."""
        return next((score for score in self.scores if score.kind == self.kind), None)


def select_adapter(
    pairs: Pairs,
    direction: Direction,
    *,
    kinds: Sequence[str] | None = None,
    asked: Asked | None = None,
    excerpts: Excerpts | None = None,
    distance: Distance = Distance.COSINE,
    floor: float = 0.5,
    seed: int = 0,
) -> Selection:
    """The simplest candidate that is not worse than the best beyond the noise, fitted on all pairs.

    ``kinds``: None for all that ``direction`` has (``text`` only when the pairs have texts). ``asked``: queries to
    choose by, with judgments by nDCG@10, else by the new model's top 10; without them documents ask for one another.
    ``excerpts``: where there are no judgments, a query adapter is better chosen by how well pieces of documents find
    their own, for queries are short: among documents alone the one that is best for long texts wins. ``floor``: where
    the best share's interval reaches below it, none is good enough and ``Selection.adapter`` is None. Same input and
    seed, same answer.
    ``distance``: cosine for models of unit length, whatever operator their index has; else the operator's.

    Raises AdapterInputError on pairs or queries that cannot be measured, or kinds that ``direction`` does not have.
    """
    if excerpts is not None and direction is Direction.BRIDGE:
        raise AdapterInputError("a bridge maps documents, so documents choose it: excerpts are for query adapters")
    normalise = distance is Distance.COSINE
    pairs = pairs.checked(normalise=normalise)
    width = pairs.new.shape[1]
    bench = Bench(
        pairs=pairs,
        direction=direction,
        asked=asked.checked(width, normalise=normalise) if asked is not None else None,
        excerpts=_read_excerpts(excerpts, asked, width, normalise=normalise),
        distance=distance,
        seed=seed,
    )
    trials = [bench.run(kind) for kind in _read_kinds(kinds, direction, pairs, distance)]
    scores = tuple(trial.score(seed) for trial in trials)
    chosen = _choose(trials, seed)
    score = next(score for score in scores if score.kind == chosen.kind)
    good = score.interval[0] >= floor
    return Selection(
        kind=chosen.kind if good else None,
        adapter=fit_adapter(chosen.kind, pairs, direction, normalise=normalise, seed=seed) if good else None,
        reason=_explain(score, scores) if good else _explain_refusal(score, floor),
        scores=scores,
        farness=_fit_farness(bench) if good else None,
        n_pairs=len(pairs),
        direction=direction,
    )


def _read_excerpts(excerpts: Excerpts | None, asked: Asked | None, d_new: int, *, normalise: bool) -> Excerpts | None:
    """None where there are judgments: they know better."""
    if excerpts is None or (asked is not None and asked.judgments is not None):
        return None
    return excerpts.checked(d_new, normalise=normalise)


def _read_kinds(kinds: Sequence[str] | None, direction: Direction, pairs: Pairs, distance: Distance) -> tuple[str, ...]:
    known = candidates(direction, distance=distance, with_texts=pairs.texts is not None)
    if kinds is None:
        return known
    if not kinds or not set(kinds) <= set(known):
        raise AdapterInputError(f"for direction {direction} and these pairs the kinds are {', '.join(known)}")
    return tuple(kind for kind in known if kind in kinds)


def _choose(trials: Sequence[Trial], seed: int) -> Trial:
    """The first whose paired difference to the best has 0 in its interval."""
    best = max(trials, key=lambda trial: float(trial.decisive.mean()))
    return next(
        trial for trial in trials if trial is best or bootstrap_mean(best.decisive - trial.decisive, seed=seed)[0] <= 0
    )


def _fit_farness(bench: Bench) -> Farness:
    """By the rows of one fold's fit; the threshold by the fold."""
    rows = bench.pairs.new if bench.direction is Direction.QUERY else bench.pairs.old
    fold = bench.folds()[0]
    left = rows[bench.left_by(fold)]
    moments = NormalEquations(rows.shape[1], 1).add(left, np.zeros((len(left), 1), dtype=left.dtype)).moments()
    return fit_farness(moments, rows[fold])


def _explain(score: CandidateScore, scores: Sequence[CandidateScore]) -> str:
    kept = f"{score.kind} keeps {_percent(score)} of the new model's ranking on held-out documents"
    if len(scores) == 1:
        return kept
    by = "finding excerpts of documents" if score.own_row is not None else "keeping that ranking"
    best = max(scores, key=lambda one: one.share if one.own_row is None else one.own_row)
    if best.kind == score.kind:
        return f"{kept}; of {len(scores)} candidates it is the best at {by}"
    return f"{kept}; {best.kind} is no better at {by} beyond the noise, and less simple"


def _explain_refusal(score: CandidateScore, floor: float) -> str:
    return (
        f"no adapter is good enough: the best, {score.kind}, keeps {_percent(score)} of the new model's ranking on"
        f" held-out documents, {floor:.0%} are asked for. Re-embed, fit on more pairs, or lower the floor"
    )


def _percent(score: CandidateScore) -> str:
    return f"{score.share:.0%} [{score.interval[0]:.0%} to {score.interval[1]:.0%}]"
