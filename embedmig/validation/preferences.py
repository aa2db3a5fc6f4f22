"""Which of two lists a judge prefers, not knowing which model made it: where nobody said what is relevant. Pure."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from embedmig.types import Key
from embedmig.validation.intervals import Estimate
from embedmig.validation.report import Preference, QueryResult, ValidationReport
from embedmig.validation.sequences import anytime_mean


class Choice(StrEnum):
    """What a judge says of two lists."""

    LEFT = "left"
    RIGHT = "right"
    EQUAL = "equal"
    SKIP = "skip"


class Judge(Protocol):
    """A person or a model that tells which of two lists answers a query better."""

    def prefer(self, query: str, left: Sequence[str], right: Sequence[str]) -> Choice | None:
        """``left`` and ``right``: texts, best first. None ends the session; what was said before is kept."""
        ...


@dataclass(frozen=True, kw_only=True)
class Question:
    """A query with its two lists, on sides that chance chose."""

    result: QueryResult
    new_is_left: bool

    @property
    def left(self) -> tuple[Key, ...]:
        """Keys, best first."""
        return _keys(self.result, new=self.new_is_left)

    @property
    def right(self) -> tuple[Key, ...]:
        """Keys, best first."""
        return _keys(self.result, new=not self.new_is_left)

    def verdict_of(self, choice: Choice) -> str:
        """The choice as a verdict on the new list: better, worse, equal or skip."""
        if choice in (Choice.EQUAL, Choice.SKIP):
            return choice.value
        return "better" if (choice is Choice.LEFT) == self.new_is_left else "worse"


@dataclass(frozen=True, kw_only=True)
class PreferenceSummary:
    """What judges said of the queries whose lists differ. Counts are of verdicts, a query may have several."""

    better: int
    worse: int
    equal: int
    skipped: int
    judges: tuple[str, ...]
    queries: int
    """How many queries have a verdict."""
    differing: int
    """How many have different lists: those that the mean speaks of."""
    mean: Estimate | None
    """Better less worse, -1 to 1, by the queries' weight, with an interval that holds whenever the judge stops; None
    without a verdict."""

    def __str__(self) -> str:
        said = f"new list better {self.better:,}, worse {self.worse:,}, equal {self.equal:,}, skipped {self.skipped:,}"
        if self.mean is None:
            return said
        interval = f"{self.mean.confidence:.0%} interval {self.mean.low:+.3f} to {self.mean.high:+.3f}"
        return f"{said}; better less worse {self.mean.mean:+.3f} ({interval}) over the {self.differing:,} that differ"


def list_questions(report: ValidationReport, judge: str, *, seed: int = 0) -> list[Question]:
    """The queries whose lists differ and on which ``judge`` said nothing yet, in an order and on sides that chance
    chose: the same for the same judge and seed, so that a session goes on where it stopped."""
    differing = differing_results(report)
    generator = np.random.default_rng([seed, zlib.crc32(judge.encode())])
    order = generator.permutation(len(differing))
    sides = generator.random(len(differing)) < 0.5
    done = {(one.text, one.label) for one in report.preferences if one.judge == judge}
    return [
        Question(result=differing[place], new_is_left=bool(sides[place]))
        for place in order
        if (differing[place].text, differing[place].label) not in done
    ]


def differing_results(report: ValidationReport) -> list[QueryResult]:
    """The queries whose two lists are not the same, in one order whatever the report's."""
    differing = (one for one in report.results if _keys(one, new=False) != _keys(one, new=True))
    return sorted(differing, key=lambda one: (one.text, one.label or ""))


def summarise_preferences(report: ValidationReport, *, confidence: float = 0.95) -> PreferenceSummary | None:
    """What the report's judges said; None when none said anything."""
    if not report.preferences:
        return None
    verdicts = [one.verdict for one in report.preferences]
    weight_of = {(one.text, one.label): one.weight for one in report.results}
    scores = _score(report.preferences)
    known = [(score, weight_of[query]) for query, score in scores.items() if query in weight_of]
    mean = None
    if known:
        values, weights = np.array(known, dtype=np.float64).T
        mean = anytime_mean(values, weights, bounds=(-1.0, 1.0), confidence=confidence)
    return PreferenceSummary(
        better=verdicts.count("better"),
        worse=verdicts.count("worse"),
        equal=verdicts.count("equal"),
        skipped=verdicts.count("skip"),
        judges=tuple(sorted({one.judge for one in report.preferences})),
        queries=len(known),
        differing=len(differing_results(report)),
        mean=mean,
    )


def _score(preferences: Iterable[Preference]) -> Mapping[tuple[str, str | None], float]:
    """Each query's verdicts as one number from -1 to 1, in the order in which the first of them came."""
    said: dict[tuple[str, str | None], list[int]] = {}
    for one in preferences:
        if one.verdict != "skip":
            number = {"better": 1, "equal": 0, "worse": -1}[one.verdict]
            said.setdefault((one.text, one.label), []).append(number)
    return {query: float(np.mean(numbers)) for query, numbers in said.items()}


def _keys(result: QueryResult, *, new: bool) -> tuple[Key, ...]:
    return tuple(found.key for found in (result.target if new else result.source))
