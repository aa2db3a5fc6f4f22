"""From a model's definition to an embedder: our providers, and those of the entry-point group."""

import threading
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from embedmig.embedders.hashing import HashingEmbedder
from embedmig.embedders.loaded import LoadedEmbedder, translated_errors
from embedmig.embedders.openai import OpenAIEmbedder
from embedmig.embedders.protocol import EmbedderFactory
from embedmig.embedders.sentence_transformers import SentenceTransformersEmbedder
from embedmig.errors import NotFoundError, ProviderError, RefusedError
from embedmig.types import Model, ModelState

ENTRY_POINT_GROUP = "embedmig.embedders"

_OURS: Mapping[str, EmbedderFactory] = {
    "hashing": HashingEmbedder,
    "openai": OpenAIEmbedder,
    "sentence-transformers": SentenceTransformersEmbedder,
}
_PARTS = ("dimensions", "max_tokens", "compute_type", "embed_documents", "embed_queries", "count_tokens")

_loaded: dict[tuple[int, str], LoadedEmbedder] = {}
_loading = threading.Lock()


def load_embedder(model: Model) -> LoadedEmbedder:
    """The embedder of ``model``, loaded once per process and shared by all who ask.

    Raises RefusedError when the model is gone, NotFoundError for a provider that is not installed, UsageError for
    options that cannot be, ProviderError when it does not load or has other dimensions than were registered.
    """
    if model.state is ModelState.GONE:
        raise RefusedError(f"model {model.key} is gone: nothing can be embedded with it any more")
    place = (model.id, model.provider_options)
    if (embedder := _loaded.get(place)) is not None:
        return embedder
    with _loading:
        if place not in _loaded:
            _loaded[place] = _open_registered(model)
        return _loaded[place]


def forget_embedders() -> None:
    """Lets go of every loaded model, and so of its memory once nobody uses it; the next load reads it anew."""
    with _loading:
        _loaded.clear()


def known_providers() -> list[str]:
    """The names that a model's provider may have: ours and those of installed packages, sorted."""
    return sorted({*_OURS, *_installed()})


def open_embedder(
    *,
    name: str,
    provider: str,
    options: Mapping[str, Any],
    document_prompt: str,
    query_prompt: str,
    max_tokens: int | None,
    normalised: bool,
) -> LoadedEmbedder:
    """An embedder of its own, outside the cache. ``name`` is what its errors call it. Raises as load_embedder does."""
    factory = _find_factory(provider)
    with translated_errors(f"the provider {provider}", f"could not load {name}"):
        embedder = factory(
            options=dict(options), document_prompt=document_prompt, query_prompt=query_prompt, max_tokens=max_tokens
        )
    if lacks := [part for part in _PARTS if not hasattr(embedder, part)]:
        raise ProviderError(f"the provider {provider} gave a {type(embedder).__name__} without {', '.join(lacks)}")
    return LoadedEmbedder(embedder, name=name, normalised=normalised)


def _open_registered(model: Model) -> LoadedEmbedder:
    embedder = open_embedder(
        name=model.key,
        provider=model.provider,
        options=model.options,
        document_prompt=model.document_prompt,
        query_prompt=model.query_prompt,
        max_tokens=model.max_tokens,
        normalised=model.normalised,
    )
    if embedder.dimensions != model.dimensions:
        raise ProviderError(
            f"{model.key} was registered with {model.dimensions} dimensions and now has {embedder.dimensions}: restore"
            " it, or register the changed model under a new revision"
        )
    return embedder


def _find_factory(provider: str) -> EmbedderFactory:
    if provider in _OURS:
        return _OURS[provider]
    installed = _installed()
    if provider not in installed:
        hint = f"install the package that brings it (entry-point group {ENTRY_POINT_GROUP})"
        raise NotFoundError("provider", provider, known=known_providers(), hint=hint)
    with translated_errors(f"the provider {provider} ({installed[provider].value})", "could not be imported"):
        factory: EmbedderFactory = installed[provider].load()
    return factory


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
