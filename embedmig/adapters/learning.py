"""Whether more pairs would help."""

from collections.abc import Sequence
from dataclasses import dataclass

from embedmig.adapters.checks import FEWEST_PAIRS
from embedmig.adapters.intervals import Interval, bootstrap_mean
from embedmig.adapters.kinds import Direction, Pairs
from embedmig.adapters.trials import Asked, Bench, CandidateScore
from embedmig.errors import AdapterInputError
from embedmig.types import Distance

_WORTH_IT = 0.005


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """One kind fitted on more and more pairs, always measured on the same held-out documents."""

    points: tuple[tuple[int, CandidateScore], ...]
    """(pairs, score), from few to all but the held-out ones."""
    last_gain: Interval
    """The 95 % interval of what the last doubling gained, in share."""

    @property
    def more_pairs_help(self) -> bool:
        """Whether the last doubling surely gained half a point of share or more: another then gains about as much
        or somewhat less."""
        return self.last_gain[0] >= _WORTH_IT


def measure_learning(
    kind: str,
    pairs: Pairs,
    direction: Direction,
    *,
    sizes: Sequence[int] | None = None,
    asked: Asked | None = None,
    distance: Distance = Distance.COSINE,
    seed: int = 0,
) -> LearningCurve:
    """``sizes``: None halves the pairs that are left beside the held-out ones, three times or down to 250.

    Raises AdapterInputError when there are not at least two sizes of 250 pairs and more.
    """
    normalise = distance is Distance.COSINE
    pairs = pairs.checked(normalise=normalise)
    asked = asked.checked(pairs.new.shape[1], normalise=normalise) if asked is not None else None
    bench = Bench(pairs=pairs, direction=direction, asked=asked, distance=distance, seed=seed)
    most = len(pairs) - max(map(len, bench.folds()))
    sizes = sorted({min(size, most) for size in sizes}) if sizes else _halve(most)
    if len(sizes) < 2:
        raise AdapterInputError(
            f"a learning curve needs two sizes of {FEWEST_PAIRS} pairs and more: of {len(pairs)} pairs {most} are left"
            " beside the held-out ones"
        )
    trials = [bench.run(kind, most_pairs=size) for size in sizes]
    return LearningCurve(
        points=tuple((size, trial.score(seed)) for size, trial in zip(sizes, trials, strict=True)),
        last_gain=bootstrap_mean(trials[-1].values - trials[-2].values, seed=seed),
    )


def _halve(most: int) -> list[int]:
    return sorted(size for size in (most // 8, most // 4, most // 2, most) if size >= FEWEST_PAIRS)
