"""A model behind an API: its limits, busy hours, its bill, texts it refuses, weights that change behind its name."""

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from embedding_server import EmbeddingServer, hashing, refusal

from embedmig.backfill.failures import list_failures
from embedmig.backfill.pipeline import WorkerOptions
from embedmig.backfill.results import ReembedResult, RunOptions
from embedmig.backfill.running import reembed
from embedmig.backfill.slices import GroupSize
from embedmig.catalog import models, slots
from embedmig.catalog.rates import RateLimits, set_limits
from embedmig.db import Connection, Database
from embedmig.embedders import forget_embedders, load_embedder, take_fingerprint
from embedmig.errors import FingerprintError
from embedmig.types import Collection, Model, Placement
from tests.backfill_support import check_every_row
from tests.support import expand_docs, make_docs

ROWS = 600
QUICK = WorkerOptions(size=GroupSize(rows=50), rest_s=0.02, idle_s=0.02, lease_s=5)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingServer]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("embedmig.embedders.openai.sending._FIRST_PAUSE_S", 0.01)
    with EmbeddingServer() as running:
        yield running
    forget_embedders()


def remote(server: EmbeddingServer, **options: Any) -> Model:
    given = {"model": "m", "base_url": server.url, "dimensions": 16, "batch_size": 10, **options}
    return Model(name="api", revision="1", provider="openai", dimensions=16, options=given)


def start(db: Database, conn: Connection, model: Model, *, fingerprint: bool = False) -> Collection:
    docs = make_docs(conn, ROWS, new=model)
    if fingerprint:
        conn.execute("DELETE FROM embedmig.model WHERE id = %s", [model.id])
        models.add_model(conn, model, take_fingerprint(model, load_embedder(model)).to_bytes())
    expand_docs(db, Placement.COMPANION, model=model)
    return docs


def run(db: Database, docs: Collection) -> ReembedResult:
    return reembed(db, docs, options=RunOptions(worker=QUICK))


def test_a_storm_of_429_and_500_loses_no_row_and_blames_none(
    db: Database, conn: Connection, server: EmbeddingServer
) -> None:
    docs = start(db, conn, remote(server))
    chance = random.Random(3)

    def storm(request: object) -> Any:
        roll = chance.random()
        if roll < 0.4:
            return refusal(429, retry_after="0.01")
        return refusal(500) if roll < 0.5 else None

    server.rule = storm
    result = run(db, docs)
    assert result.outcome == "done"
    assert result.failures == 0
    assert result.requests > ROWS / 10
    assert result.retries > 10
    server.rule = lambda request: None
    assert check_every_row(conn, docs, slots.get_slot(conn, docs, "v2")).clean


def test_tokens_are_those_that_were_billed(db: Database, conn: Connection, server: EmbeddingServer) -> None:
    docs = start(db, conn, remote(server))
    result = run(db, docs)
    assert result.tokens == sum(len(text.split()) for text in server.texts_received())
    assert result.tokens_are_billed


def test_a_rate_limit_holds_and_requests_go_out_side_by_side(
    db: Database, conn: Connection, server: EmbeddingServer
) -> None:
    model = remote(server)
    docs = start(db, conn, model)
    server.delay_s = 0.02
    set_limits(conn, model, RateLimits(requests_per_minute=60 * 30))
    began = time.monotonic()
    run(db, docs)
    sent = [request.at for request in server.received if request.at >= began]
    assert len(sent) >= ROWS / 10
    assert sent[-1] - sent[0] > (len(sent) - 1) / 30 - 0.5
    assert server.most_at_once > 1


def test_refused_texts_alone_become_failures(db: Database, conn: Connection, server: EmbeddingServer) -> None:
    docs = start(db, conn, remote(server))
    poison = {"Title 7\n\n", "Title 77\n\n", "Title 507\n\n"}

    def refuse(request: Any) -> Any:
        hit = any(text.startswith(tuple(poison)) for text in request.texts)
        return refusal(400, code="content_filter") if hit else None

    server.rule = refuse
    result = run(db, docs)
    target = slots.get_slot(conn, docs, "v2")
    assert result.outcome == "done"
    assert {failure.key for failure in list_failures(conn, target)} == {("7",), ("77",), ("507",)}
    server.rule = lambda request: None
    assert sorted(check_every_row(conn, docs, target).missing) == [("507",), ("7",), ("77",)]


@pytest.mark.parametrize("after", [0, 7, 23])
def test_weights_that_change_in_the_middle_stop_the_job_and_nothing_of_theirs_is_written(
    db: Database, conn: Connection, server: EmbeddingServer, after: int
) -> None:
    model = remote(server, concurrency=1)
    docs = start(db, conn, model, fingerprint=True)
    before, changed, served = hashing(seed=0), hashing(seed=99), len(server.received)
    server.embed = lambda texts: (before if len(server.received) - served <= after else changed)(texts)
    with pytest.raises(FingerprintError):
        run(db, docs)
    server.embed = before
    checked = check_every_row(conn, docs, slots.get_slot(conn, docs, "v2"))
    assert checked.wrong == []
    assert checked.missing
    assert run(db, docs).outcome == "done"
    assert check_every_row(conn, docs, slots.get_slot(conn, docs, "v2")).clean
