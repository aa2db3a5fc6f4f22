"""The provider openai when the server, or the way to it, misbehaves: over real HTTP."""

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import numpy as np
import pytest
from embedding_server import EmbeddingServer, Fault, HangUp, Json, Silence, refusal

from embedmig.embedders import probe_model
from embedmig.embedders.openai import OpenAIEmbedder
from embedmig.errors import InputRejectedError, ProviderError, ProviderSetupError, ProviderUnavailableError

TEXTS = [f"text {number} of many" for number in range(60)]


def embedder(server: EmbeddingServer, **options: Any) -> OpenAIEmbedder:
    return OpenAIEmbedder(options={"model": "m", "base_url": server.url, "dimensions": 16, "batch_size": 10, **options})


def batches(server: EmbeddingServer) -> list[tuple[str, ...]]:
    return sorted(tuple(request.texts) for request in server.received)


def drop_one(answer: Json) -> Json:
    return {**answer, "data": answer["data"][:-1]}


def repeat_one(answer: Json) -> Json:
    return {**answer, "data": [*answer["data"][:-1], answer["data"][0]]}


def number_all_zero(answer: Json) -> Json:
    return {**answer, "data": [{**item, "index": 0} for item in answer["data"]]}


def shorten_one(answer: Json) -> Json:
    return {**answer, "data": [*answer["data"][:-1], {**answer["data"][-1], "embedding": "AAAA" * 4}]}


def reorder(answer: Json) -> Json:
    return {**answer, "data": answer["data"][::-1]}


PASSING: dict[str, Fault] = {
    "429": refusal(429),
    "429 with seconds": refusal(429, retry_after="0.01"),
    "500": refusal(500),
    "503": refusal(503),
    "hang up": HangUp(),
    "an answer cut short": drop_one,
    "a vector twice": repeat_one,
    "no index": number_all_zero,
    "a short vector": shorten_one,
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_sent_again_as_the_batch_it_was(fault: str, server: EmbeddingServer) -> None:
    ours = embedder(server)
    server.faults.extend([PASSING[fault], PASSING[fault]])
    np.testing.assert_allclose(ours.embed_documents(TEXTS), server.embed(TEXTS), atol=1e-6)
    whole = {tuple(TEXTS[start : start + 10]) for start in range(0, 60, 10)}
    assert set(batches(server)) == whole
    assert (len(server.received), ours.usage.requests, ours.usage.retries) == (8, 8, 2)


def test_an_answer_in_another_order_is_put_in_order_and_not_asked_for_again(server: EmbeddingServer) -> None:
    server.rule = lambda request: reorder
    np.testing.assert_allclose(embedder(server).embed_documents(TEXTS), server.embed(TEXTS), atol=1e-6)
    assert len(server.received) == 6


def test_a_server_that_does_not_answer_in_time_is_asked_again(server: EmbeddingServer) -> None:
    ours = embedder(server, timeout_s=0.2)
    server.faults.append(Silence())
    np.testing.assert_allclose(ours.embed_documents(TEXTS[:5]), server.embed(TEXTS[:5]), atol=1e-6)
    assert ours.usage.retries == 1


@pytest.mark.parametrize("asked", ["seconds", "milliseconds", "date"])
def test_retry_after_is_honoured(asked: str, server: EmbeddingServer) -> None:
    headers = {
        "seconds": {"retry_after": "0.4"},
        "milliseconds": {"retry_after_ms": "400", "retry_after": "60"},
        # A date has whole seconds: this one is between 1 and 2 s away.
        "date": {"retry_after": formatdate(time.time() + 2, usegmt=True)},
    }[asked]
    ours = embedder(server)
    server.faults.append(refusal(429, **headers))
    ours.embed_documents(TEXTS[:5])
    waited_s = server.received[1].at - server.received[0].at
    assert (0.9 if asked == "date" else 0.4) <= waited_s < 10


def test_while_one_request_waits_as_it_was_asked_to_no_other_goes_out(server: EmbeddingServer) -> None:
    def late(right: Json) -> Json:
        time.sleep(0.5)
        return right

    ours = embedder(server, concurrency=2)
    # The one that is under way beside the refused one ends only when the refusal has long been read.
    server.faults.extend([refusal(429, retry_after="1"), late])
    ours.embed_documents(TEXTS)
    first, *others = sorted(request.at for request in server.received)
    assert len(others) == 6
    assert sum(at - first < 1 for at in others) <= 1


@pytest.mark.parametrize("fault", [refusal(429), refusal(500), HangUp()], ids=["429", "500", "hang up"])
def test_it_gives_up_after_a_bounded_time_and_says_what_the_provider_said(
    fault: Fault, server: EmbeddingServer
) -> None:
    ours = embedder(server, give_up_after_s=0.4)
    ours.embed_documents(TEXTS[:1])
    server.rule = lambda request: fault
    started_at = time.monotonic()
    with pytest.raises(
        ProviderUnavailableError, match=r"m at http://127.*(HTTP 429|HTTP 500|no connection).* times in 0"
    ):
        ours.embed_documents(TEXTS)
    assert time.monotonic() - started_at < 5


def test_a_pause_longer_than_its_patience_is_an_error_at_once(server: EmbeddingServer) -> None:
    ours = embedder(server)
    server.rule = lambda request: refusal(429, retry_after="3600")
    started_at = time.monotonic()
    with pytest.raises(ProviderUnavailableError, match=r"HTTP 429 .*asks to wait 3600 s"):
        ours.embed_documents(TEXTS[:5])
    assert time.monotonic() - started_at < 5
    assert len(server.received) == 1


def test_a_server_that_was_never_reached_is_not_waited_for(server: EmbeddingServer) -> None:
    started_at = time.monotonic()
    with pytest.raises(ProviderUnavailableError, match=r"no connection .*, 3 times"):
        OpenAIEmbedder(options={"model": "m", "base_url": "http://127.0.0.1:9/v1"})
    assert time.monotonic() - started_at < 10


@pytest.mark.parametrize("spoil", [drop_one, repeat_one, number_all_zero, shorten_one])
def test_answers_that_stay_garbled_are_an_error_of_the_provider(
    spoil: Callable[[Json], Json], server: EmbeddingServer
) -> None:
    ours = embedder(server)
    server.rule = lambda request: spoil
    with pytest.raises(ProviderError, match=r"sent .*vectors?.*, 5 times") as caught:
        ours.embed_documents(TEXTS[:5])
    assert type(caught.value) is ProviderError
    assert ours.usage.tokens == 5 * 5 * 4


@pytest.mark.parametrize("status", [400, 422, 413])
def test_a_text_that_is_refused_is_told_apart_and_not_sent_again(status: int, server: EmbeddingServer) -> None:
    ours = embedder(server)
    server.rule = lambda request: refusal(status, code="too_odd") if TEXTS[7] in request.texts else None
    with pytest.raises(
        InputRejectedError, match=rf"refuses a text of about 4 tokens: HTTP {status} \(too_odd"
    ) as caught:
        ours.embed_documents([TEXTS[7]])
    assert caught.value.status == status
    assert len(server.received) == 1
    with pytest.raises(InputRejectedError):
        ours.embed_documents(TEXTS[:10])
    assert ours.embed_documents(TEXTS[:7]).shape == (7, 16)


def test_a_model_that_refuses_long_texts_is_not_registered_without_a_word_on_what_to_do(
    server: EmbeddingServer,
) -> None:
    server.rule = lambda request: refusal(400) if max(map(len, request.texts)) > 2000 else None
    with pytest.raises(InputRejectedError, match="cut off, by --max-tokens and a tokenizer or truncation=server"):
        probe_model(key="m@1", provider="openai", options={"model": "m", "base_url": server.url})


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (refusal(401, code="invalid_api_key"), "HTTP 401 .*OPENAI_API_KEY: it is not set, and none was sent"),
        (refusal(403), "HTTP 403"),
        (refusal(404, code="model_not_found"), "HTTP 404 .*base_url, which mostly ends in /v1"),
        (refusal(429, code="insufficient_quota"), "HTTP 429 .insufficient_quota"),
        (refusal(400, param="dimensions"), "HTTP 400 .*about dimensions"),
    ],
)
def test_what_no_text_is_to_blame_for_stops_at_once(fault: Fault, said: str, server: EmbeddingServer) -> None:
    ours = embedder(server, concurrency=1)
    server.rule = lambda request: fault
    with pytest.raises(ProviderSetupError, match=said):
        ours.embed_documents(TEXTS)
    assert len(server.received) == 1


def test_another_model_that_answers_is_refused(server: EmbeddingServer) -> None:
    ours = embedder(server)
    server.names_model = "a-fallback"
    with pytest.raises(ProviderSetupError, match=r"the answer is by a-fallback, not by m.*answers_as"):
        ours.embed_documents(TEXTS[:5])
    assert embedder(server, answers_as="a-fallback").embed_documents(TEXTS[:5]).shape == (5, 16)


def test_vectors_that_get_longer_are_another_model(server: EmbeddingServer) -> None:
    ours = OpenAIEmbedder(options={"model": "m", "base_url": server.url})
    server.embed = lambda texts: np.ones((len(texts), 24), dtype=np.float32)
    with pytest.raises(ProviderSetupError, match="24 dimensions, where 16 were expected"):
        ours.embed_documents(TEXTS)


def test_a_request_that_is_too_large_is_halved_and_later_ones_are_small_from_the_start(
    server: EmbeddingServer,
) -> None:
    server.rule = lambda request: refusal(413) if len(request.texts) > 4 else None
    ours = embedder(server, batch_size=32, concurrency=1)
    np.testing.assert_allclose(ours.embed_documents(TEXTS), server.embed(TEXTS), atol=1e-6)
    server.received.clear()
    ours.embed_documents(TEXTS)
    assert {len(request.texts) for request in server.received} <= {3, 4}
    assert len(server.received) <= 20


def test_one_text_that_is_too_large_does_not_make_later_requests_small(server: EmbeddingServer) -> None:
    ours = embedder(server, concurrency=1)
    server.rule = lambda request: refusal(413) if "huge" in request.texts else None
    with pytest.raises(InputRejectedError, match="a text"):
        ours.embed_documents([*TEXTS[:4], "huge", *TEXTS[5:10]])
    server.received.clear()
    ours.embed_documents(TEXTS)
    assert [len(request.texts) for request in server.received] == [10] * 6


def test_concurrency_falls_while_the_server_is_too_busy_and_rises_again(server: EmbeddingServer) -> None:
    # Long beside what the clients themselves take: the limit rises only while requests overlap.
    server.delay_s, server.capacity = 0.04, 3
    ours = embedder(server, batch_size=1)
    ours.embed_documents(TEXTS * 2)
    busy = ours._sender.concurrency.limit
    refused = ours.usage.retries
    server.capacity = None
    ours.embed_documents(TEXTS * 5)
    free = ours._sender.concurrency.limit
    server.capacity = 3
    ours.embed_documents(TEXTS * 2)
    busy_again = ours._sender.concurrency.limit
    assert 1 <= busy <= 4
    assert 1 <= busy_again <= 4
    assert free >= 10
    assert server.most_at_once >= 10
    assert refused < 0.35 * 120


def test_a_storm_of_429_costs_time_and_nothing_else(server: EmbeddingServer) -> None:
    ours = embedder(server)
    started_at = time.monotonic()
    server.rule = lambda request: refusal(429) if time.monotonic() - started_at < 0.4 else None
    np.testing.assert_allclose(ours.embed_documents(TEXTS * 3), server.embed(TEXTS * 3), atol=1e-6)
    assert {len(request.texts) for request in server.received} == {10}
    assert time.monotonic() - started_at < 10
    assert ours.usage.tokens == 180 * 4
    assert ours.usage.retries == len(server.received) - 18


def test_many_requests_failing_in_every_way_loses_nothing(server: EmbeddingServer) -> None:
    ours = embedder(server, batch_size=3, timeout_s=0.3)
    faults = list(PASSING.values())
    chance = np.random.default_rng(3)
    server.rule = lambda request: faults[chance.integers(7)] if chance.random() < 0.4 else None
    texts = [f"text {number}" for number in range(300)]
    np.testing.assert_allclose(ours.embed_documents(texts), server.embed(texts), atol=1e-6)
    assert ours.usage.retries > 40
