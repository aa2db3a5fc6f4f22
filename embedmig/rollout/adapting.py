"""Puts a query adapter before a slot, and takes it away: every planned search is planned anew."""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from embedmig.adapters import LinearAdapter
from embedmig.adapters.keeping import open_adapter, require_unchanged
from embedmig.catalog import adapters, migrations, routes, slots
from embedmig.catalog.adapters import KeptAdapter
from embedmig.catalog.events import log_event
from embedmig.catalog.models import get_model
from embedmig.db import Connection
from embedmig.errors import AdapterUnusableError, EmbedmigError, RefusedError
from embedmig.rollout.facts import slots_of
from embedmig.types import Collection, ModelState, Slot


@dataclass(frozen=True, kw_only=True)
class Placed:
    """What stands before a slot now."""

    collection: str
    slot: str
    slot_model: str
    was: str
    """What queries were embedded with."""
    asked_model: str
    """What they are embedded with from now on."""
    adapter: str | None
    changed: bool
    epoch: int
    share: float | None = None
    """Of the new model's ranking that the adapter keeps, held out."""
    gone: bool = False
    """Whether the model that queries are embedded with is gone, so that none can be."""


@dataclass(frozen=True, kw_only=True)
class ReadyAdapter:
    """An adapter that was opened and may stand before its slot."""

    kept: KeptAdapter
    slot: Slot


def prepare(conn: Connection, collection: Collection, kept: KeptAdapter) -> ReadyAdapter:
    """Opens a query adapter for the slot that it leads to, and writes its map out for searches from SQL: that may be
    megabytes, and is of no effect yet.

    Raises RefusedError when it is a bridge, when no live slot holds vectors of its model, or when its own model is
    gone; AdapterUnusableError when either model has another fingerprint now, or its bytes are damaged.
    """
    if kept.direction != "query":
        raise RefusedError(
            f"{kept.name} is a bridge: it maps stored vectors, embedmig bridge {collection.name}, and stands before no"
            " slot"
        )
    require_unchanged(kept)
    slot = next((one for one in slots.list_slots(conn, collection) if one.model.key == kept.to_model), None)
    if slot is None:
        raise RefusedError(f"{kept.name} leads to {kept.to_model}, and no slot of {collection.name} holds its vectors")
    if get_model(conn, kept.from_model).state is ModelState.GONE:
        raise RefusedError(f"{kept.from_model} is gone: no query can be embedded with it, to be mapped by {kept.name}")
    opened = open_adapter(adapters.read_body(conn, kept))
    made = opened.provenance
    if (made.direction, made.source_model, made.target_model) != (kept.direction, kept.from_model, kept.to_model):
        raise AdapterUnusableError(
            f"{kept.name} is kept as a map from {kept.from_model} to {kept.to_model}, and its bytes are one from"
            f" {made.source_model} to {made.target_model}: fit it again, embedmig adapter fit"
        )
    if not isinstance(opened.adapter, LinearAdapter):
        raise AdapterUnusableError(f"{kept.name} is no linear map: fit a query adapter, embedmig adapter fit")
    with conn.transaction():
        adapters.write_outputs(conn, kept, opened.adapter.weights_, opened.adapter.bias_)
    return ReadyAdapter(kept=kept, slot=slot)


def place(conn: Connection, collection: Collection, ready: ReadyAdapter, *, why: str | None = None) -> None:
    """Puts the adapter before its slot and logs it, in the caller's transaction. The caller raises the epoch."""
    before = asked_with(conn, collection, ready.slot)
    adapters.mark_used(conn, ready.kept, ready.slot)
    score = ready.kept.score
    log_event(
        conn,
        "adapter use",
        collection.name,
        was=before,
        became=ready.kept.from_model,
        why=why,
        adapter=ready.kept.name,
        slot=ready.slot.name,
        share=None if score is None else score["share"],
    )


def use(conn: Connection, collection: Collection, name: str) -> Placed:
    """Queries of the adapter's model are answered by its slot from the commit on. Raises as ``prepare`` does."""
    ready = prepare(conn, collection, adapters.get_adapter(conn, collection, name))
    before = asked_with(conn, collection, ready.slot)
    changed = ready.kept.slot_id != ready.slot.id
    with conn.transaction():
        routes.lock_route(conn, collection.group)
        if changed:
            place(conn, collection, ready)
            routes.raise_epoch(conn, collection.group)
    return _placed(conn, collection, ready.slot, was=before, changed=changed)


def stop_using(conn: Connection, collection: Collection, name: str) -> Placed:
    """The slot is asked with its own model again. Raises RefusedError when the adapter stands before none."""
    with conn.transaction():
        routes.lock_route(conn, collection.group)
        kept = adapters.get_adapter(conn, collection, name)
        slot = _slot_of(conn, collection, kept)
        if slot is None or kept.direction != "query":
            raise RefusedError(f"{kept.name} of {collection.name} stands before no slot: there is nothing to undo")
        adapters.mark_unused(conn, slot, kept.direction)
        routes.raise_epoch(conn, collection.group)
        log_event(
            conn,
            "adapter use --undo",
            collection.name,
            was=kept.from_model,
            became=slot.model.key,
            adapter=kept.name,
            slot=slot.name,
        )
    return _placed(conn, collection, slot, was=kept.from_model, changed=True)


def drop(conn: Connection, collection: Collection, name: str, *, even_if_needed: bool = False) -> Placed | None:
    """Forgets an adapter; gives what stands before its slot then, None where it stood before none.

    Raises RefusedError when it is in use before a slot whose own model is gone, unless ``even_if_needed``: no query
    would reach that slot any more; and for a bridge whose vectors stand in a slot: another would be mixed with it.
    """
    with conn.transaction():
        routes.lock_route(conn, collection.group)
        kept = adapters.get_adapter(conn, collection, name)
        slot = _slot_to_leave(conn, collection, kept, even_if_needed=even_if_needed)
        adapters.mark_dropped(conn, kept)
        if slot is not None:
            routes.raise_epoch(conn, collection.group)
        was = "kept" if slot is None else f"before {slot.name}"
        log_event(conn, "adapter drop", collection.name, was=was, became="dropped", adapter=name)
    return None if slot is None else _placed(conn, collection, slot, was=kept.from_model, changed=True)


def _slot_to_leave(conn: Connection, collection: Collection, kept: KeptAdapter, *, even_if_needed: bool) -> Slot | None:
    """The slot that a query adapter to be dropped stands before. Raises RefusedError as ``drop`` does."""
    if kept.direction == "bridge":
        if kept.in_use:
            raise RefusedError(
                f"{kept.name} is the bridge that {kept.slot} of {collection.name} was filled by: embedmig reembed"
                f" {collection.name} replaces the last of its vectors first, or embedmig expand {collection.name}"
                " --undo"
            )
        return None
    slot = _slot_of(conn, collection, kept)
    if slot is not None and slot.model.state is ModelState.GONE and not even_if_needed:
        raise RefusedError(
            f"slot {slot.name} of {collection.name} holds vectors of {slot.model.key}, which is gone: without"
            f" {kept.name} no query could be embedded for it. To drop it all the same, say --yes"
        )
    return slot


def asked_with(conn: Connection, collection: Collection, slot: Slot) -> str:
    """name@revision of what queries for ``slot`` are embedded with."""
    standing = adapters.used_adapter(conn, collection, slot, "query")
    return slot.model.key if standing is None else standing.from_model


def adapters_for_way_back(
    conn: Connection, members: Sequence[Collection]
) -> tuple[list[tuple[Collection, ReadyAdapter]], list[str]]:
    """For each member whose old model is gone and has no adapter before its source: the newest that can stand there,
    leading from the target's model; and, one sentence each, whose queries no adapter can bring back. Never raises what
    is wrong with an adapter: a rollback goes on without it."""
    ready, lacking = [], []
    for member in members:
        source, target = slots_of(conn, member, migrations.find_migration(conn, member))
        if source.model.state is not ModelState.GONE or adapters.used_adapter(conn, member, source, "query"):
            continue
        asked = source.model.key if target is None else target.model.key
        found, why_not = _first_ready(conn, member, from_model=asked, to_model=source.model.key)
        if found is None:
            lacking.append(
                f"{source.model.key} is gone, so that no text can be embedded for slot {source.name} of {member.name},"
                f" and {why_not}: embedmig adapter fit {member.name}, then embedmig adapter use"
            )
        else:
            ready.append((member, found))
    return ready, lacking


def _first_ready(
    conn: Connection, member: Collection, *, from_model: str, to_model: str
) -> tuple[ReadyAdapter | None, str]:
    why_not = f"no adapter leads to it from {from_model}"
    for kept in adapters.list_adapters(conn, member):
        if (kept.direction, kept.from_model, kept.to_model) != ("query", from_model, to_model):
            continue
        try:
            return prepare(conn, member, kept), ""
        except (EmbedmigError, psycopg.Error) as error:
            why_not = f"adapter {kept.name} cannot be used ({error})"
    return None, why_not


def _slot_of(conn: Connection, collection: Collection, kept: KeptAdapter) -> Slot | None:
    return next((slot for slot in slots.list_slots(conn, collection) if slot.id == kept.slot_id), None)


def _placed(conn: Connection, collection: Collection, slot: Slot, *, was: str, changed: bool) -> Placed:
    standing = adapters.used_adapter(conn, collection, slot, "query")
    asked = slot.model if standing is None else get_model(conn, standing.from_model)
    score = None if standing is None else standing.score
    return Placed(
        collection=collection.name,
        slot=slot.name,
        slot_model=slot.model.key,
        was=was,
        asked_model=asked.key,
        adapter=None if standing is None else standing.name,
        changed=changed,
        epoch=routes.get_route(conn, collection.group).epoch,
        share=None if score is None else score["share"],
        gone=asked.state is ModelState.GONE,
    )
