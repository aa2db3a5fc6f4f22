"""What a caller asks of a search, checked before anything is sent. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from embedmig.errors import UnversionedVectorError, UsageError
from embedmig.search.filters import Where
from embedmig.search.routing import require_routing_key
from embedmig.types import Embedding


class SearchOptions(TypedDict, total=False):
    """The keywords that every search takes, sync or async."""

    routing_key: str | None
    """Whose request it is: one key sees one slot. Without it a text routes by itself; an Embedding goes to the source
    below a share of 100 and to the target at 100."""
    where: Where
    """A condition on the rows: a SQLAlchemy expression over the user's table, or SQL over its column names."""
    params: Mapping[str, Any] | None
    """The values of a condition in SQL, by name."""
    columns: Sequence[str]
    """Columns of the row to give with each hit."""
    max_distance: float | Mapping[str, float] | None
    """Leaves out hits farther than this, by slot: ``{"v1": 0.6, "v2": 0.4}``. One number is refused while two slots
    live: the scales of two models differ."""
    ef_search: int | None
    """How many candidates HNSW keeps, 1 to 1,000; never less than k."""
    exact: bool
    """Compare every row that the filter leaves instead of asking the index: for filters that leave few."""
    label: str | None
    """What kind of request it is, of a few dozen kinds at most: shadow reads take some of every kind."""


class SearchRequest(NamedTuple):
    """A search as asked for. Either ``text`` or ``embedding`` is set."""

    text: str | None
    embedding: Embedding | None
    k: int
    routing_key: str | None
    where: Where
    params: Mapping[str, Any] | None
    columns: tuple[str, ...]
    max_distance: float | Mapping[str, float] | None
    ef_search: int | None
    exact: bool
    label: str | None


def make_request(
    query: object,
    k: object = 10,
    *,
    routing_key: str | None = None,
    where: Where = None,
    params: Mapping[str, Any] | None = None,
    columns: Sequence[str] = (),
    max_distance: float | Mapping[str, float] | None = None,
    ef_search: int | None = None,
    exact: bool = False,
    label: str | None = None,
) -> SearchRequest:
    """Raises UnversionedVectorError for a vector without its model, UsageError for what else cannot be asked."""
    embedding = query if isinstance(query, Embedding) else None
    text = None if embedding is not None else require_text(query)
    if isinstance(columns, str):
        raise UsageError(f"columns is a list of names: columns=[{columns!r}]")
    if where is None and params is not None:
        raise UsageError("params without where: there is no condition that they belong to")
    # By place: by name it would take as long as all the checks.
    return SearchRequest(
        text,
        embedding,
        _require_whole("k", k, 1, 100_000),
        text if routing_key is None else require_routing_key(routing_key),
        where,
        params,
        tuple(columns),
        max_distance,
        None if ef_search is None else _require_whole("ef_search", ef_search, 1, 1000),
        exact,
        None if label is None else _require_label(label),
    )


def require_text(query: object) -> str:
    """Raises UnversionedVectorError for what looks like a vector, UsageError for what is no text or empty."""
    if isinstance(query, str):
        if not query.strip():
            raise UsageError("the query is empty: there is nothing to embed")
        return query
    if isinstance(query, Sequence) or any(hasattr(query, way) for way in ("__array__", "to_numpy", "tolist")):
        raise UnversionedVectorError(type(query).__name__)
    raise UsageError(f"a query is text or an Embedding, not {type(query).__name__}")


def _require_label(label: object) -> str:
    if isinstance(label, str):
        return label
    raise UsageError(f"a label is text, such as 'autocomplete', not {type(label).__name__}")


def _require_whole(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    raise UsageError(f"{name} is a whole number from {low:,} to {high:,}, not {value!r}")
