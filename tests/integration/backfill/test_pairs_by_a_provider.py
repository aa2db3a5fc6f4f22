"""Pairs for an adapter by a model behind an API: within its limits, its bill counted, a refused text left out."""

from collections.abc import Iterator
from typing import Any

import pytest
from embedding_server import EmbeddingServer, hashing, refusal

from embedmig import commands
from embedmig.catalog import models
from embedmig.catalog.rates import RateLimits, set_limits
from embedmig.db import Connection, Database
from embedmig.embedders import forget_embedders, load_embedder, take_fingerprint
from embedmig.errors import FingerprintError
from embedmig.types import Model
from embedmig.validation.query_vectors import embed_queries
from tests.support import make_docs

ROWS = 300


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingServer]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("embedmig.embedders.openai.sending._FIRST_PAUSE_S", 0.01)
    with EmbeddingServer() as running:
        yield running
    forget_embedders()


def register(conn: Connection, server: EmbeddingServer) -> Model:
    options = {"model": "m", "base_url": server.url, "dimensions": 16, "batch_size": 64}
    model = Model(
        name="api", revision="1", provider="openai", dimensions=16, options=options, price_per_million_tokens=1
    )
    make_docs(conn, ROWS, new=model)
    conn.execute("DELETE FROM embedmig.model WHERE id = %s", [model.id])
    models.add_model(conn, model, take_fingerprint(model, load_embedder(model)).to_bytes())
    return model


def register_limited(conn: Connection, server: EmbeddingServer) -> Model:
    """With a limit that is counted and never reached."""
    model = register(conn, server)
    set_limits(conn, model, RateLimits(requests_per_minute=100_000))
    return model


def fit(db: Database, **options: Any) -> Any:
    return commands.adapter_fit(db, "docs", to="api@1", kind="procrustes", **options)


def test_the_bill_is_counted_and_the_limits_are_kept(
    db: Database, conn: Connection, server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("EMBEDMIG_CACHE_DIR", str(tmp_path))
    register_limited(conn, server)
    told: list[Any] = []
    fitted = fit(db, on_plan=told.append)
    assert fitted.adapter is not None
    assert fitted.tokens > 0
    assert told[0].cost > 0
    assert is_booked(conn)
    # What is kept on disk is not asked of the provider again.
    before = len(server.texts_received())
    assert fit(db).plan.kept == ROWS
    assert not any(text.startswith("Title") for text in server.texts_received()[before:])


def test_candidates_that_are_compared_keep_to_the_limits_too(
    db: Database, conn: Connection, server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("EMBEDMIG_CACHE_DIR", str(tmp_path))
    register_limited(conn, server)
    assert not is_booked(conn)
    assert commands.compare(db, "docs", ["api@1"], queries=["one", "two"], sample=100).rows == 100
    assert is_booked(conn)


def test_queries_that_validation_embeds_keep_to_the_limits_too(
    db: Database, conn: Connection, server: EmbeddingServer, tmp_path: Any
) -> None:
    model = register_limited(conn, server)
    assert not is_booked(conn)
    assert embed_queries(db, model, ["one", "two"], cache_dir=tmp_path).asked == 2
    assert is_booked(conn)


def is_booked(conn: Connection) -> bool:
    """Whether a request was counted against the limits that all processes share."""
    row = conn.execute(
        "SELECT count(*) AS n FROM embedmig.rate_limit WHERE requests_free_at > now() - interval '1 hour'"
    ).fetchone()
    assert row is not None
    return bool(row["n"])


def test_a_text_that_the_provider_refuses_is_left_out(
    db: Database, conn: Connection, server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("EMBEDMIG_CACHE_DIR", str(tmp_path))
    register(conn, server)
    server.rule = lambda request: refusal(400) if any("Title 7\n" in text for text in request.texts) else None
    fitted = fit(db)
    assert (fitted.pairs, fitted.not_embedded) == (ROWS - 1, 1)


def test_other_weights_behind_the_name_end_it(
    db: Database, conn: Connection, server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("EMBEDMIG_CACHE_DIR", str(tmp_path))
    register(conn, server)
    forget_embedders()
    server.embed = hashing(seed=9)
    with pytest.raises(FingerprintError):
        fit(db)
