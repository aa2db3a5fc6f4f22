from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedmig.embedders.limits import BURST_S, LocalRateLimiter


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def send(limiter: LocalRateLimiter, clock: Clock, tokens: int = 0) -> float:
    """When a caller that keeps to the limits sends its next request."""
    clock.now += limiter.acquire(1, tokens)
    return clock.now


def test_without_limits_nothing_waits() -> None:
    assert [LocalRateLimiter().acquire(1, 10**9) for _ in range(3)] == [0, 0, 0]


@given(st.floats(3, 100_000), st.lists(st.floats(0, 2), min_size=30, max_size=200))
def test_no_minute_holds_more_requests_than_the_limit_and_its_burst(per_minute: float, idle_s: list[float]) -> None:
    clock = Clock()
    limiter = LocalRateLimiter(requests_per_minute=per_minute, clock=clock)
    times = []
    for pause in idle_s:
        clock.now += pause
        times.append(send(limiter, clock))
    for start in times:
        within = sum(start <= at < start + 60 for at in times)
        assert within <= per_minute * (60 + BURST_S) / 60 + 1 + 1e-6


def test_who_keeps_asking_gets_the_whole_limit() -> None:
    clock = Clock()
    limiter = LocalRateLimiter(requests_per_minute=600, clock=clock)
    times = [send(limiter, clock) for _ in range(601)]
    assert times[-1] == pytest.approx(60 - BURST_S)
    assert max(after - before for before, after in pairwise(times)) == pytest.approx(0.1)


def test_tokens_are_limited_by_what_they_are_and_a_request_above_the_burst_still_passes() -> None:
    clock = Clock()
    limiter = LocalRateLimiter(tokens_per_minute=60_000, clock=clock)
    assert send(limiter, clock, 90_000) == 0
    assert send(limiter, clock, 1_000) == pytest.approx(90 - BURST_S)
    assert send(limiter, clock, 1_000) == pytest.approx(91 - BURST_S)


def test_the_stricter_of_the_two_limits_counts() -> None:
    clock = Clock()
    limiter = LocalRateLimiter(requests_per_minute=60, tokens_per_minute=6_000, clock=clock)
    limiter.acquire(1, 500)
    assert limiter.acquire(1, 0) == pytest.approx(5 - BURST_S)


def test_a_changed_limit_holds_from_the_next_booking_on() -> None:
    clock = Clock()
    limiter = LocalRateLimiter(requests_per_minute=6, clock=clock)
    first, second = send(limiter, clock), send(limiter, clock)
    limiter.requests_per_minute = 600
    third, fourth = send(limiter, clock), send(limiter, clock)
    assert second - first == pytest.approx(10 - BURST_S)
    assert third - second == pytest.approx(10)
    assert fourth - third == pytest.approx(0.1)
    limiter.requests_per_minute = None
    assert send(limiter, clock) == fourth
