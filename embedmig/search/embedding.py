"""Texts to query vectors, by models that are what they were registered as."""

import threading
from weakref import WeakSet

from embedmig.catalog.models import get_fingerprint
from embedmig.db import Database
from embedmig.embedders import Embedder, Fingerprint, check_fingerprint, load_embedder
from embedmig.types import Embedding, Model

_checked: "WeakSet[Embedder]" = WeakSet()
_checking = threading.Lock()


def is_checked(model: Model) -> bool:
    """Whether this process has seen that the model gives the vectors it was registered with. Loads it."""
    return load_embedder(model) in _checked


def check_model(model: Model, stored: bytes | None) -> None:
    """Compares the model with its ``stored`` fingerprint, once per process; None: it was registered without one.

    Raises FingerprintError when it gives other vectors, and what load_embedder raises.
    """
    embedder = load_embedder(model)
    with _checking:
        if embedder in _checked:
            return
        if stored is not None:
            check_fingerprint(model, Fingerprint.from_bytes(stored), embedder)
        _checked.add(embedder)


def load_checked(url: str, model: Model) -> Embedder:
    """The model, compared with its fingerprint; that is read on a connection of its own. Raises as check_model does."""
    if not is_checked(model):
        with Database(url).connect() as conn:
            stored = get_fingerprint(conn, model)
        check_model(model, stored)
    return load_embedder(model)


def embed_query(model: Model, text: str) -> Embedding:
    """The text with the model's query prompt. Raises ProviderError, InvalidVectorError."""
    return Embedding(load_embedder(model).embed_queries([text])[0], model=model.key)
