"""Embeds the texts of a group: each distinct text once, a failing batch again as a batch, a poison row alone."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from embedmig.backfill.groups import Group
from embedmig.backfill.tokens import TokenCounter
from embedmig.backfill.vector_cache import VectorCache
from embedmig.embedders import Embedder, Usage, validate_vectors
from embedmig.embedders.fingerprint import LOOSEST_TOLERANCE, lowest_agreement
from embedmig.embedders.probes import PROBES
from embedmig.errors import (
    FingerprintError,
    InputRejectedError,
    ProviderError,
    ProviderSetupError,
    ProviderUnavailableError,
)
from embedmig.types import Floats, Model

_ATTEMPTS = 3
_PAUSE_S = 0.5
_HALFVEC_MAX = 65504.0
_NO_TEXT_TO_BLAME = (FingerprintError, ProviderSetupError, ProviderUnavailableError)
KNOWN_TEXT = "The ferry to the island leaves at half past seven."
"""A harmless text: a model that fails on it too is down, and no row is to blame."""

Sleep = Callable[[float], object]


@dataclass(kw_only=True)
class Embedded:
    """Vectors of the texts that could be embedded, and the reasons of those that could not."""

    vectors: Floats
    """(n, d): a row a text; rows with a reason hold nothing."""
    reasons: dict[int, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class SlotEmbedder:
    """A model at work for one slot. Several threads may share it."""

    model: Model
    vector_type: str
    embedder: Embedder
    tokens: TokenCounter
    cache: VectorCache
    repeated: int = 0
    """Rows that needed no model call, because another row had the same text."""
    sleep: Sleep = time.sleep
    probe: Floats | None = None
    """What the model must give for the first probe text (d,): every batch then carries that text along, so that weights
    changed behind the name are found before a vector of theirs is written. None: they cannot change under us."""
    threads: int = 1
    """So many calls at once keep the model busy; more wait for their turn."""
    characters: int = 0
    """Of the texts embedded so far."""
    counted: int = 0
    """Their tokens."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    turn: threading.BoundedSemaphore = field(init=False)
    """Held while the model is called."""
    _billed: Usage = field(default_factory=Usage)

    def __post_init__(self) -> None:
        self.turn = threading.BoundedSemaphore(self.threads)

    @property
    def usage(self) -> Usage | None:
        """What the model counts itself; None when it does not."""
        usage: Usage | None = getattr(self.embedder, "usage", None)
        return usage

    def take_billed(self) -> int | None:
        """Tokens billed since this was last asked; None for a model that does not count."""
        usage = self.usage
        if usage is None:
            return None
        with self.lock:
            taken, self._billed = usage - self._billed, usage
        return max(0, taken.tokens)


def embed_group(group: Group, work: SlotEmbedder) -> None:
    """Fills in the group's vectors, reasons and tokens. Raises ProviderError when the model itself is down."""
    rows = group.to_embed
    places, texts, hashes = _distinct(group, rows)
    with work.lock:
        known = [work.cache.find(text_hash) for text_hash in hashes]
    fresh = [place for place, vector in enumerate(known) if vector is None]
    with work.turn:
        embedded = _embed_proven(work, [texts[place] for place in fresh])
    vectors = np.empty((len(texts), work.model.dimensions), dtype=np.float32)
    vectors[fresh] = embedded.vectors
    for place, vector in enumerate(known):
        if vector is not None:
            vectors[place] = vector
    reasons = {fresh[index]: reason for index, reason in embedded.reasons.items()}
    with work.lock:
        work.repeated += len(rows) - len(fresh)
        for place in fresh:
            if place not in reasons:
                work.cache.keep(hashes[place], vectors[place])
        counted = work.tokens.count([texts[place] for place in fresh])
        work.characters += sum(len(texts[place]) for place in fresh)
        work.counted += counted
    good = [index for index, place in enumerate(places) if place not in reasons]
    group.reasons = {rows[index]: reasons[place] for index, place in enumerate(places) if place in reasons}
    group.written = [rows[index] for index in good]
    group.vectors = vectors[[places[index] for index in good]]
    billed = work.take_billed()
    group.tokens = counted if billed is None else billed


def _embed_proven(work: SlotEmbedder, texts: Sequence[str]) -> Embedded:
    """Raises FingerprintError when the probe that went along came back as another model's."""
    if work.probe is None or not texts:
        return embed_texts(work, texts)
    embedded = embed_texts(work, [*texts, PROBES[0]])
    last = len(texts)
    if embedded.reasons.pop(last, None) is None:
        cosine = lowest_agreement(embedded.vectors[last:], work.probe[None, :])
        if not cosine >= LOOSEST_TOLERANCE:
            raise FingerprintError(model=work.model.key, cosine=cosine, tolerance=LOOSEST_TOLERANCE)
    return Embedded(vectors=embedded.vectors[:last], reasons=embedded.reasons)


def _distinct(group: Group, rows: Sequence[int]) -> tuple[list[int], list[str], list[bytes]]:
    """For each row the place of its text among the distinct ones, those texts, and their hashes."""
    found: dict[bytes, int] = {}
    places: list[int] = []
    texts: list[str] = []
    for row in rows:
        text_hash, text = group.hashes[row], group.texts[row]
        assert text_hash is not None
        assert text is not None
        place = found.setdefault(text_hash, len(texts))
        if place == len(texts):
            texts.append(text)
        places.append(place)
    return places, texts, list(found)


def embed_texts(work: SlotEmbedder, texts: Sequence[str]) -> Embedded:
    """Tries the batch a few times, then, if the model still answers elsewhere, halves it until the texts that it
    cannot embed stand alone. A provider that knows what failed is believed: it has tried often enough itself. Raises
    ProviderError when the model is down, and the children of it that no text is to blame for."""
    if not texts:
        return Embedded(vectors=np.empty((0, work.model.dimensions), dtype=np.float32))
    try:
        return _checked(work, _try_often(work, texts))
    except _NO_TEXT_TO_BLAME:
        raise
    except ProviderError as error:
        _require_alive(work, error)
        return _halve(work, texts, error)


def _try_often(work: SlotEmbedder, texts: Sequence[str]) -> Floats:
    for attempt in range(_ATTEMPTS):
        try:
            return work.embedder.embed_documents(texts)
        except (*_NO_TEXT_TO_BLAME, InputRejectedError):
            raise
        except ProviderError:
            if attempt == _ATTEMPTS - 1:
                raise
            work.sleep(_PAUSE_S * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311
    raise AssertionError("there is at least one attempt")


def _require_alive(work: SlotEmbedder, error: ProviderError) -> None:
    try:
        work.embedder.embed_documents([KNOWN_TEXT])
    except ProviderError:
        raise error from None


def _halve(work: SlotEmbedder, texts: Sequence[str], error: ProviderError) -> Embedded:
    if len(texts) == 1:
        empty = np.zeros((1, work.model.dimensions), dtype=np.float32)
        return Embedded(vectors=empty, reasons={0: safe_reason(work.model, error, texts[0])})
    middle = len(texts) // 2
    first, second = _try_half(work, texts[:middle]), _try_half(work, texts[middle:])
    shifted = {middle + index: reason for index, reason in second.reasons.items()}
    return Embedded(vectors=np.concatenate([first.vectors, second.vectors]), reasons=first.reasons | shifted)


def _try_half(work: SlotEmbedder, texts: Sequence[str]) -> Embedded:
    try:
        return _checked(work, work.embedder.embed_documents(texts))
    except _NO_TEXT_TO_BLAME:
        raise
    except ProviderError as error:
        return _halve(work, texts, error)


def _checked(work: SlotEmbedder, vectors: Floats) -> Embedded:
    """Vectors that must not be stored become reasons: no column ever holds one."""
    reasons = validate_vectors(vectors, work.model)
    if work.vector_type == "halfvec":
        too_large = np.flatnonzero((np.abs(vectors) > _HALFVEC_MAX).any(axis=1)).tolist()
        message = f"the vector by {work.model.key}: a value is beyond what halfvec holds ({_HALFVEC_MAX:g})"
        reasons = dict.fromkeys(too_large, message) | reasons
    if vectors.shape[1:] != (work.model.dimensions,):
        vectors = np.zeros((len(vectors), work.model.dimensions), dtype=np.float32)
    return Embedded(vectors=vectors, reasons=reasons)


def safe_reason(model: Model, error: Exception, text: str) -> str:
    """Why a row failed, in words that hold nothing of its text: a provider's message may quote it."""
    cause = error.__cause__ or error
    message = " ".join(str(cause).split())
    quoted = any(word in message for word in text.split() if len(word) > 3)
    what = type(cause).__name__ if quoted or not message else f"{type(cause).__name__}: {message[:300]}"
    return f"{model.key} failed on this text alone: {what}"
