"""A real model behind an OpenAI-compatible server: through HTTP it is the model that it is beside us."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from embedding_server import EmbeddingServer, refusal

from embedmig.demo.models import minilm_path
from embedmig.embedders import check_fingerprint, forget_embedders, load_embedder, probe_model
from embedmig.embedders.openai import OpenAIEmbedder
from embedmig.embedders.sentence_transformers import SentenceTransformersEmbedder
from embedmig.errors import FingerprintError

pytestmark = pytest.mark.models

TEXTS = [
    "The ferry to the island leaves at half past seven.",
    "Straße, naïve café, Łódź: punctuation, and 図書館 too!",
    "unbelievably long-winded reconsiderations " * 60,
    *(f"sentence number {number} about boats and weather" for number in range(30)),
]


@pytest.fixture(scope="module")
def minilm() -> SentenceTransformersEmbedder:
    return SentenceTransformersEmbedder(options={"path": str(minilm_path()), "device": "cpu"})


@pytest.fixture
def server(minilm: SentenceTransformersEmbedder, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingServer]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with EmbeddingServer(minilm.embed_documents) as running:
        yield running
    forget_embedders()


def options(server: EmbeddingServer, **more: Any) -> dict[str, Any]:
    tokenizer = str(minilm_path() / "tokenizer.json")
    return {"model": "all-MiniLM-L6-v2", "base_url": server.url, "tokenizer": tokenizer, "batch_size": 8, **more}


def lowest_cosine(a: Any, b: Any) -> float:
    return float((a * b).sum(axis=1).min())


def test_vectors_and_token_counts_are_those_of_the_model_itself(
    minilm: SentenceTransformersEmbedder, server: EmbeddingServer
) -> None:
    remote = OpenAIEmbedder(options=options(server))
    server.faults.extend([refusal(429), refusal(500)])
    assert remote.dimensions == 384
    assert lowest_cosine(remote.embed_documents(TEXTS), minilm.embed_documents(TEXTS)) > 0.99999
    assert remote.count_tokens(TEXTS) == minilm.count_tokens(TEXTS)


def test_texts_cut_off_before_they_are_sent_are_cut_where_the_model_would(server: EmbeddingServer) -> None:
    limited = SentenceTransformersEmbedder(options={"path": str(minilm_path()), "device": "cpu"}, max_tokens=33)
    remote = OpenAIEmbedder(options=options(server), max_tokens=33)
    assert lowest_cosine(remote.embed_documents(TEXTS), limited.embed_documents(TEXTS)) > 0.9999
    assert max(map(len, server.texts_received())) < 400


def test_it_is_registered_and_known_again_and_changed_weights_are_not(
    minilm: SentenceTransformersEmbedder, server: EmbeddingServer
) -> None:
    model, fingerprint = probe_model(key="minilm@1", provider="openai", options=options(server), max_tokens=64)
    assert (model.dimensions, model.normalised, model.max_tokens) == (384, True, 64)
    remote = load_embedder(model)
    assert check_fingerprint(model, fingerprint, remote) >= fingerprint.tolerance
    server.embed = lambda texts: np.roll(minilm.embed_documents(texts), 1, axis=1)
    with pytest.raises(FingerprintError):
        check_fingerprint(model, fingerprint, remote)
