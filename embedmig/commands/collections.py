"""collection add, list and show."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from embedmig.catalog.collections import add_collection, get_collection, list_collections, list_group
from embedmig.catalog.events import log_event
from embedmig.catalog.migrations import find_migration
from embedmig.catalog.models import get_model
from embedmig.catalog.routes import ensure_route, get_route
from embedmig.catalog.slots import add_slot, list_slots
from embedmig.db import Connection, Database
from embedmig.db.connection import require_server
from embedmig.errors import ConflictError, NotFoundError, RefusedError, UsageError
from embedmig.schema.adopting import adopt_target, find_leftovers
from embedmig.schema.inspection import AnnIndex, describe_table, find_ann_indexes
from embedmig.schema.registering import Registration, design_registration
from embedmig.settings import load_settings
from embedmig.types import Collection, Migration, Model, Route, Slot


@dataclass(frozen=True, kw_only=True)
class CollectionAdded:
    """What ``collection add`` registered."""

    collection: Collection
    slot: Slot
    created: bool
    """False: the same was registered before."""
    rows: int
    rows_are_exact: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CollectionShown:
    """A collection with its slots, and where its requests go."""

    collection: Collection
    slots: tuple[Slot, ...]
    migration: Migration | None
    route: Route
    rows: int | None
    """None: the table is gone."""
    rows_are_exact: bool
    indexes: tuple[AnnIndex, ...]
    """Every index for nearest neighbours on the user's table and the companions."""


def collection_add(
    db: Database,
    name: str | None = None,
    *,
    table: str,
    text: Sequence[str],
    embedding: str,
    model: str,
    where: str | None = None,
    separator: str = "\n\n",
    group: str | None = None,
    on_edit: str = "serve",
) -> CollectionAdded:
    """Registers a table of the user's and changes nothing on it. Repeating it changes nothing.

    ``where`` is a condition in SQL over the table's own columns; ``on_edit`` is ``serve`` or ``hide``.
    Raises UsageError (or a child) for what cannot be, ConflictError for a name that means something else already.
    """
    if on_edit not in ("serve", "hide"):
        raise UsageError(f"--on-edit is serve or hide, not {on_edit!r}")
    with db.connect(patience=load_settings()) as conn:
        require_server(conn)
        wanted = design_registration(
            conn,
            name=name,
            table_text=table,
            text_columns=text,
            embedding=embedding,
            model=get_model(conn, model),
            row_filter=where,
            separator=separator,
            group=group,
            hide_stale=on_edit == "hide",
        )
        return _register(conn, wanted)


def collection_list(db: Database) -> list[CollectionShown]:
    """Every collection, by name."""
    with db.connect(patience=load_settings()) as conn:
        return [_show(conn, collection) for collection in list_collections(conn)]


def collection_show(db: Database, collection: str) -> CollectionShown:
    """One collection. Raises NotFoundError that lists those there are."""
    with db.connect(patience=load_settings()) as conn:
        return _show(conn, get_collection(conn, collection))


def _register(conn: Connection, wanted: Registration) -> CollectionAdded:
    collection, slot, facts, notes = wanted.collection, wanted.slot, wanted.facts, wanted.notes
    if there := _find_same(conn, wanted):
        collection, slot, created = *there, False
    else:
        with conn.transaction():
            _require_free(conn, wanted)
            ensure_route(conn, collection.group)
            collection = add_collection(conn, collection)
            slot = add_slot(conn, replace(slot, collection_id=collection.id))
            log_event(
                conn,
                "collection add",
                collection.name,
                became=slot.name,
                table=collection.qualified,
                model=slot.model.key,
            )
            notes += _adopt(conn, wanted, collection, slot)
        created = True
    return CollectionAdded(
        collection=collection,
        slot=slot,
        created=created,
        rows=facts.rows,
        rows_are_exact=facts.rows_are_exact,
        notes=notes,
    )


def _adopt(conn: Connection, wanted: Registration, collection: Collection, slot: Slot) -> tuple[str, ...]:
    leftovers = find_leftovers(conn, collection, wanted.facts, slot.vector_column)
    if len(leftovers) > 1:
        names = ", ".join(f"{leftover.schema}.{leftover.table} ({leftover.slot})" for leftover in leftovers)
        raise ConflictError(f"several slots of earlier revisions are left ({names}): drop those that nobody needs")
    for leftover in leftovers:
        adopt_target(conn, collection, slot, leftover)
    return tuple(
        f"slot {leftover.slot} by {leftover.model} was there from a revision: adopted as the target"
        for leftover in leftovers
    )


def _find_same(conn: Connection, wanted: Registration) -> tuple[Collection, Slot] | None:
    """The collection and its first slot, when the same is registered already. Raises ConflictError for another one
    under its name."""
    try:
        there = get_collection(conn, wanted.collection.name)
    except NotFoundError:
        return None
    slots = list_slots(conn, there)
    same = replace(there, id=0) == wanted.collection and any(
        (slot.vector_column, slot.model.key) == (wanted.slot.vector_column, wanted.slot.model.key) for slot in slots
    )
    if not same:
        raise ConflictError(
            f"collection {there.name} exists, for {there.qualified}, with another definition: choose another name,"
            f" or see embedmig collection show {there.name}"
        )
    return there, slots[0]


def _require_free(conn: Connection, wanted: Registration) -> None:
    """Raises ConflictError when the same vectors are another collection's, RefusedError or UsageError when the group
    cannot take a member now."""
    collection, slot = wanted.collection, wanted.slot
    for other in list_collections(conn):
        same_table = (other.schema, other.table) == (collection.schema, collection.table)
        if same_table and other.row_filter == collection.row_filter:
            columns = [known.vector_column for known in list_slots(conn, other)]
            if slot.vector_column in columns:
                raise ConflictError(f"{collection.qualified}.{slot.vector_column} is registered as {other.name}")
    members = list_group(conn, collection.group)
    if members:
        _require_joinable(conn, members, slot.model, collection.group)


def _require_joinable(conn: Connection, members: Sequence[Collection], model: Model, group: str) -> None:
    route = get_route(conn, group)
    if route.share_bp:
        raise RefusedError(
            f"the route of group {group} is at {route.percent:g} %: a new member has no target to send requests to."
            " Add it when the route is at 0"
        )
    for member in members:
        first = list_slots(conn, member)[0]
        if first.model.key != model.key:
            raise UsageError(
                f"group {group} answers one query with the vectors of one model: {member.name} has {first.model.key},"
                f" this has {model.key}"
            )


def _show(conn: Connection, collection: Collection) -> CollectionShown:
    slots = list_slots(conn, collection)
    try:
        facts = describe_table(conn, collection.schema, collection.table)
    except NotFoundError:
        facts = None
    places = dict.fromkeys([(collection.schema, collection.table), *((slot.schema, slot.table) for slot in slots)])
    return CollectionShown(
        collection=collection,
        slots=tuple(slots),
        migration=find_migration(conn, collection),
        route=get_route(conn, collection.group),
        rows=None if facts is None else facts.rows,
        rows_are_exact=facts is not None and facts.rows_are_exact,
        indexes=tuple(index for place in places for index in find_ann_indexes(conn, *place)),
    )
