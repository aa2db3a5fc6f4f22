"""What else a model's vectors could be stored as, and what it would find: shorter, in half precision, bits. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from embedmig.embedders.loaded import to_unit_length
from embedmig.schema.designing import MAX_HALFVEC_DIMENSIONS, MAX_VECTOR_DIMENSIONS
from embedmig.schema.estimates import companion_bytes, hnsw_index_bytes
from embedmig.search.statement import RERANKED_AT_LEAST
from embedmig.types import Distance, Floats, Key, Model
from embedmig.validation.running_top_k import Ranking, RunningTopK

MILLION = 1_000_000
_ROWS_AT_ONCE = 16_384
_KEY_BYTES = 8
_SHORTEST = 32

Order = Callable[[Key], object]
"""What equally near rows are ordered by."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to store a model's vectors that needs no call of the model."""

    dimensions: int
    vector_type: str
    """vector, halfvec or bit."""
    is_shortened: bool = False
    """Only the first ``dimensions`` of each vector, as Matryoshka models are trained for."""
    is_reranked: bool = False
    """Whole vectors, with an index over their bits: its nearest are sorted again by the vectors."""

    @property
    def name(self) -> str:
        """For people."""
        if self.is_reranked:
            return f"bits in the index, {RERANKED_AT_LEAST} re-ranked"
        kind = "bits" if self.vector_type == "bit" else self.vector_type
        return f"first {self.dimensions} as {kind}" if self.is_shortened else kind

    @property
    def index(self) -> str | None:
        """The index that can be built over it; None: it is searched exactly, row by row."""
        return None if self._indexed_as is None else f"hnsw over {self._indexed_as}"

    @property
    def table_bytes(self) -> int:
        """Of a million vectors beside a table, without the index; about."""
        return companion_bytes(MILLION, self.dimensions, self.vector_type, key_bytes=_KEY_BYTES)

    @property
    def index_bytes(self) -> int:
        """Of a million vectors; about."""
        return 0 if self._indexed_as is None else hnsw_index_bytes(MILLION, self.dimensions, self._indexed_as)

    @property
    def _indexed_as(self) -> str | None:
        if self.is_reranked or self.vector_type == "bit":
            return "bit"
        limit = MAX_HALFVEC_DIMENSIONS if self.vector_type == "halfvec" else MAX_VECTOR_DIMENSIONS
        return self.vector_type if self.dimensions <= limit else None


def list_variants(model: Model, shortened_to: Sequence[int] = ()) -> list[Variant]:
    """The vectors as they are first. ``shortened_to``: dimensions to cut to, by default a half and a quarter. Bits say
    nothing of l2 distance, so there are none for it."""
    whole = model.dimensions
    cuts = shortened_to or [cut for cut in (whole // 2, whole // 4) if cut >= _SHORTEST]
    variants = [
        Variant(dimensions=whole, vector_type="vector"),
        Variant(dimensions=whole, vector_type="halfvec"),
        *(
            Variant(dimensions=cut, vector_type=kind, is_shortened=True)
            for cut in sorted({cut for cut in cuts if cut < whole}, reverse=True)
            for kind in ("vector", "halfvec")
        ),
    ]
    if model.distance is not Distance.L2:
        variants += [
            Variant(dimensions=whole, vector_type="vector", is_reranked=True),
            Variant(dimensions=whole, vector_type="bit"),
        ]
    return variants


def rank_by(
    variant: Variant, model: Model, documents: Floats, queries: Floats, keys: Sequence[Key], order: Order, k: int
) -> list[Ranking]:
    """What each of the (q, d) ``queries`` finds among the (n, d) ``documents``, searched exactly, ties by ``order`` of
    the keys. Of bits a distance is twice pgvector's Hamming distance less the dimensions: an order, no more."""
    if variant.is_reranked:
        as_bits = Variant(dimensions=variant.dimensions, vector_type="bit")
        found = rank_by(as_bits, model, documents, queries, keys, order, max(k, RERANKED_AT_LEAST))
        return _rerank(found, model, documents, queries, keys, order, k)
    distance = Distance.INNER_PRODUCT if variant.vector_type == "bit" else model.distance
    running = RunningTopK(_as_stored(variant, model, queries), k, distance, order)
    for start in range(0, len(documents), _ROWS_AT_ONCE):
        some = slice(start, start + _ROWS_AT_ONCE)
        running.add(_as_stored(variant, model, documents[some]), keys[some])
    return running.rankings(lambda key: key)


def _as_stored(variant: Variant, model: Model, vectors: Floats) -> Floats:
    vectors = vectors[:, : variant.dimensions]
    if variant.is_shortened and model.normalised:
        vectors = to_unit_length(vectors)
    if variant.vector_type == "bit":
        # Their product orders as the Hamming distance of pgvector's binary_quantize does.
        return np.where(vectors > 0, np.float32(1), np.float32(-1))
    if variant.vector_type == "halfvec":
        largest = np.finfo(np.float16).max
        return np.asarray(vectors.clip(-largest, largest).astype(np.float16), dtype=np.float32)
    return np.ascontiguousarray(vectors)


def _rerank(
    found: Sequence[Ranking],
    model: Model,
    documents: Floats,
    queries: Floats,
    keys: Sequence[Key],
    order: Order,
    k: int,
) -> list[Ranking]:
    place_of = {key: place for place, key in enumerate(keys)}
    ranked = []
    for query, ranking in zip(queries, found, strict=True):
        running = RunningTopK(query[None], k, model.distance, order)
        running.add(documents[[place_of[key] for key in ranking.keys]], ranking.keys)
        ranked += running.rankings(lambda key: key)
    return ranked
