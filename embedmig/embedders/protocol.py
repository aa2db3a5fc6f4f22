"""What embedmig asks of an embedding model: three methods and three facts."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from embedmig.types import Floats


class Embedder(Protocol):
    """One model, loaded.

    The same text must give the same vector whatever stands beside it in the batch; rows come back in the order of
    the texts. A worker calls its embedder from one thread at a time; but all who load the same model in a process
    (workers, searches) get the same object, so state that cannot bear two calls at once needs a lock of its own.

    What a call raises becomes a ProviderError, unless it is one of embedmig's errors already. An embedder never falls
    back to another model.
    """

    dimensions: int
    max_tokens: int | None
    """Where the model truncates; None when it takes any length, or does not say."""
    compute_type: str
    """Where and in which number format it computes, such as ``cpu/float32``: two of them differ in the last digits."""

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        """(n, dimensions) float32, one row a text, the document prompt put before each."""
        ...

    def embed_queries(self, texts: Sequence[str]) -> Floats:
        """(n, dimensions) float32, one row a text, the query prompt put before each."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as a document, prompt included, before anything is truncated."""
        ...


class EmbedderFactory(Protocol):
    """What a provider is: called with these four by name, once per model and process."""

    def __call__(
        self, *, options: Mapping[str, Any], document_prompt: str, query_prompt: str, max_tokens: int | None
    ) -> Embedder:
        """The embedder for ``options`` (a path, a base URL: never a secret). ``max_tokens``: truncate there; None: at
        the model's own limit, told by the embedder's ``max_tokens``. Raises UsageError for options that cannot be."""
        ...
