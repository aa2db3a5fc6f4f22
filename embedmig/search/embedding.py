"""Texts to query vectors, by models that are what they were registered as."""

import threading

from embedmig.catalog.models import get_fingerprint
from embedmig.db import Database
from embedmig.embedders import Embedder, Fingerprint, check_fingerprint, load_embedder
from embedmig.types import Embedding, Model

_checking = threading.Lock()


def check_model(model: Model, stored: bytes | None) -> None:
    """Compares the model with its ``stored`` fingerprint, once per process; None: it was registered without one.

    Raises FingerprintError when it gives other vectors, and what load_embedder raises.
    """
    embedder = load_embedder(model)
    with _checking:
        if embedder.is_checked:
            return
        if stored is not None:
            check_fingerprint(model, Fingerprint.from_bytes(stored), embedder)
        embedder.is_checked = True


def load_checked(url: str, model: Model) -> Embedder:
    """The model, compared with its fingerprint; that is read on a connection of its own. Raises as check_model does."""
    if not load_embedder(model).is_checked:
        with Database(url).connect() as conn:
            stored = get_fingerprint(conn, model)
        check_model(model, stored)
    return load_embedder(model)


def embed_query(model: Model, text: str) -> Embedding | None:
    """The text with the model's query prompt; None as long as this process has not compared the model with its
    fingerprint. Loads it. Raises what load_embedder raises, ProviderError, InvalidVectorError."""
    embedder = load_embedder(model)
    return Embedding(embedder.embed_queries([text])[0], model=model.key) if embedder.is_checked else None
