"""A model behind an OpenAI-compatible server, through the command line."""

from collections.abc import Callable, Iterator

import pytest
from embedding_server import EmbeddingServer, hashing, refusal

from embedmig.catalog.models import get_model
from embedmig.catalog.rates import RateLimits, get_limits
from embedmig.db import Connection
from embedmig.embedders import forget_embedders, load_embedder

Verb = Callable[..., tuple[int, str]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingServer]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with EmbeddingServer() as running:
        yield running
    forget_embedders()


def add(verb: Verb, server: EmbeddingServer, *more: str) -> tuple[int, str]:
    options = ("--option", f"base_url={server.url}", "--option", "model=m")
    return verb("model", "add", "m@1", "--provider", "openai", *options, *more)


def test_it_is_registered_loaded_and_moved_to_another_address(
    verb: Verb, server: EmbeddingServer, conn: Connection
) -> None:
    code, printed = add(verb, server, "--price", "0.02")
    assert code == 0, printed
    assert "m@1 registered: 16 dimensions, cosine, normalised, no token limit known" in printed
    assert "fingerprint taken on remote, tolerance cosine 0.9999" in printed
    model = get_model(conn, "m@1")
    assert load_embedder(model).embed_documents(["a text"]).shape == (1, 16)
    assert "no limit per minute" in verb("model", "show", "m@1")[1]
    with EmbeddingServer() as other:
        assert verb("model", "set", "m@1", "--option", f"base_url={other.url}")[0] == 0
        assert get_model(conn, "m@1").options["base_url"] == other.url
        other.embed = hashing(seed=1)
        forget_embedders()
        code, printed = verb("model", "set", "m@1", "--option", "timeout_s=30")
        assert (code, "no longer gives the vectors" in printed) == (3, True), printed


def test_limits_are_set_shown_and_taken_off(verb: Verb, server: EmbeddingServer, conn: Connection) -> None:
    add(verb, server)
    model = get_model(conn, "m@1")
    code, printed = verb("model", "set", "m@1", "--requests-per-minute", "3000", "--tokens-per-minute", "1000000")
    assert (code, "3,000 requests a minute and 1,000,000 tokens a minute" in printed) == (0, True), printed
    assert get_limits(conn, model) == RateLimits(requests_per_minute=3000, tokens_per_minute=1e6)
    assert "is so already" in verb("model", "set", "m@1", "--requests-per-minute", "3000")[1]
    assert verb("model", "set", "m@1", "--requests-per-minute", "0")[0] == 0
    assert get_limits(conn, model) == RateLimits(tokens_per_minute=1e6)
    assert "1,000,000 tokens a minute" in verb("model", "show", "m@1")[1]


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--option", "api_key_env=NO_SUCH_KEY"), 2, "NO_SUCH_KEY is not set"),
        (("--option", "colour=red"), 2, "no option colour"),
        (("--max-tokens", "512"), 2, "the model's tokenizer is needed"),
        (("--dimensions", "7"), 2, "gives vectors of 16 dimensions, not 7"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    more: tuple[str, ...], code: int, said: str, verb: Verb, server: EmbeddingServer
) -> None:
    result, printed = add(verb, server, *more)
    assert (result, said in printed) == (code, True), printed


def test_a_provider_that_refuses_is_an_error_of_the_provider(verb: Verb, server: EmbeddingServer) -> None:
    server.rule = lambda request: refusal(401, code="invalid_api_key")
    code, printed = add(verb, server)
    assert (code, "HTTP 401 (invalid_api_key" in printed) == (3, True), printed
    assert "Traceback" not in printed
