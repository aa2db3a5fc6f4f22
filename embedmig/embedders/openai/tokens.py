"""Counts tokens before they are sent, and cuts texts off where the model's limit is."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from embedmig.errors import UsageError

_FIRST_GUESS = 4.0
_REMEMBERED_BYTES = 2_000_000.0
"""Older counts fade once that much text has been billed."""


class TokenCounter(Protocol):
    """Knows the tokens of a text, or guesses them."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, before anything is cut off."""
        ...

    def fit(self, texts: Sequence[str]) -> tuple[list[str], list[int]]:
        """The texts as they are to be sent, cut off at the limit, and their tokens."""
        ...

    def learn(self, texts: Sequence[str], tokens: int) -> None:
        """Takes note of what the provider counted for ``texts``."""
        ...


def open_token_counter(tokenizer: str | None, max_tokens: int | None, *, truncated_by_server: bool) -> TokenCounter:
    """Counts by a tokenizer.json, or by tiktoken's of that name; without a name it estimates, and learns.

    Raises UsageError when the tokenizer is not there, or when texts must be cut off and nobody can.
    """
    limit = None if truncated_by_server else max_tokens
    if tokenizer is None:
        if limit is not None:
            raise UsageError(
                f"openai: to cut texts off at {limit} tokens the model's tokenizer is needed: --option tokenizer=... (a"
                " tokenizer.json, or a name that tiktoken knows); or truncation=server where the server cuts them off"
            )
        return EstimatedTokens()
    if tokenizer.endswith(".json"):
        return ExactTokens(_FileTokenizer(Path(tokenizer)), limit)
    return ExactTokens(_TiktokenTokenizer(tokenizer), limit)


class EstimatedTokens:
    """Tokens by the bytes of a text; the ratio is that of what was billed so far."""

    def __init__(self) -> None:
        self._bytes, self._tokens, self._lock = _FIRST_GUESS, 1.0, threading.Lock()

    def count(self, texts: Sequence[str]) -> list[int]:
        """Estimates, 1 at least."""
        ratio = self._bytes / self._tokens
        return [max(1, round(_size(text) / ratio)) for text in texts]

    def fit(self, texts: Sequence[str]) -> tuple[list[str], list[int]]:
        """As they are: what is too long, the server knows."""
        return list(texts), self.count(texts)

    def learn(self, texts: Sequence[str], tokens: int) -> None:
        """Moves the ratio."""
        with self._lock:
            fade = min(1.0, _REMEMBERED_BYTES / self._bytes)
            self._bytes = self._bytes * fade + sum(map(_size, texts))
            self._tokens = self._tokens * fade + tokens


class _Tokenizer(Protocol):
    special: int
    """Tokens that stand around every text."""

    def count(self, text: str) -> int: ...

    def beginning(self, text: str, tokens: int) -> str:
        """What the first ``tokens`` tokens stand for, special ones not counted."""
        ...


class ExactTokens:
    """Counts by the model's own tokenizer, special tokens included."""

    def __init__(self, tokenizer: _Tokenizer, limit: int | None) -> None:
        self._tokenizer, self._limit = tokenizer, limit

    def count(self, texts: Sequence[str]) -> list[int]:
        """Exact."""
        return [self._tokenizer.count(text) for text in texts]

    def fit(self, texts: Sequence[str]) -> tuple[list[str], list[int]]:
        """The longest beginnings within the limit."""
        fitted, counts = list(texts), self.count(texts)
        if self._limit is not None:
            for place, count in enumerate(counts):
                if count > self._limit:
                    fitted[place], counts[place] = self._cut(fitted[place], self._limit)
        return fitted, counts

    def learn(self, texts: Sequence[str], tokens: int) -> None:
        """There is nothing to learn."""

    def _cut(self, text: str, limit: int) -> tuple[str, int]:
        # The beginning of a text may have more tokens on its own than it had within: cut until it fits.
        for tokens in range(limit - self._tokenizer.special, 0, -1):
            beginning = self._tokenizer.beginning(text, tokens)
            if (count := self._tokenizer.count(beginning)) <= limit:
                return beginning, count
        raise UsageError(f"openai: max tokens {limit} leaves no room for a text beside the model's special tokens")


class _FileTokenizer:
    def __init__(self, path: Path) -> None:
        try:
            from tokenizers import Tokenizer  # type: ignore[import-untyped]
        except ModuleNotFoundError:
            raise UsageError("openai: a tokenizer.json needs tokenizers: pip install tokenizers") from None
        try:
            self._tokenizer = Tokenizer.from_file(str(path.expanduser()))
        except Exception as error:
            raise UsageError(f"openai: {path} cannot be read as a tokenizer: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.special: int = self._tokenizer.num_special_tokens_to_add(False)

    def count(self, text: str) -> int:
        return len(self._tokenizer.encode(text).ids)

    def beginning(self, text: str, tokens: int) -> str:
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        return text[: encoded.offsets[tokens - 1][1]]


class _TiktokenTokenizer:
    special = 0

    def __init__(self, name: str) -> None:
        self._encoding = _open_tiktoken(name)

    def count(self, text: str) -> int:
        return len(self._encoding.encode_ordinary(text))

    def beginning(self, text: str, tokens: int) -> str:
        # A token may end within a character: that one is left out.
        decoded: str = self._encoding.decode(self._encoding.encode_ordinary(text)[:tokens], errors="ignore")
        return decoded


def _open_tiktoken(name: str) -> Any:
    try:
        import tiktoken
    except ModuleNotFoundError:
        raise UsageError(f"openai: the tokenizer {name} needs tiktoken: pip install 'embedmig[api]'") from None
    try:
        return tiktoken.get_encoding(name)
    except ValueError:
        known = ", ".join(tiktoken.list_encoding_names())
        raise UsageError(f"openai: tiktoken knows no {name}; it knows {known}; or name a tokenizer.json") from None
    except Exception as error:
        raise UsageError(
            f"openai: tiktoken could not fetch its table for {name} ({type(error).__name__}): it does so once, to where"
            " TIKTOKEN_CACHE_DIR says. Leave tokenizer out, and tokens are estimated"
        ) from error


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
