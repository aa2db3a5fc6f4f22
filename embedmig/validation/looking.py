"""Looks after each block of queries, and whether the verdict stands by then. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from embedmig.settings import Settings
from embedmig.validation.answers import Answers
from embedmig.validation.inference import ANYTIME, ONE_LOOK, Inference
from embedmig.validation.options import Options
from embedmig.validation.queries import Query
from embedmig.validation.report import Look, Sequential
from embedmig.validation.verdict import is_settled
from embedmig.validation.weighing import thresholds_of, weigh

FIRST_BLOCK = 50
"""Every further block makes half as many again in all: each costs one exact search over the corpus."""


@dataclass
class Watch:
    """Decides, block by block, whether to go on. One that only looks once takes all queries as its one block."""

    queries: Sequence[Query]
    options: Options
    settings: Settings
    decided: bool = False
    looks: list[Look] = field(default_factory=list)

    @property
    def inference(self) -> Inference:
        """What the intervals must stand."""
        return ANYTIME if self.options.until_decided else ONE_LOOK

    @property
    def deciding(self) -> int | None:
        """How many labels will decide once all queries were asked; None where they are asked at once."""
        return len(self._deciding_labels) if self.options.until_decided else None

    @property
    def sequential(self) -> Sequential | None:
        """For the report."""
        if not self.options.until_decided:
            return None
        return Sequential(available=len(self.queries), decided=self.decided, looks=tuple(self.looks))

    def blocks(self) -> Iterator[Sequence[Query]]:
        """The queries in the order to ask them, until decided."""
        if not self.options.until_decided:
            yield self.queries
            return
        order = np.random.default_rng(self.options.seed).permutation(len(self.queries))
        start, end = 0, FIRST_BLOCK
        while start < len(order) and not self.decided:
            yield [self.queries[place] for place in order[start:end]]
            start, end = end, end + end // 2

    def look(self, answers: Answers) -> None:
        """``answers``: of all blocks so far."""
        if not self.options.until_decided:
            return
        rows = answers.counts.judged
        weighed = weigh(answers.judged, rows, self.options, self.settings, ANYTIME, self.deciding)
        self.looks.append(Look(queries=len(answers.judged.queries), overlap=weighed.overlap, quality=weighed.gain))
        settled = is_settled(weighed.verdict, weighed.overlap, weighed.gain, thresholds_of(self.settings), rows=rows)
        passed = weighed.verdict.outcome.passed
        self.decided = settled and not (passed and self._awaits_labels(answers.judged.queries))

    def _awaits_labels(self, asked: Sequence[Query]) -> bool:
        """Whether a label that will decide has too few queries yet: a pass could hide a corner not looked at."""
        seen = Counter(query.label for query in asked)
        return any(seen[label] < self.settings.stratum_queries for label in self._deciding_labels)

    @property
    def _deciding_labels(self) -> list[str | None]:
        sizes = Counter(query.label for query in self.queries)
        return (
            [label for label, size in sizes.items() if size >= self.settings.stratum_queries] if len(sizes) > 1 else []
        )


def join_answers(before: Answers | None, more: Answers) -> Answers:
    """Those of two blocks as one; rows are counted as the later block saw them."""
    if before is None:
        return more
    judged = replace(
        more.judged,
        queries=(*before.judged.queries, *more.judged.queries),
        source=(*before.judged.source, *more.judged.source),
        target=(*before.judged.target, *more.judged.target),
    )
    return Answers(
        judged=judged,
        row_rankings=(
            [*before.row_rankings[0], *more.row_rankings[0]],
            [*before.row_rankings[1], *more.row_rankings[1]],
        ),
        counts=more.counts,
        unknown=before.unknown | more.unknown,
    )
