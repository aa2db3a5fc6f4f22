"""Requests and tokens per minute, shared through the database."""

import threading
import time

import pytest
from embedding_server import EmbeddingServer
from support import NEW, OLD

from embedmig.catalog.models import add_model
from embedmig.catalog.rates import _BURST_S, RateLimits, SharedRateLimiter, get_limits, set_limits
from embedmig.db import Connection, Database
from embedmig.embedders import RateLimiter
from embedmig.embedders.openai import OpenAIEmbedder
from embedmig.errors import UsageError


@pytest.fixture(autouse=True)
def _models(conn: Connection) -> None:
    for model in (OLD, NEW):
        add_model(conn, model, None)


def send_times(db: Database, requests: int, tokens: int = 0) -> list[float]:
    """When one of several machines, which keeps to the limits, sends each of its requests."""
    times = []
    with SharedRateLimiter(db, OLD) as limiter:
        for _ in range(requests):
            time.sleep(limiter.acquire(1, tokens))
            times.append(time.monotonic())
    return times


def send_from(db: Database, machines: int, requests: int, tokens: int = 0) -> list[float]:
    """The same from several machines at once, all times in order."""
    times: list[float] = []
    threads = [threading.Thread(target=lambda: times.extend(send_times(db, requests, tokens))) for _ in range(machines)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(times)


def require_rate(times: list[float], started_at: float) -> None:
    """150 requests at 100 a second: 1.49 s, of which the burst saves some. A busy machine takes longer, never less."""
    assert len(times) == 150
    assert 0.97 * (1.49 - _BURST_S) <= times[-1] - started_at < 3 * 1.49


@pytest.mark.parametrize(
    ("limits", "tokens"),
    [(RateLimits(requests_per_minute=6000), 7), (RateLimits(tokens_per_minute=60_000), 10)],
    ids=["requests", "tokens"],
)
def test_several_machines_together_keep_one_limit_within_a_few_per_cent(
    limits: RateLimits, tokens: int, db: Database, conn: Connection
) -> None:
    set_limits(conn, OLD, limits)
    started_at = time.monotonic()
    require_rate(send_from(db, 3, 50, tokens), started_at)


def test_where_there_is_no_limit_the_database_is_asked_now_and_then(
    db: Database, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedmig.catalog.rates._UNLIMITED_FOR_S", 0.2)
    with SharedRateLimiter(db, OLD) as limiter:
        assert limiter.acquire(1, 10**6) == 0
        set_limits(conn, OLD, RateLimits(requests_per_minute=1))
        assert [limiter.acquire(1, 1), limiter.acquire(1, 1)] == [0, 0]
        time.sleep(0.25)
        assert [limiter.acquire(1, 1), limiter.acquire(1, 1)] == [0, pytest.approx(60, abs=1)]


def test_each_model_has_limits_of_its_own(db: Database, conn: Connection) -> None:
    set_limits(conn, NEW, RateLimits(requests_per_minute=1))
    with SharedRateLimiter(db, OLD) as old, SharedRateLimiter(db, NEW) as new:
        assert [old.acquire(1, 1), old.acquire(1, 1)] == [0, 0]
        assert new.acquire(1, 1) == 0
        assert new.acquire(1, 1) == pytest.approx(60, abs=1)


def test_the_stricter_limit_counts_and_a_request_above_the_burst_still_passes(db: Database, conn: Connection) -> None:
    set_limits(conn, OLD, RateLimits(requests_per_minute=60, tokens_per_minute=60_000))
    with SharedRateLimiter(db, OLD) as limiter:
        assert limiter.acquire(1, 90_000) == 0
        assert limiter.acquire(1, 10) == pytest.approx(90 - 0.25, abs=0.5)


def test_limits_changed_while_it_runs_hold_from_the_next_booking_on(db: Database, conn: Connection) -> None:
    set_limits(conn, OLD, RateLimits(requests_per_minute=2))
    with SharedRateLimiter(db, OLD) as limiter:
        first, second = limiter.acquire(1, 0), limiter.acquire(1, 0)
        set_limits(conn, OLD, RateLimits(requests_per_minute=6000))
        third, fourth = limiter.acquire(1, 0), limiter.acquire(1, 0)
    # Each is told the wait from its own moment, so that a slow machine makes them smaller, never larger.
    assert first == 0
    assert 15 < second <= 29.751
    assert 15 < third - second <= 30.001
    assert fourth - third <= 0.011


def test_a_dropped_connection_is_replaced(db: Database, conn: Connection) -> None:
    set_limits(conn, OLD, RateLimits(requests_per_minute=60))
    with SharedRateLimiter(db, OLD) as limiter:
        limiter.acquire(1, 0)
        ended = conn.execute(
            "SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
        assert ended is not None
        assert ended["n"] >= 1
        assert limiter.acquire(1, 0) > 0


def test_it_leaves_no_connection_behind(db: Database, conn: Connection) -> None:
    set_limits(conn, OLD, RateLimits(requests_per_minute=6000))
    send_from(db, 3, 2)
    deadline = time.monotonic() + 5
    while True:
        row = conn.execute("SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()").fetchone()
        assert row is not None
        if row["n"] == 1:
            break
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_limits_are_read_back_and_taken_off(conn: Connection) -> None:
    assert get_limits(conn, OLD) == RateLimits()
    limits = RateLimits(requests_per_minute=3000, tokens_per_minute=1e6)
    set_limits(conn, OLD, limits)
    assert get_limits(conn, OLD) == limits
    set_limits(conn, OLD, RateLimits())
    assert get_limits(conn, OLD) == RateLimits()


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_a_limit_that_cannot_be_is_refused(value: float, conn: Connection) -> None:
    with pytest.raises(UsageError, match="above 0"):
        set_limits(conn, OLD, RateLimits(tokens_per_minute=value))


def test_two_workers_of_a_job_share_the_limit_of_the_provider(db: Database, conn: Connection) -> None:
    set_limits(conn, OLD, RateLimits(requests_per_minute=6000))
    with EmbeddingServer() as server, SharedRateLimiter(db, OLD) as one, SharedRateLimiter(db, OLD) as two:

        def work(limiter: RateLimiter) -> None:
            options = {"model": "m", "base_url": server.url, "dimensions": 16, "batch_size": 2}
            job = OpenAIEmbedder(options=options).for_job(limiter, lambda: False)
            job.embed_documents([f"text {number}" for number in range(150)])

        started_at = time.monotonic()
        threads = [threading.Thread(target=work, args=(limiter,)) for limiter in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        times = sorted(request.at for request in server.received)
    require_rate(times, started_at)
