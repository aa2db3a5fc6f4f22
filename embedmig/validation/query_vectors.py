"""Queries to vectors, by a model that is what it was registered as."""

from collections.abc import Callable, Sequence

import numpy as np

from embedmig.catalog.models import get_fingerprint
from embedmig.db import Connection
from embedmig.embedders import load_embedder, validate_vectors
from embedmig.errors import InvalidVectorError
from embedmig.search.embedding import check_model
from embedmig.types import Floats, Model

_TEXTS_AT_ONCE = 64


def embed_queries(
    conn: Connection, model: Model, texts: Sequence[str], on_progress: Callable[[int], None] | None = None
) -> Floats:
    """(n, d), one row a text, with the model's query prompt. ``on_progress`` is told how many were just embedded.

    Raises RefusedError when the model is gone, FingerprintError when it is another than was registered,
    InvalidVectorError for a vector that no search could use.
    """
    check_model(model, get_fingerprint(conn, model))
    embedder = load_embedder(model)
    parts = [np.empty((0, model.dimensions), dtype=np.float32)]
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        some = list(texts[start : start + _TEXTS_AT_ONCE])
        parts.append(embedder.embed_queries(some))
        if on_progress is not None:
            on_progress(len(some))
    vectors = np.concatenate(parts)
    if bad := validate_vectors(vectors, model):
        place, reason = next(iter(bad.items()))
        raise InvalidVectorError(f"query {texts[place]!r} has no usable vector: {reason}")
    return vectors
