"""The nouns of embedmig as frozen values: models, collections, slots, routes, embeddings. Pure, no I/O."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from embedmig.errors import DimensionError, InvalidVectorError, UsageError

Floats = npt.NDArray[np.float32]
Key = tuple[str, ...]
"""A primary key, one text per column as Postgres prints it (``value::text``)."""


class Distance(StrEnum):
    """How a model's vectors are compared; the values are what users type."""

    COSINE = "cosine"
    L2 = "l2"
    INNER_PRODUCT = "ip"

    @property
    def operator(self) -> str:
        """pgvector's operator: smaller is nearer for all three (``<#>`` is the negated inner product)."""
        return {"cosine": "<=>", "l2": "<->", "ip": "<#>"}[self.value]


class ModelState(StrEnum):
    """Whether a model can still embed."""

    AVAILABLE = "available"
    ENDING = "ending"
    GONE = "gone"


class Placement(StrEnum):
    """Where a slot's vectors stand: on the user's table, or in a 1:1 table beside it."""

    COLUMN = "column"
    COMPANION = "companion"


class Maintainer(StrEnum):
    """Who writes a slot."""

    APP = "app"
    EMBEDMIG = "embedmig"


def _hash_int4(*parts: object) -> int:
    """A signed 32-bit integer, the same on every machine. Never 0, so that 0 can mean nothing."""
    digest = hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).digest()
    return int.from_bytes(digest[:4], "big", signed=True) or 1


@dataclass(frozen=True, kw_only=True)
class Model:
    """One version of an embedding model."""

    name: str
    revision: str
    provider: str
    """Which embedder runs it: ``sentence-transformers``, ``hashing``, or a name from ``embedmig.embedders``."""
    dimensions: int
    distance: Distance = Distance.COSINE
    normalised: bool = True
    document_prompt: str = ""
    query_prompt: str = ""
    max_tokens: int | None = None
    """Longer texts are truncated by the model; None when it does not say."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the provider needs to find the model (a path, a package, a base URL): never a secret."""
    price_per_million_tokens: float | None = None
    state: ModelState = ModelState.AVAILABLE
    ends_on: date | None = None

    @cached_property
    def key(self) -> str:
        """``name@revision``."""
        return f"{self.name}@{self.revision}"

    @cached_property
    def provider_options(self) -> str:
        """The provider with the options as JSON: what embedders are told apart by, beside the model's id."""
        return f"{self.provider} {json.dumps(dict(self.options), sort_keys=True, default=str)}"

    @cached_property
    def id(self) -> int:
        """The int4 that stands beside every vector, hashed from what makes vectors comparable, so that
        staging and production agree."""
        return _hash_int4(
            self.key, self.dimensions, self.normalised, self.document_prompt, self.query_prompt, self.max_tokens
        )


def bridge_model_id(source: Model, target: Model) -> int:
    """The id of vectors of ``source`` mapped into the space of ``target``: known before any bridge exists."""
    return _hash_int4("bridge", source.id, target.id)


def parse_model_key(text: str) -> tuple[str, str]:
    """``name@revision`` as two parts. Raises UsageError when either is missing."""
    name, at, revision = text.rpartition("@")
    if not at or not name or not revision:
        raise UsageError(f"{text!r} is not a model: write name@revision, such as minilm@1")
    return name, revision


@dataclass(frozen=True, kw_only=True)
class KeyColumn:
    """One column of a primary key."""

    name: str
    type: str
    """As ``format_type`` prints it, to cast text back."""


@dataclass(frozen=True, kw_only=True)
class Collection:
    """A registered table: one row, one vector."""

    id: int
    name: str
    group: str
    schema: str
    table: str
    key: tuple[KeyColumn, ...]
    text_columns: tuple[str, ...]
    text_separator: str = "\n\n"
    row_filter: str | None = None
    """A condition in SQL over the table's columns, unqualified; rows outside have no vector and are not counted."""
    filter_columns: tuple[str, ...] = ()
    """The columns that row_filter reads."""
    hide_stale: bool = False
    """``on_edit = hide``: searches leave out rows whose vector is of an earlier text."""

    @property
    def qualified(self) -> str:
        """``schema.table`` for people; SQL gets identifiers."""
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One versioned set of vectors of a collection."""

    id: int
    collection_id: int
    name: str
    model: Model
    bridge_model_id: int | None = None
    """The id that bridged vectors of this slot carry; None when no bridge can lead here."""
    placement: Placement
    schema: str
    table: str
    """Where the vectors stand: the user's table, or the companion."""
    vector_column: str
    model_column: str | None
    """None: the label is in the catalog only."""
    hash_column: str | None
    """None: the source as it was found; its texts are not recorded."""
    vector_type: str = "vector"
    text_separator: str = "\n\n"
    index_name: str | None = None
    maintained_by: Maintainer
    filled_at: datetime | None = None
    """When every row had a vector for the first time."""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """The way from one slot to another; open until closed_at."""

    id: int
    collection_id: int
    source_id: int
    target_id: int
    opened_at: datetime
    handover_at: datetime | None = None
    way_back_ends_at: datetime | None = None
    """Set when the old model was gone at handover: rows written since have no source vector."""
    no_way_back_accepted: str | None = None
    """Why a person goes on without a way back for those rows."""
    retired_at: datetime | None = None
    closed_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Route:
    """Which share of a group's requests the target gets. ``share_bp`` is in basis points, 0 to 10,000."""

    group: str
    share_bp: int
    epoch: int
    changed_at: datetime

    @property
    def percent(self) -> float:
        """The share from 0 to 100, as people type it."""
        return self.share_bp / 100


@dataclass(frozen=True, kw_only=True)
class ServingKey:
    """What a cache must carry: query vectors key on the model, answers on all three."""

    model: str
    slot: str
    epoch: int


class Embedding:
    """A vector that names its model: the only vector a search takes."""

    __slots__ = ("model", "values")

    def __init__(self, values: object, model: str) -> None:
        """``values``: (d,), any numeric sequence, kept as float32. ``model``: name@revision.

        Raises InvalidVectorError on NaN, infinity, all zeros or a shape that is not one vector;
        UsageError when ``model`` is not name@revision.
        """
        parse_model_key(model)
        array = np.asarray(values, dtype=np.float32)
        if array.ndim != 1 or array.size == 0:
            raise InvalidVectorError(f"an embedding is one vector, this has shape {array.shape}")
        # Finite and positive unless a value is NaN, infinite or beyond 1e19, or all are 0 or under 1e-23.
        if not 0 < array.dot(array) < np.inf and not (np.isfinite(array).all() and array.any()):
            raise InvalidVectorError(f"the embedding by {model} has NaN, infinity or only zeros")
        self.values: Floats = array
        self.model = model

    def __repr__(self) -> str:
        return f"Embedding({self.values.size} values, model={self.model!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Embedding):
            return NotImplemented
        return self.model == other.model and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash((self.model, self.values.tobytes()))

    def require_dimensions(self, model: Model) -> None:
        """Raises DimensionError unless the vector is as long as ``model`` says."""
        if self.values.size != model.dimensions:
            raise DimensionError(given=self.values.size, expected=model.dimensions, model=model.key)
