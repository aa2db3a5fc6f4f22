"""Queries of the model that an adapter was made for, mapped to where the slot's own model would have put them."""

from collections.abc import Mapping
from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

from embedmig.catalog.adapters import body_from_row
from embedmig.catalog.serving import ServedAdapter
from embedmig.errors import AdapterUnusableError, RefusedError
from embedmig.types import Embedding, Floats, Slot

if TYPE_CHECKING:
    from embedmig.adapters import StoredAdapter

_KEPT = 16
"""Adapters that one searcher keeps open; more than one for each slot is what was used before."""


class MappedQuery(NamedTuple):
    """A query as the slot is asked it."""

    values: Floats
    """(d,) in the space of the slot's model."""
    adapter: str
    is_far: bool
    """Whether it lies far from everything that the adapter was fitted on."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What hits say of it."""
        if not self.is_far:
            return ()
        return (f"the query lies far from everything that adapter {self.adapter} was fitted on: the map only guesses",)


class OpenAdapters:
    """Of one searcher. An adapter never changes, so it is read once; threads may read the same one twice."""

    def __init__(self) -> None:
        self._open: dict[int, StoredAdapter] = {}

    def find(self, served: ServedAdapter) -> "StoredAdapter | None":
        """The adapter, if it was opened before. Raises AdapterUnusableError when either of its models has another
        fingerprint now."""
        if not served.unchanged:
            raise AdapterUnusableError(
                f"adapter {served.name} was made for {served.model.key} and the slot's model with other fingerprints"
                " than they have now: it would map into the wrong place. Fit it again: embedmig adapter fit"
            )
        return self._open.get(served.id)

    def open(self, served: ServedAdapter, row: Mapping[str, Any] | None) -> "StoredAdapter":
        """From a row of ``catalog.adapters``' find_body. Raises RefusedError when it was dropped since the catalog was
        read, AdapterUnusableError as ``open_adapter`` does."""
        from embedmig.adapters.keeping import open_adapter

        if row is None:
            raise RefusedError(f"adapter {served.name} was dropped: read the catalog again")
        opened = open_adapter(body_from_row(row))
        if len(self._open) >= _KEPT:
            self._open.clear()
        self._open[served.id] = opened
        return opened


def map_query(embedding: Embedding, served: ServedAdapter, opened: "StoredAdapter", slot: Slot) -> MappedQuery:
    """Raises AdapterUnusableError unless the adapter leads from the query's model to the slot's, DimensionError for
    another length, AdapterInputError for what it maps nowhere."""
    made_for = opened.provenance.source_model, opened.provenance.target_model
    if made_for != (embedding.model, slot.model.key) or opened.provenance.direction != "query":
        raise AdapterUnusableError(
            f"adapter {served.name} leads from {made_for[0]} to {made_for[1]}: a query of {embedding.model} does not"
            f" reach slot {slot.name} ({slot.model.key}) through it"
        )
    embedding.require_dimensions(served.model)
    adapter = opened.adapter
    values: Floats = adapter.transform_one(embedding.values)  # type: ignore[union-attr]  # text bridges are no queries'
    return MappedQuery(values=values, adapter=served.name, is_far=_is_far(embedding.values, opened))


def _is_far(values: Floats, opened: "StoredAdapter") -> bool:
    if opened.farness is None:
        return False
    if opened.adapter.normalise:
        values = values / sqrt(values.dot(values))
    return bool(opened.farness.are_far(values[None, :])[0])
