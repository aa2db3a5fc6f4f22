"""What a search must know of a collection, read in one snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from typing import Any

from embedmig.catalog.collections import collection_from_row
from embedmig.catalog.models import model_from_row
from embedmig.catalog.slots import slot_from_row
from embedmig.db import Connection, Queries
from embedmig.db.connection import AsyncConnection
from embedmig.errors import NotFoundError, RefusedError
from embedmig.types import Collection, Migration, Model, Route, Slot

QUERIES = Queries(__package__, "serving.sql")


@dataclass(frozen=True, kw_only=True)
class SlotIndex:
    """An ANN index over a slot's vectors."""

    name: str
    kind: str
    """``hnsw`` or ``ivfflat``."""
    opclass: str
    expression: str | None
    """What is indexed where it is not the column itself, as Postgres prints it."""
    valid: bool


@dataclass(frozen=True, kw_only=True)
class ServedAdapter:
    """A query adapter that stands before a slot."""

    id: int
    name: str
    model: Model
    """What queries are embedded with; the slot's own is what they are mapped to."""
    used_since: datetime
    unchanged: bool
    """Whether both models have the fingerprints of the fit; else it must not be applied."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A collection as searches see it. The epoch of ``route`` belongs to these slots."""

    collection: Collection
    route: Route
    group_size: int
    migration: Migration | None
    slots: tuple[Slot, ...]
    indexes: Mapping[int, tuple[SlotIndex, ...]]
    """By slot id."""
    failing: frozenset[int]
    """Ids of slots with failures that nobody has ignored."""
    bridged: frozenset[int] = frozenset()
    """Ids of slots that a bridge has filled, and that may hold bridged rows."""
    adapters: Mapping[int, ServedAdapter] = field(default_factory=dict)
    """By slot id: the query adapters in use."""
    known: tuple[str, ...] = field(default=(), compare=False)
    """Every collection there is, by name."""

    @cached_property
    def source(self) -> Slot:
        """The slot that the open migration leads from; with none open, the only slot."""
        source_id = None if self.migration is None else self.migration.source_id
        return next((slot for slot in self.slots if slot.id == source_id), self.slots[-1])

    @cached_property
    def target(self) -> Slot | None:
        """The slot that the open migration leads to; None when none is open."""
        target_id = None if self.migration is None else self.migration.target_id
        return next((slot for slot in self.slots if slot.id == target_id), None)

    def asked_model(self, slot: Slot) -> Model:
        """What a query for ``slot`` is embedded with: the slot's model, or that of the adapter which stands before
        it."""
        adapter = self.adapters.get(slot.id)
        return slot.model if adapter is None else adapter.model

    def adapter_for(self, slot: Slot, model: str) -> ServedAdapter | None:
        """The adapter that a query of ``model`` (name@revision) reaches ``slot`` through; None where it needs none, or
        none was made for exactly that pair."""
        adapter = self.adapters.get(slot.id)
        return adapter if adapter is not None and adapter.model.key == model != slot.model.key else None


def read_serving(conn: Connection, name: str) -> Serving:
    """Raises NotFoundError when there is no such collection, RefusedError when it has no slot."""
    row = conn.execute(QUERIES["read_serving"], {"name": name}).fetchone()
    assert row is not None
    return _from_row(name, row)


async def read_serving_async(conn: AsyncConnection, name: str) -> Serving:
    """The same on an async connection."""
    row = await (await conn.execute(QUERIES["read_serving"], {"name": name})).fetchone()
    assert row is not None
    return _from_row(name, row)


def _from_row(name: str, row: Mapping[str, Any]) -> Serving:
    found = row["serving"]
    if found is None:
        hint = f"register it, embedmig collection add {name}"
        raise NotFoundError("collection", name, known=row["known"], hint=hint)
    slots = tuple(slot_from_row(row | _dates(row)) for row in found["slots"])
    collection = collection_from_row(found["collection"])
    if not slots:
        raise RefusedError(f"collection {collection.name} has no slot to search: embedmig status {collection.name}")
    return Serving(
        collection=collection,
        route=_route(found["route"]),
        group_size=found["group_size"],
        migration=_migration(found["migration"]),
        slots=slots,
        indexes={row["id"]: tuple(SlotIndex(**index) for index in row["indexes"]) for row in found["slots"]},
        failing=frozenset(row["id"] for row in found["slots"] if row["failing"]),
        bridged=frozenset(row["id"] for row in found["slots"] if row["bridged"]),
        adapters={row["id"]: _adapter(row["adapter"]) for row in found["slots"] if row["adapter"] is not None},
        known=tuple(row["known"]),
    )


def _route(row: Mapping[str, Any]) -> Route:
    return Route(
        group=row["group_name"],
        share_bp=row["share_bp"],
        epoch=row["epoch"],
        changed_at=datetime.fromisoformat(row["changed_at"]),
    )


def _migration(row: Mapping[str, Any] | None) -> Migration | None:
    if row is None:
        return None
    values: dict[str, Any] = {name: _time(value) if name.endswith("_at") else value for name, value in row.items()}
    return Migration(**values)


def _adapter(row: Mapping[str, Any]) -> ServedAdapter:
    model: dict[str, Any] = row["model"]
    ends_on = model["ends_on"]
    return ServedAdapter(
        id=row["id"],
        name=row["name"],
        model=model_from_row(model | {"ends_on": None if ends_on is None else date.fromisoformat(ends_on)}),
        used_since=datetime.fromisoformat(row["used_since"]),
        unchanged=row["unchanged"],
    )


def _dates(row: Mapping[str, Any]) -> dict[str, Any]:
    ends_on = row["m_ends_on"]
    return {
        "filled_at": _time(row["filled_at"]),
        "m_ends_on": None if ends_on is None else date.fromisoformat(ends_on),
    }


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)
