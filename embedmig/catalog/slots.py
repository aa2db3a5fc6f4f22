"""The versioned sets of vectors."""

from dataclasses import replace
from typing import Any

from embedmig.catalog.models import model_from_row
from embedmig.db import Connection, Queries
from embedmig.errors import NotFoundError
from embedmig.types import Collection, Maintainer, Placement, Slot

QUERIES = Queries(__package__, "slots.sql")


def add_slot(conn: Connection, slot: Slot) -> Slot:
    """Writes a slot; the result has its id."""
    row = conn.execute(QUERIES["insert_slot"], _values(slot)).fetchone()
    assert row is not None
    return replace(slot, id=row["id"])


def list_slots(conn: Connection, collection: Collection) -> list[Slot]:
    """The live slots, oldest first."""
    return [slot_from_row(row) for row in conn.execute(QUERIES["list_slots"], {"collection_id": collection.id})]


def get_slot(conn: Connection, collection: Collection, name: str) -> Slot:
    """The live slot of that name. Raises NotFoundError that lists those there are."""
    slots = list_slots(conn, collection)
    for slot in slots:
        if slot.name == name:
            return slot
    raise NotFoundError("slot", f"{name} of {collection.name}", known=[slot.name for slot in slots])


def next_slot_name(conn: Connection, collection: Collection) -> str:
    """``v1``, ``v2``, ...: never a name that was used before."""
    row = conn.execute(QUERIES["next_number"], {"collection_id": collection.id}).fetchone()
    assert row is not None
    return f"v{row['number']}"


def update_slot(conn: Connection, slot: Slot) -> None:
    """Writes names, maintainer, index and filled_at; what a slot is (model, placement, type) never changes."""
    conn.execute(QUERIES["update_slot"], _values(slot) | {"id": slot.id})


def set_index(conn: Connection, slot: Slot, name: str) -> None:
    """Writes the index's name alone: since ``slot`` was read it may have been filled, or handed over."""
    conn.execute(QUERIES["set_index"], {"id": slot.id, "index_name": name})


def set_maintainer(conn: Connection, slot: Slot, maintainer: Maintainer) -> None:
    """Writes who maintains the slot, and nothing else of it."""
    conn.execute(QUERIES["set_maintainer"], {"id": slot.id, "maintained_by": maintainer.value})


def mark_filled(conn: Connection, slot: Slot) -> bool:
    """Notes that every row has a vector, the first time; False when that was noted before."""
    return conn.execute(QUERIES["mark_filled"], {"id": slot.id}).fetchone() is not None


def drop_slot(conn: Connection, slot: Slot) -> None:
    """Marks a slot as gone and forgets the work that was queued for it. Touches nothing of the user's."""
    conn.execute(QUERIES["drop_slot"], {"id": slot.id})
    conn.execute(QUERIES["forget_work"], {"id": slot.id})


def forget_work(conn: Connection, slot: Slot) -> None:
    """Forgets queued keys, chunks and failures of a slot that embedmig no longer maintains."""
    conn.execute(QUERIES["forget_work"], {"id": slot.id})


def _values(slot: Slot) -> dict[str, Any]:
    return {
        "collection_id": slot.collection_id,
        "name": slot.name,
        "model_id": slot.model.id,
        "bridge_model_id": slot.bridge_model_id,
        "placement": slot.placement.value,
        "table_schema": slot.schema,
        "table_name": slot.table,
        "vector_column": slot.vector_column,
        "model_column": slot.model_column,
        "hash_column": slot.hash_column,
        "vector_type": slot.vector_type,
        "text_separator": slot.text_separator,
        "index_name": slot.index_name,
        "maintained_by": slot.maintained_by.value,
        "filled_at": slot.filled_at,
    }


def slot_from_row(row: dict[str, Any]) -> Slot:
    """A Slot from a row of its table, with its model's columns behind ``m_``."""
    return Slot(
        id=row["id"],
        collection_id=row["collection_id"],
        name=row["name"],
        model=model_from_row(row, prefix="m_"),
        bridge_model_id=row["bridge_model_id"],
        placement=Placement(row["placement"]),
        schema=row["table_schema"],
        table=row["table_name"],
        vector_column=row["vector_column"],
        model_column=row["model_column"],
        hash_column=row["hash_column"],
        vector_type=row["vector_type"],
        text_separator=row["text_separator"],
        index_name=row["index_name"],
        maintained_by=Maintainer(row["maintained_by"]),
        filled_at=row["filled_at"],
    )
