"""How the texts of a group are embedded when the model stands behind an API."""

from collections.abc import Iterator

import numpy as np
import pytest
from embedding_server import EmbeddingServer, refusal

from embedmig.backfill.embedding import SlotEmbedder, embed_texts
from embedmig.backfill.tokens import TokenCounter
from embedmig.backfill.vector_cache import VectorCache
from embedmig.embedders import forget_embedders, load_embedder
from embedmig.errors import ProviderSetupError, ProviderUnavailableError
from embedmig.types import Model

TEXTS = [f"row {number} with private words" for number in range(64)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingServer]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("embedmig.embedders.openai.sending._FIRST_PAUSE_S", 0.01)
    with EmbeddingServer() as running:
        yield running
    forget_embedders()


def at_work(server: EmbeddingServer) -> SlotEmbedder:
    options = {"model": "m", "base_url": server.url, "dimensions": 16, "give_up_after_s": 0.2}
    model = Model(name="m", revision="1", provider="openai", dimensions=16, options=options)
    embedder = load_embedder(model)
    return SlotEmbedder(
        model=model, vector_type="vector", embedder=embedder, tokens=TokenCounter(embedder), cache=VectorCache()
    )


def test_a_poison_text_ends_up_alone_in_few_requests_and_its_reason_holds_no_word_of_it(
    server: EmbeddingServer,
) -> None:
    server.rule = lambda request: refusal(400, code="content_filter") if TEXTS[37] in request.texts else None
    embedded = embed_texts(at_work(server), TEXTS)
    others = [row for row in range(64) if row != 37]
    np.testing.assert_allclose(embedded.vectors[others], server.embed(TEXTS)[others], atol=1e-6)
    assert list(embedded.reasons) == [37]
    assert "HTTP 400 (content_filter" in embedded.reasons[37]
    assert "private" not in embedded.reasons[37]
    assert len(server.received) <= 2 + 2 * 6


@pytest.mark.parametrize("status", [401, 404])
def test_what_no_text_is_to_blame_for_stops_at_the_first_request(status: int, server: EmbeddingServer) -> None:
    server.rule = lambda request: refusal(status)
    with pytest.raises(ProviderSetupError):
        embed_texts(at_work(server), TEXTS)
    assert len(server.received) == 1


def test_a_provider_that_stays_busy_is_given_up_once_and_no_text_is_blamed(server: EmbeddingServer) -> None:
    server.rule = lambda request: refusal(429)
    with pytest.raises(ProviderUnavailableError):
        embed_texts(at_work(server), TEXTS)
    assert {len(request.texts) for request in server.received} == {64}


def test_refusing_every_text_is_no_texts_fault(server: EmbeddingServer) -> None:
    server.rule = lambda request: refusal(400)
    with pytest.raises(Exception, match="refuses 64 texts: HTTP 400"):
        embed_texts(at_work(server), TEXTS)
    assert len(server.received) == 2
