from typing import Any

import pytest

from embedmig.embedders.openai.options import read_openai_options
from embedmig.errors import UsageError

OLLAMA = {"model": "nomic", "base_url": "http://localhost:11434/v1"}


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_a_model_of_openai_needs_no_more_than_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    options = read_openai_options({"model": "text-embedding-3-small"})
    assert options.base_url == "https://api.openai.com/v1"
    assert options.answers_as == "text-embedding-3-small"
    assert options.dimensions is None
    with pytest.raises(UsageError, match="OPENAI_API_KEY is not set"):
        options.read_key()
    monkeypatch.setenv("OPENAI_API_KEY", " sk-1\n")
    assert options.read_key() == "sk-1"


def test_the_environment_does_not_move_a_model_to_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere/v1")
    assert read_openai_options({"model": "text-embedding-3-small"}).base_url == "https://api.openai.com/v1"


def test_a_server_of_ones_own_needs_no_key_unless_a_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_openai_options(OLLAMA).read_key() is None
    named = read_openai_options({**OLLAMA, "api_key_env": "GATEWAY_KEY"})
    with pytest.raises(UsageError, match="GATEWAY_KEY is not set"):
        named.read_key()
    monkeypatch.setenv("GATEWAY_KEY", "k")
    assert named.read_key() == "k"


def test_azure_is_an_address_a_parameter_and_a_header() -> None:
    options = read_openai_options(
        {
            "model": "my-deployment",
            "base_url": "https://me.openai.azure.com/openai/deployments/my-deployment/",
            "query": "api-version=2024-10-21",
            "api_key_header": "api-key",
            "answers_as": "text-embedding-3-small",
        }
    )
    assert options.base_url == "https://me.openai.azure.com/openai/deployments/my-deployment"
    assert options.query == {"api-version": "2024-10-21"}
    assert options.place == "my-deployment at https://me.openai.azure.com/openai/deployments/my-deployment"


def test_an_address_keeps_its_port_and_its_brackets() -> None:
    assert read_openai_options({**OLLAMA, "base_url": "http://[::1]:8080/v1"}).base_url == "http://[::1]:8080/v1"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs model"),
        ({"model": " "}, "needs model"),
        ({"model": 3}, "model is a text"),
        ({"modle": "m"}, "no option modle; there are: model, base_url"),
        ({"base_url": "localhost:11434"}, "begins with http"),
        ({"base_url": "http:///v1"}, "begins with http"),
        ({"base_url": "http://host:port/v1"}, "begins with http"),
        ({"dimensions": 0}, "dimensions is a whole number above 0, not 0"),
        ({"dimensions": "many"}, "dimensions is a whole number"),
        ({"batch_size": 2.5}, "batch_size is a whole number"),
        ({"batch_tokens": True}, "batch_tokens is a whole number"),
        ({"concurrency": -1}, "concurrency is a whole number"),
        ({"timeout_s": float("inf")}, "timeout_s is a number above 0"),
        ({"give_up_after_s": 0}, "give_up_after_s is a number above 0"),
        ({"encoding_format": "int8"}, "encoding_format is base64 or float"),
        ({"truncation": "both"}, "truncation is client or server"),
        ({"query": "api-version"}, "query is name=value"),
        ({"api_key_header": "api key"}, "api_key_header is the name"),
    ],
)
def test_what_cannot_be_is_named(options: dict[str, Any], said: str) -> None:
    given = options if set(options) & {"model", "modle"} or not options else {**OLLAMA, **options}
    with pytest.raises(UsageError, match=said):
        read_openai_options(given)


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "https://user:hunter2@host/v1"},
        {"base_url": "https://host/v1?key=hunter2"},
        {"base_url": "https://hunter2@host/v1"},
        {"query": "api-version=1&api-key=hunter2"},
        {"query": "access_token=hunter2"},
        {"api_key_env": "hunter2-is-the-key"},
        {"api_key_env": "sk-hunter2"},
    ],
)
def test_a_secret_among_the_options_is_refused_and_not_repeated(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        read_openai_options({**OLLAMA, **options})
    assert "hunter2" not in str(caught.value)


def test_a_key_that_cannot_be_sent_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "hunter2\r\nx-header: 1")
    with pytest.raises(UsageError, match="OPENAI_API_KEY holds cannot be a key") as caught:
        read_openai_options(OLLAMA).read_key()
    assert "hunter2" not in str(caught.value)
