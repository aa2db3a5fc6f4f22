"""A candidate's vectors of the rows and the queries it is tried on, and what it takes to make them."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from embedmig.backfill.pair_embedding import TextsForecast, forecast_texts, within_limits
from embedmig.catalog.models import get_fingerprint
from embedmig.db import Connection, Database
from embedmig.embedders import Embedder, load_embedder, validate_vectors
from embedmig.errors import InvalidVectorError
from embedmig.types import Floats, Model, ModelState
from embedmig.validation.kept_vectors import VectorFile, embed_once, list_missing, vector_file
from embedmig.validation.query_vectors import embed_queries

_QUERIES_TIMED = 20

Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Of single queries, one after the other, with nothing else to do."""

    p50_ms: float
    p95_ms: float
    queries: int


@dataclass(frozen=True, kw_only=True)
class Needed:
    """What a candidate is still to be asked for, before it is."""

    model: str
    forecast: TextsForecast
    """Of rows and queries that no earlier run embedded."""


@dataclass(frozen=True, kw_only=True)
class CandidateVectors:
    """One row a text, in the order of the texts."""

    model: Model
    documents: Floats
    """(n, d)"""
    queries: Floats | None
    """(q, d); None where the model is gone."""
    asked: int
    """For how many texts the model was asked now."""
    reused: int
    """How many vectors an earlier run had kept."""
    latency: Latency | None
    tokens_a_row: float | None
    """About, what the model cuts off left out; None where the model is gone."""


def foresee(conn: Connection, model: Model, documents: Sequence[str], queries: Sequence[str], folder: Path) -> Needed:
    """Asks the model for nothing. ``documents``: empty where the table holds their vectors."""
    fingerprint = get_fingerprint(conn, model)
    missing = [
        *list_missing(vector_file(folder, model, fingerprint, "documents"), documents),
        *list_missing(vector_file(folder, model, fingerprint, "queries"), queries),
    ]
    return Needed(model=model.key, forecast=forecast_texts(model, load_embedder(model), missing))


def embed_candidate(
    db: Database,
    model: Model,
    documents: Sequence[str],
    queries: Sequence[str],
    folder: Path,
    *,
    stored: Floats | None = None,
    on_progress: Progress | None = None,
) -> CandidateVectors:
    """``stored``: the documents' vectors, where the table has them. ``folder``: where vectors are kept.

    Raises RefusedError when a model without stored vectors is gone, FingerprintError when it is another than was
    registered, ProviderError when it fails, InvalidVectorError for a vector that could not be stored.
    """
    if model.state is ModelState.GONE and stored is not None:
        return CandidateVectors(
            model=model, documents=stored, queries=None, asked=0, reused=0, latency=None, tokens_a_row=None
        )
    of_queries = embed_queries(db, model, queries, on_progress, cache_dir=folder)
    with db.connect() as conn:
        fingerprint = get_fingerprint(conn, model)
    asked, reused = of_queries.asked, of_queries.reused
    if stored is None:
        file = vector_file(folder, model, fingerprint, "documents")
        with within_limits(db, model) as limited:
            embedded = embed_once(file, documents, limited.embed_documents, model.dimensions, on_progress)
        _require_usable(embedded.vectors, documents, model)
        stored, asked, reused = embedded.vectors, asked + embedded.asked, reused + embedded.reused
    embedder = load_embedder(model)
    return CandidateVectors(
        model=model,
        documents=stored,
        queries=of_queries.vectors,
        asked=asked,
        reused=reused,
        latency=_latency(vector_file(folder, model, fingerprint, "queries"), embedder, queries),
        tokens_a_row=forecast_texts(model, embedder, documents).tokens / len(documents) if documents else None,
    )


def _require_usable(vectors: Floats, texts: Sequence[str], model: Model) -> None:
    if bad := validate_vectors(vectors, model):
        place, reason = next(iter(bad.items()))
        raise InvalidVectorError(f"a row's text of {len(texts[place]):,} characters has no usable vector: {reason}")


def _latency(file: VectorFile | None, embedder: Embedder, queries: Sequence[str]) -> Latency | None:
    """Measured once, and kept beside the vectors."""
    kept = None if file is None else file.path.with_suffix(".latency.json")
    if kept is not None and kept.exists():
        try:
            return Latency(**json.loads(kept.read_text(encoding="utf-8")))
        except (ValueError, TypeError, OSError):
            pass  # Half written, or by another version: measured anew.
    if not queries:
        return None
    embedder.embed_queries([queries[0]])
    times = []
    for query in queries[:_QUERIES_TIMED]:
        began = time.perf_counter()
        embedder.embed_queries([query])
        times.append((time.perf_counter() - began) * 1000)
    p50_ms, p95_ms = (float(np.quantile(times, q)) for q in (0.5, 0.95))
    latency = Latency(p50_ms=p50_ms, p95_ms=p95_ms, queries=len(times))
    if kept is not None and kept.parent.is_dir():
        kept.write_text(json.dumps(asdict(latency)), encoding="utf-8")
    return latency
