"""Finding out what a model is, before it is registered."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from embedmig.embedders.fingerprint import Fingerprint, take_fingerprint
from embedmig.embedders.loaded import LoadedEmbedder
from embedmig.embedders.probes import PROBES
from embedmig.embedders.protocol import Embedder
from embedmig.embedders.registry import open_embedder
from embedmig.errors import InvalidVectorError, UsageError
from embedmig.types import Distance, Floats, Model, parse_model_key

_UNIT_LENGTH_WITHIN = 0.01
"""bfloat16 alone is off by 0.002."""


def probe_model(
    *,
    key: str,
    provider: str,
    options: Mapping[str, Any],
    document_prompt: str = "",
    query_prompt: str = "",
    max_tokens: int | None = None,
    distance: Distance = Distance.COSINE,
    price_per_million_tokens: float | None = None,
    normalised: bool | None = None,
) -> tuple[Model, Fingerprint]:
    """Loads the model, embeds the probes and tells what it is: dimensions, limit, fingerprint, and whether its vectors
    have length 1 (unless ``normalised`` says so; True makes embedmig scale them).

    Raises UsageError when ``max_tokens`` is not a limit the model can keep, InvalidVectorError when its vectors are
    unfit to store, and what load_embedder raises.
    """
    name, revision = parse_model_key(key)
    if max_tokens is not None and max_tokens < 1:
        raise UsageError(f"max tokens {max_tokens} leaves nothing to embed: give 1 or more, or none")
    embedder = open_embedder(
        name=key,
        provider=provider,
        options=options,
        document_prompt=document_prompt,
        query_prompt=query_prompt,
        max_tokens=max_tokens,
        normalised=False,
    )
    _require_limit(key, embedder, max_tokens)
    vectors = _embed_short_probes(key, embedder)
    model = Model(
        name=name,
        revision=revision,
        provider=provider,
        dimensions=embedder.dimensions,
        distance=distance,
        normalised=_have_unit_length(vectors) if normalised is None else normalised,
        document_prompt=document_prompt,
        query_prompt=query_prompt,
        max_tokens=embedder.max_tokens,
        options=dict(options),
        price_per_million_tokens=price_per_million_tokens,
    )
    return model, take_fingerprint(model, LoadedEmbedder(embedder, name=key, normalised=model.normalised))


def _require_limit(key: str, embedder: Embedder, asked: int | None) -> None:
    if asked is not None and embedder.max_tokens != asked:
        own = "takes no limit" if embedder.max_tokens is None else f"truncates at {embedder.max_tokens}"
        raise UsageError(f"{key} cannot be told to truncate at {asked} tokens: it {own}. Leave max tokens out")


def _embed_short_probes(key: str, embedder: Embedder) -> Floats:
    vectors = np.concatenate([embedder.embed_documents(PROBES), embedder.embed_queries(PROBES)])
    if vectors.shape[1] != embedder.dimensions:
        raise InvalidVectorError(f"{key} says {embedder.dimensions} dimensions and gives {vectors.shape[1]}")
    if not np.isfinite(vectors).all():
        raise InvalidVectorError(f"{key} gives NaN or infinity for plain texts: it cannot be used as it is")
    # A model may know only some scripts: zeros for the others are not its refusal, zeros for all are.
    if not vectors.any():
        raise InvalidVectorError(f"{key} gives all zeros for every text: are its weights loaded?")
    return vectors


def _have_unit_length(vectors: Floats) -> bool:
    lengths = np.linalg.norm(vectors, axis=1)
    return bool((np.abs(lengths[lengths > 0] - 1) < _UNIT_LENGTH_WITHIN).all())
