"""Kept adapters: what each was made from and for, its bytes, and the slot that it stands at."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from embedmig.db import Connection, Queries
from embedmig.errors import ConflictError, NotFoundError
from embedmig.types import Collection, Floats, Model, Slot

QUERIES = Queries(__package__, "adapters.sql")

DirectionName = Literal["query", "bridge"]


@dataclass(frozen=True, kw_only=True)
class KeptAdapter:
    """An adapter as it is kept, without its bytes. What was fitted never changes."""

    id: int
    collection_id: int
    name: str
    direction: DirectionName
    from_model: str
    """name@revision of the vectors that it takes."""
    to_model: str
    """name@revision of the space that it leads to."""
    kind: str
    normalise: bool
    provenance: Mapping[str, Any]
    """As ``embedmig.adapters.storage.Provenance`` in JSON, and what the fit said beside."""
    health: Mapping[str, Any] | None
    """The last comparison of fresh pairs with those of the fit."""
    size_bytes: int | None
    created_at: datetime
    slot: str | None
    """query: the slot that is asked through it; bridge: the slot that it has filled. None while it is not used."""
    slot_id: int | None
    used_since: datetime | None
    dropped_at: datetime | None
    from_changed: bool
    """Whether that model has another fingerprint now than at the fit: then the adapter must not be applied."""
    to_changed: bool

    @property
    def in_use(self) -> bool:
        """Whether it stands at a slot."""
        return self.used_since is not None and self.dropped_at is None

    @property
    def score(self) -> Mapping[str, Any] | None:
        """Its own, held out: ``share``, ``interval``, ``top_10``, ``residuals`` (as ``CandidateScore``)."""
        scores: list[Mapping[str, Any]] = self.provenance.get("scores", [])
        return next((score for score in scores if score["kind"] == self.kind), None)


@dataclass(frozen=True, kw_only=True)
class AdapterBody:
    """The bytes of an adapter, and its models' fingerprints as they are registered now."""

    body: bytes
    fingerprints: Mapping[str, bytes | None]
    """By name@revision, as ``embedders.Fingerprint.from_bytes`` reads them; None: the model has none."""


def add_adapter(
    conn: Connection,
    collection: Collection,
    *,
    name: str | None,
    direction: DirectionName,
    from_model: Model,
    to_model: Model,
    kind: str,
    normalise: bool,
    body: bytes,
    provenance: Mapping[str, Any],
) -> KeptAdapter:
    """Keeps an adapter; ``name``: None for the next of ``a1``, ``a2``, ... Raises ConflictError when it is taken."""
    values = {
        "collection_id": collection.id,
        "name": next_adapter_name(conn, collection) if name is None else name,
        "direction": direction,
        "from_model_id": from_model.id,
        "to_model_id": to_model.id,
        "kind": kind,
        "normalise": normalise,
        "body": body,
        "provenance": Jsonb(dict(provenance)),
    }
    if conn.execute(QUERIES["insert_adapter"], values).fetchone() is None:
        raise _taken(collection, str(values["name"]))
    return get_adapter(conn, collection, str(values["name"]))


def require_free_name(conn: Connection, collection: Collection, name: str) -> None:
    """Raises ConflictError when an adapter of that name is kept."""
    if any(one.name == name for one in list_adapters(conn, collection)):
        raise _taken(collection, name)


def _taken(collection: Collection, name: str) -> ConflictError:
    return ConflictError(f"{collection.name} has an adapter {name} already: give another name, or drop that one")


def next_adapter_name(conn: Connection, collection: Collection) -> str:
    """``a1``, ``a2``, ...: never a name that was used before."""
    row = conn.execute(QUERIES["next_number"], {"collection_id": collection.id}).fetchone()
    assert row is not None
    return f"a{row['number']}"


def list_adapters(conn: Connection, collection: Collection, *, dropped: bool = False) -> list[KeptAdapter]:
    """The newest first; ``dropped``: those that were dropped too."""
    values = {"collection_id": collection.id, "dropped": dropped}
    return [KeptAdapter(**row) for row in conn.execute(QUERIES["list_adapters"], values)]


def get_adapter(conn: Connection, collection: Collection, name: str) -> KeptAdapter:
    """The adapter of that name that was not dropped. Raises NotFoundError that lists those there are."""
    kept = list_adapters(conn, collection)
    for adapter in kept:
        if adapter.name == name:
            return adapter
    raise NotFoundError("adapter", f"{name} of {collection.name}", known=[adapter.name for adapter in kept])


def used_adapter(conn: Connection, collection: Collection, slot: Slot, direction: DirectionName) -> KeptAdapter | None:
    """The one of ``direction`` that stands at ``slot``."""
    kept = list_adapters(conn, collection)
    return next((one for one in kept if one.in_use and (one.slot_id, one.direction) == (slot.id, direction)), None)


def read_body(conn: Connection, adapter: KeptAdapter) -> AdapterBody:
    """Raises NotFoundError when it was dropped meanwhile."""
    row = conn.execute(QUERIES["find_body"], {"id": adapter.id}).fetchone()
    if row is None:
        raise NotFoundError("adapter", adapter.name, hint="it was dropped meanwhile")
    return body_from_row(row)


def body_from_row(row: Mapping[str, Any]) -> AdapterBody:
    """A row of ``find_body``."""
    return AdapterBody(
        body=bytes(row["body"]),
        fingerprints={row["from_model"]: row["from_fingerprint"], row["to_model"]: row["to_fingerprint"]},
    )


def mark_used(conn: Connection, adapter: KeptAdapter, slot: Slot) -> None:
    """Puts it at ``slot``, in the place of another of its direction. The caller raises the epoch and logs.

    Raises NotFoundError when it was dropped meanwhile.
    """
    if adapter.slot_id == slot.id:
        return
    mark_unused(conn, slot, adapter.direction)
    if not conn.execute(QUERIES["mark_used"], {"id": adapter.id, "slot_id": slot.id}).rowcount:
        raise NotFoundError("adapter", adapter.name, hint="it was dropped meanwhile")


def mark_unused(conn: Connection, slot: Slot, direction: DirectionName) -> None:
    """Takes whatever adapter of ``direction`` stands at ``slot`` away from it. The caller raises the epoch and logs."""
    conn.execute(QUERIES["mark_unused"], {"slot_id": slot.id, "direction": direction})


def mark_dropped(conn: Connection, adapter: KeptAdapter) -> None:
    """Forgets its bytes; the record stays. The caller raises the epoch, if it was in use, and logs."""
    conn.execute(QUERIES["delete_outputs"], {"adapter_id": adapter.id})
    conn.execute(QUERIES["mark_dropped"], {"id": adapter.id})


def note_health(conn: Connection, adapter: KeptAdapter, health: Mapping[str, Any]) -> None:
    """Keeps the last comparison of fresh pairs with those of the fit."""
    conn.execute(QUERIES["note_health"], {"id": adapter.id, "health": Jsonb(dict(health))})


def write_outputs(conn: Connection, adapter: KeptAdapter, weights: Floats, bias: Floats | None) -> None:
    """The map of a query adapter, ``weights`` (d_from, d_to) and ``bias`` (d_to,), for searches from SQL."""
    outputs = [
        {
            "adapter_id": adapter.id,
            "position": position,
            "weights": column,
            "bias": 0.0 if bias is None else float(bias[position]),
        }
        for position, column in enumerate(weights.T)
    ]
    with conn.cursor() as cursor:
        cursor.executemany(QUERIES["insert_output"], outputs)
