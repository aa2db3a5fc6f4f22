"""The provider ``hashing``: vectors from hashed words. No model, no download: for tests, ours and yours."""

import hashlib
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from embedmig.embedders.options import refuse_unknown_options
from embedmig.errors import UsageError
from embedmig.types import Floats

_Hashes = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_SIGNATURE_SHARE = np.float32(0.1)
_TEXTS_AT_ONCE = 64
_CACHE_BYTES = 32 * 1024 * 1024


class HashingEmbedder:
    """Texts that share words are near. Texts that differ, be it in the order of their words alone, have different
    vectors: a test can tell from which text a vector was made. The same on every machine, up to rounding.

    Options: ``dimensions`` (32), ``seed`` (0; another seed is another space), ``delay_s`` (0: how long each call
    sleeps, to be as slow as a real model). Tokens are words between blanks.
    """

    compute_type = "cpu/float32"

    def __init__(
        self,
        *,
        options: Mapping[str, Any],
        document_prompt: str = "",
        query_prompt: str = "",
        max_tokens: int | None = None,
    ) -> None:
        """Raises UsageError for an unknown option or a value that cannot be."""
        refuse_unknown_options("hashing", options, known=("dimensions", "seed", "delay_s"))
        self.dimensions: int = _whole_number(options, "dimensions", 32)
        self.max_tokens = max_tokens
        self._seed = np.uint64(_whole_number(options, "seed", 0) % 2**64)
        self._delay_s = float(options.get("delay_s", 0))
        if self.dimensions < 1 or self._delay_s < 0:
            raise UsageError(f"hashing: dimensions from 1 on and delay_s from 0 on, not {dict(options)}")
        self._prompts = document_prompt, query_prompt
        self._lock = threading.Lock()
        self._rows = _Numbering()
        self._vectors: Floats = np.empty((0, self.dimensions), dtype=np.float32)

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        """(n, dimensions) float32, unit length; an empty text has a vector too."""
        return self._embed(texts, self._prompts[0])

    def embed_queries(self, texts: Sequence[str]) -> Floats:
        """(n, dimensions) float32, unit length; an empty text has a vector too."""
        return self._embed(texts, self._prompts[1])

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Words between blanks, those of the document prompt included."""
        return [len((self._prompts[0] + text).split()) for text in texts]

    def _embed(self, texts: Sequence[str], prompt: str) -> Floats:
        if self._delay_s:
            time.sleep(self._delay_s)
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            prompted = [prompt + text for text in texts[start : start + _TEXTS_AT_ONCE]]
            with self._lock:
                vectors[start : start + len(prompted)] = self._embed_few(prompted)
        return vectors

    def _embed_few(self, texts: list[str]) -> Floats:
        words = [text.split()[: self.max_tokens] for text in texts]
        if self.max_tokens is not None:
            texts = [" ".join(some) for some in words]
        return _to_unit_length(self._bags(words) + _SIGNATURE_SHARE * _to_unit_length(self._spread(_hash(texts))))

    def _bags(self, words: list[list[str]]) -> Floats:
        """The sum of each text's word vectors at unit length; zeros where a text has no word."""
        bags = np.zeros((len(words), self.dimensions), dtype=np.float32)
        counts = np.array([len(some) for some in words])
        filled = np.flatnonzero(counts)
        if filled.size:
            rows = self._rows_of_words(words)
            starts = np.cumsum(counts[filled]) - counts[filled]
            bags[filled] = _to_unit_length(np.add.reduceat(self._vectors[rows], starts, axis=0))
        return bags

    def _rows_of_words(self, words: list[list[str]]) -> list[int]:
        """Where the vector of each word stands in the cache, which grows by the words not met before."""
        if len(self._rows) * self.dimensions * 4 > _CACHE_BYTES:
            self._rows = _Numbering()
        rows = self._rows
        numbers = [rows[word] for some in words for word in some]
        if rows.added:
            self._add_vectors([word.casefold().strip(".,;:!?\"'()[]{}") for word in rows.added])
            rows.added.clear()
        return numbers

    def _add_vectors(self, words: list[str]) -> None:
        known, total = len(self._rows) - len(words), len(self._rows)
        if total > len(self._vectors):
            grown = np.empty((2 * total, self.dimensions), dtype=np.float32)
            grown[:known] = self._vectors[:known]
            self._vectors = grown
        self._vectors[known:total] = self._spread(_hash(words))

    def _spread(self, hashes: _Hashes) -> Floats:
        """(n, dimensions) in [-1, 1): the splitmix64 sequence that starts at each hash."""
        steps = np.arange(1, self.dimensions + 1, dtype=np.uint64) * _GOLDEN
        state = (_mix(hashes) ^ _mix(np.array([self._seed])))[:, None] + steps[None, :]
        return ((_mix(state) >> np.uint64(40)).astype(np.float32) / np.float32(2**23)) - np.float32(1)


class _Numbering(dict[str, int]):
    """Gives each new key the next number, and keeps a list of those."""

    def __init__(self) -> None:
        super().__init__()
        self.added: list[str] = []

    def __missing__(self, key: str) -> int:
        self[key] = number = len(self)
        self.added.append(key)
        return number


def _hash(texts: Iterable[str]) -> _Hashes:
    digests = [hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _mix(values: _Hashes) -> _Hashes:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _to_unit_length(vectors: Floats) -> Floats:
    lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    unit: Floats = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


def _whole_number(options: Mapping[str, Any], name: str, default: int) -> int:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"hashing: {name} is a whole number, not {value!r}")
    return value
