"""What a target slot will be: its names, types and placement. Reads the database, changes nothing."""

from psycopg import sql

from embedmig.catalog.slots import next_slot_name
from embedmig.db import Connection, Queries
from embedmig.errors import UnsupportedError, UsageError
from embedmig.schema import naming
from embedmig.schema.inspection import placement_facts
from embedmig.schema.placement import choose_placement
from embedmig.schema.slot_arguments import SlotArguments
from embedmig.types import Collection, Distance, Maintainer, Model, Placement, Slot, bridge_model_id

QUERIES = Queries(__package__, "designing.sql")

MAX_VECTOR_DIMENSIONS = 2_000
MAX_HALFVEC_DIMENSIONS = 4_000
MAX_DIMENSIONS = 16_000
"""pgvector's limits: of an index on vector, of an index on halfvec, of the type itself."""

_PAGE_BYTES = 7_800
_TOAST_BYTES = 1_900
_SHORT_KEYS = frozenset(("smallint", "integer", "bigint", "uuid", "date", "timestamp with time zone"))


def vector_type_of(model: Model) -> str:
    """``vector`` up to 2,000 dimensions, ``halfvec`` up to 4,000: the widest type that can be indexed as it is. Above,
    ``vector`` again, for a binary-quantised index with re-ranking. Raises UnsupportedError above 16,000."""
    if model.dimensions > MAX_DIMENSIONS:
        raise UnsupportedError(
            f"{model.key} has {model.dimensions:,} dimensions, and pgvector stores {MAX_DIMENSIONS:,} at most: have the"
            " provider shorten them, if it can"
        )
    if MAX_VECTOR_DIMENSIONS < model.dimensions <= MAX_HALFVEC_DIMENSIONS:
        return "halfvec"
    return "vector"


def indexing_of(model: Model) -> str:
    """How a slot of the model is stored and indexed, for people. Raises UnsupportedError above 16,000 dimensions."""
    stored = f"{vector_type_of(model)}({model.dimensions})"
    if model.dimensions <= MAX_HALFVEC_DIMENSIONS:
        return f"stored as {stored}, indexed as they are"
    if model.distance is Distance.L2:
        return f"stored as {stored}, in no index, for signs say nothing of l2 distance: searched exactly"
    return f"stored as {stored}, indexed by their signs (binary quantisation), and searches re-rank"


def resolve_placement(conn: Connection, collection: Collection, placement: Placement | None) -> tuple[Placement, str]:
    """The placement and why; None is ``auto``."""
    if placement is not None:
        return placement, "as asked for"
    return choose_placement(placement_facts(conn, collection.schema, collection.table))


def design_target(
    conn: Connection, collection: Collection, source: Slot, model: Model, placement: Placement | None = None
) -> Slot:
    """The slot that ``expand`` would make; its id is 0. ``placement`` None: ``auto``.

    Raises UsageError when the model is the source's own, ConflictError when a name is taken, UnsupportedError when one
    is too long or the model has too many dimensions.
    """
    if model.id == source.model.id:
        raise UsageError(
            f"slot {source.name} of {collection.name} is of {model.key} already: there is nothing to migrate"
        )
    placement, _ = resolve_placement(conn, collection, placement)
    name = next_slot_name(conn, collection)
    apart = placement is Placement.COMPANION
    column = naming.COMPANION_COLUMNS[0] if apart else naming.column_of(source, name)
    target = Slot(
        id=0,
        collection_id=collection.id,
        name=name,
        model=model,
        bridge_model_id=bridge_model_id(source.model, model),
        placement=placement,
        schema=naming.SCHEMA if apart else collection.schema,
        table=naming.companion_of(collection, name) if apart else collection.table,
        vector_column=column,
        model_column=f"{column}_model",
        hash_column=f"{column}_hash",
        vector_type=vector_type_of(model),
        text_separator=collection.text_separator,
        maintained_by=Maintainer.EMBEDMIG,
    )
    naming.refuse_names(target, collection, _taken_names(conn, collection, placement))
    if new_label_of(source, target) is not None:
        naming.refuse_label(source, collection, _taken_names(conn, collection, placement))
    return target


def new_label_of(source: Slot, target: Slot) -> str | None:
    """The model column that the source gets with the target: none where the target is a companion (the user's table
    gets no column at all), or where the source has one."""
    if target.placement is Placement.COMPANION or source.placement is Placement.COMPANION:
        return None
    return f"{source.vector_column}_model" if source.model_column is None else None


def slot_arguments(
    conn: Connection, collection: Collection, slot: Slot, source: Slot, *, source_label: str | None
) -> SlotArguments:
    """The slot as an operation names it. ``source_label``: the model column that the source gets, or got, with it."""
    apart = slot.placement is Placement.COMPANION
    label = source_label is not None
    return SlotArguments(
        table=collection.table,
        column=slot.vector_column,
        schema=collection.schema,
        collection=collection.name,
        slot=slot.name,
        model=slot.model.key,
        model_id=slot.model.id,
        bridge_model_id=slot.bridge_model_id,
        dimensions=slot.model.dimensions,
        vector_type=slot.vector_type,
        vector_schema=_vector_schema(conn),
        placement=slot.placement.value,
        model_column=slot.model_column,
        hash_column=slot.hash_column,
        companion=slot.table if apart else None,
        key=tuple(column.name for column in collection.key) if apart else (),
        storage=_storage(collection, slot) if apart else None,
        source=source.name,
        source_column=source.vector_column if label else None,
        source_model_column=source_label,
        source_model_id=source.model.id if label else None,
        source_bridge_model_id=source.bridge_model_id if label else None,
    )


def _storage(collection: Collection, slot: Slot) -> str | None:
    """``plain`` where a vector that Postgres would move out of line fits the page: searches then read one row, not its
    pieces. Only beside keys of a fixed length, or a row could pass the page."""
    size = slot.model.dimensions * (2 if slot.vector_type == "halfvec" else 4) + 8
    short = all(column.type in _SHORT_KEYS for column in collection.key)
    return "plain" if short and _TOAST_BYTES < size <= _PAGE_BYTES else None


def _vector_schema(conn: Connection) -> str | None:
    row = conn.execute(QUERIES["vector_schema"]).fetchone()
    return None if row is None else row["schema"]


def _taken_names(conn: Connection, collection: Collection, placement: Placement) -> list[str]:
    if placement is Placement.COMPANION:
        rows = conn.execute(QUERIES["names_in_embedmig"]).fetchall()
    else:
        name = sql.Identifier(collection.schema, collection.table).as_string(conn)
        rows = conn.execute(QUERIES["names_of_columns"], {"table": name}).fetchall()
    return [row["name"] for row in rows]
