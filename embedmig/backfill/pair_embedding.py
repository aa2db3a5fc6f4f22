"""A few thousand texts embedded beside any job: by the model that was registered, within its limits, what it bills
counted."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import numpy as np

from embedmig.backfill.embedding import SlotEmbedder, embed_texts
from embedmig.backfill.pairing import HalfPairs
from embedmig.backfill.tokens import TokenCounter
from embedmig.backfill.vector_cache import VectorCache
from embedmig.catalog.models import get_fingerprint
from embedmig.catalog.rates import SharedRateLimiter
from embedmig.db import Database
from embedmig.embedders import Embedder, Fingerprint, LoadedEmbedder, check_fingerprint, load_embedder, validate_vectors
from embedmig.errors import InvalidVectorError
from embedmig.types import Floats, Model

_TEXTS_AT_ONCE = 64
_TEXTS_COUNTED = 400

OnEmbedded = Callable[[int], None]
"""Told how many texts were just embedded."""


@dataclass(frozen=True, kw_only=True)
class TextsForecast:
    """What embedding some texts would take, by a sample of them."""

    texts: int
    tokens: int
    cost: float | None
    """In the price's currency; None without a price."""


@contextmanager
def within_limits(db: Database, model: Model) -> Iterator[Embedder]:
    """The model, kept to the limits that all processes share. Whether it is still the one that was registered is the
    caller's to know. Raises RefusedError when it is gone."""
    embedder = load_embedder(model)
    with ExitStack() as opened:
        if isinstance(embedder, LoadedEmbedder):
            limiter = SharedRateLimiter(db, model)
            ours = embedder.for_job(limiter)
            if ours is not embedder:
                opened.enter_context(limiter)
                embedder = ours
        yield embedder


@contextmanager
def open_model(db: Database, model: Model) -> Iterator[SlotEmbedder]:
    """The model at work. Raises RefusedError when it is gone, FingerprintError when it is no longer the one that was
    registered."""
    with db.connect() as conn:
        stored = get_fingerprint(conn, model)
    with within_limits(db, model) as embedder:
        if stored is not None:
            check_fingerprint(model, Fingerprint.from_bytes(stored), embedder)
        yield SlotEmbedder(
            model=model, vector_type="vector", embedder=embedder, tokens=TokenCounter(embedder), cache=VectorCache()
        )


def forecast_texts(model: Model, embedder: Embedder, texts: Sequence[str]) -> TextsForecast:
    """Counts the tokens of up to 400 of ``texts``, what the model cuts off left out."""
    step = max(1, len(texts) // _TEXTS_COUNTED)
    some, limit = list(texts[::step])[:_TEXTS_COUNTED], embedder.max_tokens
    counts = embedder.count_tokens(some) if some else []
    taken = [count if limit is None else min(count, limit) for count in counts]
    tokens = round(sum(taken) / len(taken) * len(texts)) if taken else 0
    price = model.price_per_million_tokens
    return TextsForecast(texts=len(texts), tokens=tokens, cost=None if price is None else tokens * price / 1e6)


def complete_pairs(
    work: SlotEmbedder,
    pairs: HalfPairs,
    on_embedded: OnEmbedded | None = None,
    keep: Callable[[Sequence[str], Floats], None] | None = None,
) -> tuple[HalfPairs, int]:
    """The pairs with every new vector, without rows that the model cannot embed, and how many those were. ``keep`` is
    given what was embedded, batch by batch.

    Raises ProviderError when the model is down.
    """
    new, good = pairs.new.copy(), np.ones(len(pairs), dtype=bool)
    lacking = np.flatnonzero(~pairs.has_new)
    for start in range(0, len(lacking), _TEXTS_AT_ONCE):
        some = lacking[start : start + _TEXTS_AT_ONCE]
        texts = [pairs.texts[row] for row in some.tolist()]
        embedded = embed_texts(work, texts)
        new[some] = embedded.vectors
        good[some[list(embedded.reasons)]] = False
        if keep is not None:
            fine = [place for place in range(len(texts)) if place not in embedded.reasons]
            keep([texts[place] for place in fine], embedded.vectors[fine])
        if on_embedded is not None:
            on_embedded(len(some))
    complete = replace(pairs, new=new, has_new=np.ones(len(pairs), dtype=bool))
    return complete.at(np.flatnonzero(good)), int((~good).sum())


def embed_as_queries(work: SlotEmbedder, texts: Sequence[str], on_embedded: OnEmbedded | None = None) -> Floats:
    """(n, d), with the model's query prompt. Raises ProviderError; InvalidVectorError for a vector that no search could
    use."""
    parts = [np.empty((0, work.model.dimensions), dtype=np.float32)]
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        some = list(texts[start : start + _TEXTS_AT_ONCE])
        parts.append(work.embedder.embed_queries(some))
        if on_embedded is not None:
            on_embedded(len(some))
    vectors = np.concatenate(parts)
    if bad := validate_vectors(vectors, work.model):
        place, reason = next(iter(bad.items()))
        raise InvalidVectorError(f"query {place + 1} has no usable vector: {reason}")
    return vectors
