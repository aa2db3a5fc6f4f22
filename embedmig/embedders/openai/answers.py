"""Reads what the embeddings endpoint sent: pure."""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedmig.embedders.openai.failures import Failure, Kind
from embedmig.types import Floats

_VERSION = r"(?:[-:@]v?\d[\d.\-]*)?"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The vectors of one request."""

    vectors: Floats
    """(n, d), in the order of the texts."""
    tokens: int | None
    """Billed; None when the provider does not say."""


def read_answer(body: bytes, *, texts: int, answers_as: str, dimensions: int | None) -> Answer | Failure:
    """The answer to ``texts`` texts, put in order by each vector's ``index``. A Failure when a vector is missing, there
    twice or of another length, or when another model answered than ``answers_as``."""
    try:
        parsed = json.loads(body)
    except ValueError:
        return _garbled("an answer that is not JSON")
    if not isinstance(parsed, dict) or not isinstance(data := parsed.get("data"), list):
        return _garbled("an answer without data")
    if (named := parsed.get("model")) and isinstance(named, str) and not is_same_model(answers_as, named):
        return Failure(
            kind=Kind.SETUP,
            said=f"the answer is by {_printable(named)}, not by {answers_as}; if that is the same model, say so:"
            " --option answers_as=NAME",
        )
    tokens = _read_tokens(parsed.get("usage"))
    rows = _rows_in_order(data, texts)
    if isinstance(rows, str):
        return _garbled(rows, tokens)
    vectors = _stack(rows)
    if vectors is None:
        return _garbled("vectors that are none, or of several lengths", tokens)
    if dimensions is not None and vectors.shape[1] != dimensions:
        said = f"vectors of {vectors.shape[1]} dimensions, where {dimensions} were expected"
        return Failure(kind=Kind.SETUP, said=said, tokens=tokens)
    return Answer(vectors=vectors, tokens=tokens)


def is_same_model(asked: str, named: str) -> bool:
    """Whether an answer by ``named`` is one by ``asked``: the same name, or that with a version or tag after it."""
    asked, named = asked.casefold().removesuffix(":latest"), named.casefold().removesuffix(":latest")
    return named.startswith(asked) and re.fullmatch(_VERSION, named[len(asked) :]) is not None


def _rows_in_order(data: Sequence[Any], texts: int) -> list[Any] | str:
    if len(data) != texts:
        return f"{len(data)} vectors for {texts} texts"
    rows: list[Any] = [None] * texts
    for item in data:
        index = item.get("index") if isinstance(item, dict) else None
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < texts:
            return "a vector whose index is none of a text"
        if rows[index] is not None:
            return f"two vectors of index {index}"
        rows[index] = item.get("embedding")
    return rows


def _stack(rows: Sequence[Any]) -> Floats | None:
    vectors = [_read_vector(row) for row in rows]
    first = vectors[0]
    if first is None or not first.size or any(vector is None or vector.shape != first.shape for vector in vectors):
        return None
    return np.stack([vector for vector in vectors if vector is not None])


def _read_vector(value: object) -> Floats | None:
    """Base64 of little-endian float32, or a list of numbers; servers send either, whatever was asked for."""
    try:
        if isinstance(value, str):
            return np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4").astype(np.float32, copy=False)
        if isinstance(value, list):
            vector = np.asarray(value, dtype=np.float32)
            return vector if vector.ndim == 1 else None
    except (binascii.Error, ValueError, TypeError):
        pass
    return None


def _read_tokens(usage: object) -> int | None:
    if not isinstance(usage, Mapping):
        return None
    for name in ("prompt_tokens", "total_tokens"):
        count = usage.get(name)
        if isinstance(count, int) and not isinstance(count, bool) and count > 0:
            return count
    return None


def _garbled(said: str, tokens: int | None = None) -> Failure:
    return Failure(kind=Kind.GARBLED, said=said, tokens=tokens)


def _printable(name: str) -> str:
    return name if re.fullmatch(r"[\w./:@\-]{1,80}", name) else "another model"
