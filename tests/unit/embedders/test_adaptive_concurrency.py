import threading
import time
from itertools import pairwise

import pytest

from embedmig.embedders.concurrency import AdaptiveConcurrency


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


def fill(concurrency: AdaptiveConcurrency) -> list[float]:
    return [concurrency.enter(lambda: None) for _ in range(concurrency.limit)]


def refuse_all(concurrency: AdaptiveConcurrency) -> int:
    """As many requests as may be under way are all told that there are too many; the limit after that."""
    for turn in fill(concurrency):
        concurrency.leave(turn, too_busy=True)
    return concurrency.limit


def test_the_limit_grows_fast_until_the_provider_is_too_busy_then_halves_then_grows_by_one_a_round() -> None:
    concurrency = AdaptiveConcurrency(64, clock=Clock())
    assert concurrency.limit == 4
    while concurrency.limit < 32:
        before = concurrency.limit
        assert before < succeed(concurrency) <= 2 * before
    top = concurrency.limit
    assert refuse_all(concurrency) == top // 2
    grown = [succeed(concurrency) for _ in range(4)]
    assert grown[-1] - top // 2 in (3, 4)
    assert all(after - before <= 1 for before, after in pairwise(grown))


def succeed(concurrency: AdaptiveConcurrency) -> int:
    """A round in which each request that goes well is followed by another, so that every place is taken."""
    turns = fill(concurrency)
    for _ in range(len(turns)):
        concurrency.leave(turns.pop(0), went_well=True)
        while len(turns) < concurrency.limit:
            turns.append(concurrency.enter(lambda: None))
    after = concurrency.limit
    for turn in turns:
        concurrency.leave(turn)
    return after


def test_requests_under_way_together_halve_the_limit_once() -> None:
    concurrency = AdaptiveConcurrency(16, clock=Clock())
    while concurrency.limit < 16:
        succeed(concurrency)
    assert refuse_all(concurrency) == 8
    assert refuse_all(concurrency) == 4


def test_the_limit_stays_between_one_and_the_maximum() -> None:
    concurrency = AdaptiveConcurrency(6, clock=Clock())
    for _ in range(20):
        succeed(concurrency)
    assert concurrency.limit == 6
    for _ in range(10):
        refuse_all(concurrency)
    assert concurrency.limit == 1
    assert AdaptiveConcurrency(1).limit == 1


def test_success_below_the_limit_says_nothing_about_it() -> None:
    concurrency = AdaptiveConcurrency(16, clock=Clock())
    for _ in range(50):
        concurrency.leave(concurrency.enter(lambda: None), went_well=True)
    assert concurrency.limit == 4


def test_who_finds_no_place_waits_until_one_is_free_and_the_urgent_do_not() -> None:
    concurrency = AdaptiveConcurrency(1)
    turn = concurrency.enter(lambda: None)
    concurrency.leave(concurrency.enter(lambda: None, urgent=True))
    entered = threading.Event()
    threading.Thread(target=lambda: (concurrency.enter(lambda: None), entered.set()), daemon=True).start()
    assert not entered.wait(0.05)
    concurrency.leave(turn)
    assert entered.wait(1)


def test_a_pause_that_was_asked_for_holds_for_all() -> None:
    concurrency = AdaptiveConcurrency(8)
    concurrency.leave(concurrency.enter(lambda: None), too_busy=True, pause_s=0.15)
    before = time.monotonic()
    concurrency.enter(lambda: None)
    assert 0.1 < time.monotonic() - before < 5


def test_waiting_ends_when_the_check_raises() -> None:
    concurrency = AdaptiveConcurrency(1)
    concurrency.enter(lambda: None)

    def check() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        concurrency.enter(check)
