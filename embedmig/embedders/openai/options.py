"""The options of the provider ``openai``, checked."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from embedmig.embedders.options import refuse_unknown_options
from embedmig.errors import UsageError

N = TypeVar("N", int, float)

_BASE_URL = "https://api.openai.com/v1"
_KEY_VARIABLE = "OPENAI_API_KEY"
_KNOWN = (
    "model",
    "base_url",
    "dimensions",
    "encoding_format",
    "api_key_env",
    "api_key_header",
    "query",
    "answers_as",
    "batch_size",
    "batch_tokens",
    "concurrency",
    "timeout_s",
    "give_up_after_s",
    "tokenizer",
    "truncation",
)


@dataclass(frozen=True, kw_only=True)
class OpenAIOptions:
    """Everything about a provider but its key."""

    model: str
    base_url: str
    query: Mapping[str, str]
    dimensions: int | None
    """Sent along; None: the model's own."""
    encoding_format: str
    api_key_env: str
    key_is_required: bool
    api_key_header: str | None
    """None: ``Authorization: Bearer``."""
    answers_as: str
    """The name that answers must carry."""
    batch_size: int
    batch_tokens: int
    concurrency: int
    timeout_s: float
    give_up_after_s: float
    tokenizer: str | None
    truncated_by_server: bool

    @property
    def place(self) -> str:
        """Model and address, for messages."""
        return f"{self.model} at {self.base_url}"

    def read_key(self) -> str | None:
        """The key as the environment has it; None when there is none and none is needed. Raises UsageError."""
        key = os.environ.get(self.api_key_env, "").strip()
        if not key and self.key_is_required:
            raise UsageError(f"openai: {self.api_key_env} is not set: the key is read from there and nowhere else")
        if not key.isascii() or not key.isprintable():
            raise UsageError(f"openai: what {self.api_key_env} holds cannot be a key: only printable ASCII can be sent")
        return key or None


def read_openai_options(options: Mapping[str, Any]) -> OpenAIOptions:
    """Raises UsageError that names the option; values that might be secrets are not repeated."""
    refuse_unknown_options("openai", options, known=_KNOWN)
    model = _text(options, "model", "")
    if not model:
        raise UsageError("openai needs model, the name that the provider knows it by: --option model=...")
    return OpenAIOptions(
        model=model,
        base_url=_address(_text(options, "base_url", _BASE_URL)),
        query=_query(_text(options, "query", "")),
        dimensions=_number(options, "dimensions", 1) if "dimensions" in options else None,
        encoding_format=_choice(options, "encoding_format", ("base64", "float")),
        api_key_env=_variable(_text(options, "api_key_env", _KEY_VARIABLE)),
        key_is_required="api_key_env" in options or "base_url" not in options,
        api_key_header=_header(options),
        answers_as=_text(options, "answers_as", model),
        batch_size=_number(options, "batch_size", 256),
        batch_tokens=_number(options, "batch_tokens", 100_000),
        concurrency=_number(options, "concurrency", 16),
        timeout_s=_number(options, "timeout_s", 60.0),
        give_up_after_s=_number(options, "give_up_after_s", 300.0),
        tokenizer=_text(options, "tokenizer", "") or None,
        truncated_by_server=_choice(options, "truncation", ("client", "server")) == "server",
    )


def _text(options: Mapping[str, Any], name: str, default: str) -> str:
    value = options.get(name, default)
    if not isinstance(value, str):
        raise UsageError(f"openai: {name} is a text, not {value!r}")
    return value.strip()


def _number(options: Mapping[str, Any], name: str, default: N) -> N:
    value = options.get(name, default)
    kinds = (int, float) if isinstance(default, float) else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds) or not (value > 0 and math.isfinite(value)):
        what = "a number" if isinstance(default, float) else "a whole number"
        raise UsageError(f"openai: {name} is {what} above 0, not {value!r}")
    return type(default)(value)


def _choice(options: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = options.get(name, choices[0])
    if value not in choices:
        raise UsageError(f"openai: {name} is {' or '.join(choices)}, not {value!r}")
    return str(value)


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("openai: base_url begins with http:// or https:// and a host, and mostly ends in /v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            "openai: base_url holds an address only. Options are kept in plain text: a key comes from the environment"
            " (api_key_env), and parameters go into query"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    netloc = host if port is None else f"{host}:{port}"
    return urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))


def _query(text: str) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(text, strict_parsing=True, keep_blank_values=True) if text else []
    except ValueError:
        raise UsageError("openai: query is name=value pairs joined by &, such as api-version=2024-10-21") from None
    for name, _ in pairs:
        if re.search(r"key|token|secret|password|^sig|^code$", name, re.IGNORECASE):
            raise UsageError(
                f"openai: the parameter {name} in query looks like a secret; options are kept in plain text: use"
                " api_key_env and api_key_header"
            )
    return dict(pairs)


def _variable(name: str) -> str:
    # Never repeated: who mistakes this option for the key itself would find it in the message.
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        raise UsageError("openai: api_key_env is the name of an environment variable, in capitals, not the key itself")
    return name


def _header(options: Mapping[str, Any]) -> str | None:
    name = _text(options, "api_key_header", "")
    if name and not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name):
        raise UsageError("openai: api_key_header is the name of an HTTP header, such as api-key")
    return name or None
