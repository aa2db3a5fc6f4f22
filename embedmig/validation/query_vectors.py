"""Queries to vectors, by a model that is what it was registered as."""

from collections.abc import Callable, Sequence
from pathlib import Path

from embedmig.backfill.pair_embedding import within_limits
from embedmig.catalog.models import get_fingerprint
from embedmig.db import Database
from embedmig.embedders import validate_vectors
from embedmig.errors import InvalidVectorError
from embedmig.search.embedding import check_model
from embedmig.types import Model
from embedmig.validation.kept_vectors import Embedded, embed_once, vector_file


def embed_queries(
    db: Database,
    model: Model,
    texts: Sequence[str],
    on_progress: Callable[[int], None] | None = None,
    *,
    cache_dir: Path,
) -> Embedded:
    """One row a text, with the model's query prompt, within the limits that all processes share. A text that was
    embedded before, by a run that was cut short too, is not embedded again. ``on_progress`` is told how many more there
    are.

    Raises RefusedError when the model is gone, FingerprintError when it is another than was registered,
    InvalidVectorError for a vector that no search could use.
    """
    with db.connect() as conn:
        fingerprint = get_fingerprint(conn, model)
    check_model(model, fingerprint)
    file = vector_file(cache_dir, model, fingerprint, "queries")
    with within_limits(db, model) as limited:
        embedded = embed_once(file, texts, limited.embed_queries, model.dimensions, on_progress)
    if bad := validate_vectors(embedded.vectors, model):
        place, reason = next(iter(bad.items()))
        raise InvalidVectorError(
            f"query {place + 1}, of {len(texts[place]):,} characters, has no usable vector: {reason}"
        )
    return embedded
