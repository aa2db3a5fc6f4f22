"""Blocks of queries, and when further ones could not change the verdict."""

from dataclasses import replace

import numpy as np
import pytest

from embedmig.settings import Settings
from embedmig.validation.analysis import Judged
from embedmig.validation.answers import Answers
from embedmig.validation.intervals import Estimate
from embedmig.validation.looking import FIRST_BLOCK, Watch, join_answers
from embedmig.validation.options import Options
from embedmig.validation.pair import PairCounts
from embedmig.validation.queries import Query
from embedmig.validation.running_top_k import Ranking
from embedmig.validation.verdict import Thresholds, is_settled, judge

COUNTS = PairCounts(judged=1000, only_source=0, only_target=0, source_bridged=0, target_bridged=0)
LIMITS = Thresholds()


def _ranking(numbers: list[int]) -> Ranking:
    return Ranking(keys=tuple((str(n),) for n in numbers), distances=np.arange(len(numbers), dtype=np.float32))


def _answers(queries: list[Query], shared: int) -> Answers:
    """Every query keeps ``shared`` of its first ten."""
    old = tuple(_ranking(list(range(10))) for _ in queries)
    new = tuple(_ranking([*range(shared), *range(100, 110 - shared)]) for _ in queries)
    return Answers(
        judged=Judged(queries=tuple(queries), source=old, target=new),
        row_rankings=([*old], [*new]),
        counts=COUNTS,
        unknown=frozenset(),
    )


def _walk(queries: list[Query], shared: int, options: Options | None = None) -> tuple[Watch, Answers]:
    watch = Watch(queries, options or Options(until_decided=True), Settings())
    answers = None
    for block in watch.blocks():
        answers = join_answers(answers, _answers(list(block), shared))
        watch.look(answers)
    assert answers is not None
    return watch, answers


def _queries(count: int, label: str | None = None) -> list[Query]:
    return [Query(text=f"{label} {n}", label=label) for n in range(count)]


def _estimate(low: float, high: float) -> Estimate:
    return Estimate(mean=(low + high) / 2, low=low, high=high, confidence=0.95, queries=100, spread=0.2)


def test_without_until_decided_all_queries_are_one_block_and_nothing_is_looked_at() -> None:
    watch, answers = _walk(_queries(200), 10, Options())
    assert len(answers.judged.queries) == 200
    assert watch.sequential is None


@pytest.mark.parametrize("shared", [10, 2])
def test_it_stops_early_where_the_models_agree_and_where_they_never_will(shared: int) -> None:
    watch, answers = _walk(_queries(2000), shared)
    asked = len(answers.judged.queries)
    assert watch.sequential is not None
    assert watch.sequential.decided
    assert FIRST_BLOCK <= asked < 500
    assert watch.sequential.looks[-1].queries == asked


def test_it_asks_everything_once_in_random_order_where_nothing_decides() -> None:
    queries = _queries(180)
    watch, answers = _walk(queries, 8)
    assert watch.sequential is not None
    assert not watch.sequential.decided
    assert sorted(query.text for query in answers.judged.queries) == sorted(query.text for query in queries)
    assert [query.text for query in answers.judged.queries] != [query.text for query in queries]
    assert [look.queries for look in watch.sequential.looks] == [50, 75, 112, 168, 180]


def test_no_pass_before_every_label_that_will_decide_was_looked_at() -> None:
    rare = _queries(20, "rare")
    watch, answers = _walk([*_queries(900, "common"), *rare], 10)
    asked = [query.label for query in answers.judged.queries]
    assert asked.count("rare") == 20
    assert watch.deciding == 2
    without, fewer = _walk([*_queries(900, "common"), *rare[:19]], 10)
    assert without.deciding == 1
    assert len(fewer.judged.queries) < 500


def test_settled_is_what_further_queries_could_not_change() -> None:
    def settled(overlap: Estimate, quality: Estimate | None, rows: int = 1000) -> bool:
        return is_settled(judge(overlap, quality, (), LIMITS, rows=rows), overlap, quality, LIMITS, rows=rows)

    assert settled(_estimate(0.81, 0.9), None)
    assert not settled(_estimate(0.7, 0.9), None)
    assert settled(_estimate(0.3, 0.5), None)
    assert not settled(_estimate(0.3, 0.5), _estimate(-0.05, 0.05))
    assert settled(_estimate(0.3, 0.5), _estimate(-0.05, -0.01))
    assert settled(_estimate(0.3, 0.5), _estimate(-0.005, 0.05))
    assert not settled(_estimate(0.81, 0.9), _estimate(-0.05, 0.05))
    assert settled(_estimate(0.81, 0.9), _estimate(-0.005, 0.05))
    assert settled(_estimate(0.95, 1), None, rows=10)


def test_joining_keeps_the_order_and_the_later_counts() -> None:
    first, second = _answers(_queries(2), 10), _answers(_queries(3, "b"), 2)
    first = replace(first, unknown=frozenset({("7",), ("8",)}))
    second = replace(second, counts=replace(COUNTS, judged=999), unknown=frozenset({("8",), ("9",)}))
    joined = join_answers(first, second)
    assert joined.judged.queries == first.judged.queries + second.judged.queries
    assert joined.row_rankings[1] == [*first.row_rankings[1], *second.row_rankings[1]]
    assert (joined.counts.judged, joined.unknown_judgments) == (999, 3)
