"""The provider openai over real HTTP, all being well; what goes wrong is in test_openai_faults.py."""

import logging
import threading
import time
from typing import Any

import numpy as np
import pytest
from embedding_server import EmbeddingServer, Reply, hashing, refusal

from embedmig.embedders import (
    LocalRateLimiter,
    check_fingerprint,
    load_embedder,
    probe_model,
)
from embedmig.embedders.hashing import HashingEmbedder
from embedmig.embedders.limits import BURST_S
from embedmig.embedders.openai import OpenAIEmbedder
from embedmig.errors import FingerprintError, ProviderError, UsageError

TEXTS = [f"text {number} of many, with words that differ {number % 7}" for number in range(100)]


def embedder(server: EmbeddingServer, *, prompts: tuple[str, str] = ("", ""), **options: Any) -> OpenAIEmbedder:
    return OpenAIEmbedder(
        options={"model": "m", "base_url": server.url, **options}, document_prompt=prompts[0], query_prompt=prompts[1]
    )


def test_vectors_are_those_of_the_server_in_the_order_of_the_texts(server: EmbeddingServer) -> None:
    expected = server.embed(TEXTS)
    for encoding in ("base64", "float"):
        vectors = embedder(server, batch_size=7, encoding_format=encoding).embed_documents(TEXTS)
        np.testing.assert_allclose(vectors, expected, atol=1e-6)
        assert server.received[-1].body["encoding_format"] == encoding


def test_prompts_stand_before_documents_and_queries(server: EmbeddingServer) -> None:
    ours = embedder(server, prompts=("passage: ", "query: "))
    ours.embed_documents(["a"])
    ours.embed_queries(["a"])
    assert server.texts_received()[-2:] == ["passage: a", "query: a"]


def test_requests_are_cut_by_count_and_by_tokens(server: EmbeddingServer) -> None:
    ours = embedder(server, batch_size=8, dimensions=16)
    ours.embed_documents(TEXTS)
    assert sorted(len(request.texts) for request in server.received) == [4] + [8] * 12
    server.received.clear()
    ours = embedder(server, batch_tokens=30, dimensions=16)
    ours.embed_documents(["four letters" for _ in range(100)] + ["and a long one " * 20])
    assert sorted(len(request.texts) for request in server.received) == [1] + [10] * 10


def test_requests_of_one_call_are_under_way_at_the_same_time(server: EmbeddingServer) -> None:
    server.delay_s = 0.05
    ours = embedder(server, batch_size=5, dimensions=16)
    ours.embed_documents(TEXTS)
    assert 4 <= server.most_at_once <= 16


def test_no_more_requests_are_under_way_than_were_asked_for_over_all_callers(server: EmbeddingServer) -> None:
    server.delay_s = 0.005
    ours = embedder(server, batch_size=2, dimensions=16, concurrency=3)
    callers = [threading.Thread(target=ours.embed_documents, args=(TEXTS,)) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert server.most_at_once == 3
    assert len(server.received) == 150


def test_the_dimensions_are_asked_for_once_or_taken_from_the_options_and_sent_along(server: EmbeddingServer) -> None:
    assert embedder(server).dimensions == 16
    assert len(server.received) == 1
    assert "dimensions" not in server.received[0].body
    short = embedder(server, dimensions=5)
    assert len(server.received) == 1
    assert short.embed_documents(TEXTS).shape == (100, 5)
    assert server.received[-1].body["dimensions"] == 5


def test_key_parameters_and_path_are_sent_as_azure_wants_them(
    server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_KEY", "k-1")
    azure = {"api_key_env": "AZURE_KEY", "api_key_header": "api-key", "query": "api-version=2024-10-21"}
    embedder(server, **azure)
    request = server.received[-1]
    assert request.path == "/v1/embeddings?api-version=2024-10-21"
    assert request.headers["api-key"] == "k-1"
    assert "authorization" not in {name.lower() for name in request.headers}


def test_a_key_is_sent_as_a_bearer_and_none_is_sent_where_there_is_none(
    server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder(server)
    assert "authorization" not in {name.lower() for name in server.received[-1].headers}
    monkeypatch.setenv("OPENAI_API_KEY", "k-2")
    embedder(server)
    assert dict(server.received[-1].headers)["authorization"] == "Bearer k-2"


def test_usage_counts_requests_and_the_tokens_that_were_billed(server: EmbeddingServer) -> None:
    ours = embedder(server, batch_size=25, dimensions=16)
    ours.embed_documents(TEXTS)
    assert (ours.usage.requests, ours.usage.retries) == (4, 0)
    assert ours.usage.tokens == sum(len(text.split()) for text in TEXTS) == 900
    assert ours.usage.cost(0.02) == pytest.approx(0.02 * 900 / 1e6)
    assert ours.usage.cost(None) is None
    assert ours.count_tokens(TEXTS[10:11]) == [9]


def test_where_the_server_does_not_say_what_it_billed_usage_is_the_estimate(server: EmbeddingServer) -> None:
    server.rule = lambda request: lambda answer: {**answer, "usage": None}
    ours = embedder(server, dimensions=16)
    ours.embed_documents(TEXTS)
    assert ours.usage.tokens == sum(ours.count_tokens(TEXTS))


def test_a_job_has_a_usage_of_its_own_and_keeps_within_its_limits(server: EmbeddingServer) -> None:
    ours = embedder(server, batch_size=1, dimensions=16)
    ours.embed_queries(["a b"])
    job = ours.for_job(LocalRateLimiter(requests_per_minute=6000), lambda: False)
    started_at = time.monotonic()
    job.embed_documents(TEXTS)
    assert (job.usage.requests, job.usage.tokens) == (100, 900)
    assert (ours.usage.requests, ours.usage.tokens) == (101, 902)
    assert (job.usage - job.usage).requests == 0
    assert server.received[-1].at - started_at >= 0.99 - BURST_S


@pytest.mark.parametrize("what", ["requests", "tokens"])
def test_a_rate_holds_within_a_few_per_cent(what: str, server: EmbeddingServer) -> None:
    limits = {"requests_per_minute": 6000} if what == "requests" else {"tokens_per_minute": 54_000}
    ours = embedder(server, batch_size=1, dimensions=16)
    ours.embed_documents(TEXTS)
    server.received.clear()
    started_at = time.monotonic()
    ours.for_job(LocalRateLimiter(**limits), lambda: False).embed_documents(TEXTS + TEXTS[:20])
    assert len(server.received) == 120
    taken_s = max(request.at for request in server.received) - started_at
    # 119 hundredths of a second, of which the burst saves some; a busy machine may take longer, never less.
    assert 0.97 * (1.19 - BURST_S) <= taken_s < 20 * 1.19


def test_a_limit_can_be_changed_while_it_runs(server: EmbeddingServer) -> None:
    limiter = LocalRateLimiter(requests_per_minute=60)
    job = embedder(server, batch_size=1, dimensions=16).for_job(limiter, lambda: False)
    running = threading.Thread(target=job.embed_documents, args=(TEXTS,))
    running.start()
    time.sleep(0.3)
    assert len(server.received) <= 4
    limiter.requests_per_minute = 60_000
    running.join(30)
    assert not running.is_alive()
    assert len(server.received) == 100


def test_a_search_does_not_queue_behind_a_job(server: EmbeddingServer) -> None:
    server.delay_s = 0.02
    ours = embedder(server, batch_size=1, dimensions=16, concurrency=1)
    job = ours.for_job(LocalRateLimiter(requests_per_minute=60), lambda: False)
    running = threading.Thread(target=job.embed_documents, args=(TEXTS[:4],))
    running.start()
    time.sleep(0.05)
    ours.embed_queries(["a"])
    assert running.is_alive()
    running.join()


def test_a_job_that_is_to_stop_does_not_wait_for_its_turn(server: EmbeddingServer) -> None:
    stop = threading.Event()
    job = embedder(server, batch_size=1, dimensions=16).for_job(LocalRateLimiter(requests_per_minute=6), stop.is_set)
    threading.Timer(0.2, stop.set).start()
    started_at = time.monotonic()
    with pytest.raises(ProviderError, match="stopped before it was answered"):
        job.embed_documents(TEXTS)
    assert time.monotonic() - started_at < 5


def test_it_registers_and_loads_like_any_other_model(server: EmbeddingServer) -> None:
    options = {"model": "m", "base_url": server.url, "truncation": "server"}
    limited = HashingEmbedder(options={"dimensions": 16}, max_tokens=64)
    server.embed = limited.embed_documents
    model, fingerprint = probe_model(key="m@1", provider="openai", options=options, query_prompt="q: ", max_tokens=64)
    assert (model.dimensions, model.normalised, model.max_tokens) == (16, True, 64)
    assert fingerprint.compute_type == "remote"
    loaded = load_embedder(model)
    assert check_fingerprint(model, fingerprint, loaded) > 0.99999
    assert loaded.concurrency == 16
    assert loaded.usage is not None
    assert loaded.usage.requests > 0
    job = loaded.for_job(None)
    job.embed_documents(["a"])
    assert job.usage is not None
    assert job.usage.requests == 1


def test_weights_that_change_behind_the_name_are_caught_by_the_fingerprint(server: EmbeddingServer) -> None:
    model, fingerprint = probe_model(key="m@1", provider="openai", options={"model": "m", "base_url": server.url})
    loaded = load_embedder(model)
    check_fingerprint(model, fingerprint, loaded)
    server.embed = hashing(seed=1)
    with pytest.raises(FingerprintError, match="m@1 no longer gives the vectors it was registered with"):
        check_fingerprint(model, fingerprint, loaded)


def test_a_limit_that_nobody_can_keep_is_refused_before_anything_is_sent(server: EmbeddingServer) -> None:
    with pytest.raises(UsageError, match="the model's tokenizer is needed"):
        probe_model(key="m@1", provider="openai", options={"model": "m", "base_url": server.url}, max_tokens=512)
    assert server.received == []


@pytest.mark.parametrize("missing", ["openai", "tenacity"])
def test_without_the_libraries_it_says_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "embedmig.embedders.openai.client.find_spec", lambda name: None if name == missing else object()
    )
    with pytest.raises(UsageError, match=rf"needs {missing}, not installed: pip install 'embedmig\[api\]'"):
        OpenAIEmbedder(options={"model": "m", "base_url": "http://127.0.0.1:9/v1"})


KEY, TEXT = "sk-hunter2-hunter2", "Grandmother's recipe is nobody's business"


def echo(status: int) -> Reply:
    """An error that repeats all it was given, as careless servers do."""
    said = f"{KEY} may not embed {TEXT}"
    error = {"message": said, "type": said, "param": TEXT, "code": KEY + " "}
    return Reply(status=status, body={"error": error}, headers={"x-request-id": "1"})


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500])
def test_no_error_log_or_repr_holds_the_key_or_a_text(
    status: int, server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    ours = embedder(server, dimensions=16, give_up_after_s=0.05)
    ours.embed_documents([TEXT])
    server.rule = lambda request: echo(status)
    with pytest.raises(ProviderError) as caught:
        ours.embed_documents([TEXT, "another"])
    shown = "\n".join([caplog.text, repr(caught.value), repr(ours), repr(vars(ours))])
    assert str(status) in str(caught.value)
    assert "hunter2" not in shown
    assert "recipe" not in shown
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_an_answer_that_repeats_the_text_shows_nothing_of_it(server: EmbeddingServer) -> None:
    ours = embedder(server, dimensions=16)
    for body in ({"model": TEXT, "data": [TEXT]}, {"error": TEXT}, {"data": TEXT}):
        server.rule = lambda request, body=body: Reply(body=body)  # type: ignore[misc]
        with pytest.raises(ProviderError) as caught:
            ours.embed_documents([TEXT])
        assert "recipe" not in repr(caught.value)


def test_a_redirect_is_not_followed_with_the_key(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with EmbeddingServer() as other:
        server.rule = lambda request: refusal(307, location=f"{other.url}/embeddings")
        with pytest.raises(ProviderError, match=r"HTTP 307 .* a redirect"):
            embedder(server, api_key_header="api-key")
        assert other.received == []
