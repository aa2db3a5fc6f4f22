"""The one place that every call to a model passes through."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self, TypeVar

import numpy as np

from embedmig.embedders.limits import RateLimiter
from embedmig.embedders.protocol import Embedder
from embedmig.embedders.usage import Usage
from embedmig.errors import EmbedmigError, InvalidVectorError, ProviderError
from embedmig.types import Floats

_Result = TypeVar("_Result")


class LoadedEmbedder:
    """An embedder as the rest of embedmig sees it, whoever wrote it: float32, one row a text, unit length if its model
    is normalised, and no errors but ours. Rows that cannot be stored come through as they are: see validate_vectors.
    """

    def __init__(self, embedder: Embedder, *, name: str, normalised: bool) -> None:
        """``name``: what its errors call it."""
        self.dimensions: int = embedder.dimensions
        self.max_tokens: int | None = embedder.max_tokens
        self.compute_type: str = embedder.compute_type
        self.concurrency: int = getattr(embedder, "concurrency", 1)
        """How many calls or requests at once keep it busy."""
        self.is_checked = False
        """Whether this process has seen that the model gives the vectors it was registered with."""
        self._embedder, self._name, self._normalised = embedder, name, normalised

    @property
    def usage(self) -> Usage | None:
        """What was used so far; None for a model that does not count."""
        usage: Usage | None = getattr(self._embedder, "usage", None)
        return usage

    def for_job(self, limiter: RateLimiter | None, should_stop: Callable[[], bool] = lambda: False) -> Self:
        """The same model for one job: within the limits, with a ``usage`` of its own, and with waits that end in a
        ProviderUnavailableError once ``should_stop`` says so. Itself, where the provider has no use for that."""
        for_job = getattr(self._embedder, "for_job", None)
        if for_job is None:
            return self
        return type(self)(for_job(limiter, should_stop), name=self._name, normalised=self._normalised)

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        """(n, dimensions) float32. Raises ProviderError; InvalidVectorError when the shape is not one row a text."""
        return self._embed(self._embedder.embed_documents, texts)

    def embed_queries(self, texts: Sequence[str]) -> Floats:
        """(n, dimensions) float32. Raises ProviderError; InvalidVectorError when the shape is not one row a text."""
        return self._embed(self._embedder.embed_queries, texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as a document, before anything is truncated. Raises ProviderError."""
        return self._call(self._embedder.count_tokens, texts)

    def _embed(self, method: Callable[[Sequence[str]], Floats], texts: Sequence[str]) -> Floats:
        if not texts:
            return np.empty((0, self.dimensions), dtype=np.float32)
        answer = self._call(method, texts)
        with translated_errors(self._name, "gave what is no array of numbers"):
            vectors = np.asarray(answer, dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise InvalidVectorError(
                f"{self._name} gave an array of shape {vectors.shape} for {len(texts)} texts: one row a text is needed"
            )
        return to_unit_length(vectors) if self._normalised else vectors

    def _call(self, method: Callable[[Sequence[str]], _Result], texts: Sequence[str]) -> _Result:
        with translated_errors(self._name, f"failed on {len(texts)} texts"):
            return method(texts)


@contextmanager
def translated_errors(name: str, what: str) -> Iterator[None]:
    """Turns whatever a model's code raises into a ProviderError that says who failed at what; ours pass."""
    try:
        yield
    except EmbedmigError:
        raise
    except Exception as error:
        raise ProviderError(f"{name} {what}: {type(error).__name__}: {error}") from error


def to_unit_length(vectors: Floats) -> Floats:
    """Rows scaled to length 1. Those within rounding of it keep their bits, zeros, NaN and infinity what they are."""
    lengths = np.linalg.norm(vectors, axis=1)
    off = np.isfinite(lengths) & (lengths > 0) & (np.abs(lengths - 1) > 1e-6)
    if not off.any():
        return vectors
    scaled = vectors.copy()
    scaled[off] /= lengths[off, None]
    return scaled
