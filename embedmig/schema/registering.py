"""What a table becomes when it is registered: a collection and its first slot, or a reason why not. Reads only."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from psycopg import sql

from embedmig.db import Connection, Queries
from embedmig.db.identifiers import is_missing, table, wants_vector
from embedmig.errors import ConflictError, UnsupportedError, UsageError
from embedmig.schema.inspection import (
    VECTOR_TYPES,
    AnnIndex,
    Column,
    TableFacts,
    describe_table,
    find_ann_indexes,
    require_usable,
    resolve_table,
)
from embedmig.schema.naming import COMMENT, COMPANION_COLUMNS, MAX_BYTES, SCHEMA, check_of, column_of, companion_of
from embedmig.schema.row_filter import RowFilter, read_filter, require_text_column, try_filter
from embedmig.types import Collection, Distance, Maintainer, Model, Placement, Slot

QUERIES = Queries(__package__, "registering.sql")

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,30}")
_FURTHEST = "v999"
"""The longest slot name that derived names must have room for."""
_OPCLASS_ENDS = {Distance.COSINE: "_cosine_ops", Distance.L2: "_l2_ops", Distance.INNER_PRODUCT: "_ip_ops"}


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A collection and the slot it begins with, not yet written (ids 0)."""

    collection: Collection
    slot: Slot
    facts: TableFacts
    notes: tuple[str, ...]
    """What is so, and worth knowing, but no reason to refuse."""


def design_registration(
    conn: Connection,
    *,
    name: str | None,
    table_text: str,
    text_columns: Sequence[str],
    embedding: str,
    model: Model,
    row_filter: str | None = None,
    separator: str = "\n\n",
    group: str | None = None,
    hide_stale: bool = False,
) -> Registration:
    """Everything that is checked before a table is registered.

    Raises NotFoundError (table, column), UnsupportedError (no key, no vector type, ...), ConflictError (names) and
    UsageError, each before anything was written.
    """
    facts = describe_table(conn, *resolve_table(conn, table_text))
    require_usable(facts)
    _refuse_percent(facts)
    chosen = choose_name(name, facts)
    require_vector_column(facts, embedding, model)
    if not text_columns or len(set(text_columns)) < len(text_columns):
        raise UsageError(f"name the text columns of {facts.name}, each once: --text title,body")
    for column in text_columns:
        require_text_column(facts, column)
    scope = None if row_filter is None else _read_filter(conn, facts, row_filter, embedding)
    collection = Collection(
        id=0,
        name=chosen,
        group=group or chosen,
        schema=facts.name.schema,
        table=facts.name.table,
        key=facts.key,
        text_columns=tuple(text_columns),
        text_separator=separator,
        row_filter=None if scope is None else scope.condition,
        filter_columns=() if scope is None else scope.columns,
        hide_stale=hide_stale,
    )
    slot, notes = _design_source(conn, collection, facts, embedding, model)
    _refuse_names(conn, collection, slot, facts)
    return Registration(collection=collection, slot=slot, facts=facts, notes=tuple(notes))


def may_be_name(text: str) -> bool:
    """Whether a collection may be called so."""
    return _NAME.fullmatch(text) is not None


def choose_name(name: str | None, facts: TableFacts) -> str:
    """The collection's name; the table's own where none was given. Raises UsageError for one that cannot be."""
    chosen = facts.name.table if name is None else name
    if not may_be_name(chosen):
        given = "the table's name" if name is None else "a collection's name"
        raise UsageError(
            f"{chosen!r} cannot be {given if name else 'the collection'}: lower-case letters, digits and _, not a digit"
            " first, 31 characters at most. Name it: embedmig collection add NAME --table ..."
        )
    return chosen


def require_vector_column(facts: TableFacts, name: str, model: Model) -> Column:
    """The column, which holds ``model``'s vectors. Raises NotFoundError, UnsupportedError, or UsageError when its
    dimensions are not the model's."""
    column = facts.column(name)
    if column.type_name not in VECTOR_TYPES:
        raise UnsupportedError(f"column {name} of {facts.name} is {column.type}: embeddings stand in vector or halfvec")
    if column.generated:
        raise UnsupportedError(f"column {name} of {facts.name} is generated: nobody can write a vector into it")
    if column.dimensions is None:
        raise UnsupportedError(
            f"column {name} of {facts.name} is {column.type} without dimensions, which no index can stand on:"
            f" ALTER TABLE {facts.name} ALTER COLUMN {name} TYPE {column.type_name}({model.dimensions}) (rewrites it)"
        )
    if column.dimensions != model.dimensions:
        raise UsageError(
            f"column {name} of {facts.name} is {column.type}, and {model.key} has {model.dimensions} dimensions:"
            " name the model that its vectors are from"
        )
    return column


def fits_distance(index: AnnIndex, distance: Distance) -> bool:
    """Whether an index orders by the model's distance."""
    return index.opclass.endswith(_OPCLASS_ENDS[distance])


def _read_filter(conn: Connection, facts: TableFacts, condition: str, embedding: str) -> RowFilter:
    scope = read_filter(conn, facts, condition)
    try_filter(conn, facts, scope)
    if embedding in scope.columns:
        raise UsageError(
            f"the filter {condition!r} reads {embedding} itself: a row without a vector would never get one."
            " Rows without text have none anyway"
        )
    return scope


def _design_source(
    conn: Connection, collection: Collection, facts: TableFacts, embedding: str, model: Model
) -> tuple[Slot, list[str]]:
    column = facts.column(embedding)
    label, text_hash = (_ours(facts, f"{embedding}_{end}") for end in ("model", "hash"))
    slot = Slot(
        id=0,
        collection_id=0,
        name="v1",
        model=model,
        placement=Placement.COLUMN,
        schema=facts.name.schema,
        table=facts.name.table,
        vector_column=embedding,
        model_column=label,
        # A hash is proof only beside the label of what it was made by.
        hash_column=text_hash if label else None,
        vector_type=column.type_name,
        text_separator=collection.text_separator,
        maintained_by=Maintainer.APP,
    )
    if label:
        require_labels(conn, collection, slot)
    index, notes = _choose_index(conn, slot)
    filled_at = _filled_at(conn, collection, slot)
    if facts.rows == 0:
        notes.append(f"{facts.name} is empty: rows are embedded as they come")
    elif filled_at is None:
        notes.append("some rows have text and no vector yet: embedmig verify counts them")
    return replace(slot, index_name=index, filled_at=filled_at), notes


def _ours(facts: TableFacts, name: str) -> str | None:
    return name if any(column.name == name and column.is_ours for column in facts.columns) else None


def require_labels(conn: Connection, collection: Collection, slot: Slot) -> None:
    """Raises ConflictError when a row's label says another model than the slot's: they were made by it."""
    assert slot.model_column is not None
    row = conn.execute(
        sql.SQL("SELECT {label} AS other FROM {t} AS d WHERE {v} IS NOT NULL AND {label} <> {id} LIMIT 1").format(
            label=sql.Identifier("d", slot.model_column),
            t=table(collection),
            v=sql.Identifier("d", slot.vector_column),
            id=sql.Literal(slot.model.id),
        )
    ).fetchone()
    if row is not None:
        raise ConflictError(
            f"rows of {collection.qualified} are labelled with model id {row['other']}, and {slot.model.key} has"
            f" {slot.model.id}: name the model that their vectors are from"
        )


def _choose_index(conn: Connection, slot: Slot) -> tuple[str | None, list[str]]:
    found = find_ann_indexes(conn, slot.schema, slot.table, slot.vector_column)
    own = [index for index in found if index.table == slot.table and index.schema == slot.schema]
    fit = [index for index in own if index.valid and not index.expression and fits_distance(index, slot.model.distance)]
    # One over all rows before partial ones, HNSW before the others.
    fit.sort(key=lambda index: (index.predicate is not None, index.kind != "hnsw", index.name))
    if fit:
        return fit[0].name, []
    if not found:
        return None, [f"{slot.vector_column} has no ANN index: it is searched exactly, as before"]
    if any(index not in own and fits_distance(index, slot.model.distance) for index in found):
        return None, [f"the ANN indexes of {slot.vector_column} stand on partitions: {_named(found)}"]
    return None, [
        f"no valid index on {slot.vector_column} is for {slot.model.distance.value} distance"
        f" ({_named(found)}): it will be searched exactly."
        f" Is {slot.model.distance.value} what your queries use?"
    ]


def _named(indexes: Iterable[AnnIndex]) -> str:
    return ", ".join(f"{index.name}: {index.opclass}" for index in indexes)


def _filled_at(conn: Connection, collection: Collection, slot: Slot) -> datetime | None:
    """Now, when every row that wants a vector has one; else None."""
    missing = sql.SQL("SELECT FROM {} AS d WHERE {} AND {}").format(
        table(collection), is_missing(slot), wants_vector(collection, "d")
    )
    # The fragments double a user's %: an empty mapping has psycopg read them so.
    row = conn.execute(
        sql.SQL("SELECT CASE WHEN NOT EXISTS ({}) THEN clock_timestamp() END AS filled_at").format(missing), {}
    ).fetchone()
    assert row is not None
    filled_at: datetime | None = row["filled_at"]
    return filled_at


def _refuse_percent(facts: TableFacts) -> None:
    for name in (*facts.name, *(column.name for column in facts.columns)):
        if "%" in name:
            raise UnsupportedError(f"the name {name!r} holds a %, which the driver reads as a parameter: rename it")


def _refuse_names(conn: Connection, collection: Collection, slot: Slot, facts: TableFacts) -> None:
    for key in facts.key:
        if key.name in COMPANION_COLUMNS:
            raise UnsupportedError(
                f"the primary key of {facts.name} has a column {key.name}, which a companion table needs for itself:"
                " rename it"
            )
    for name in (*_column_names(slot, _FURTHEST), check_of(column_of(slot, _FURTHEST))):
        if len(name.encode()) > MAX_BYTES:
            raise UnsupportedError(
                f"the name {name} of a later slot is longer than the {MAX_BYTES} bytes that Postgres keeps of a name:"
                f" column {slot.vector_column} needs a shorter one"
            )
    _refuse_taken(facts, _column_names(slot, "v2"))
    companion = companion_of(collection, "v2")
    if conn.execute(QUERIES["foreign_companion"], {"name": companion, "ours": COMMENT}).fetchone() is not None:
        raise ConflictError(f"{SCHEMA}.{companion} exists and embedmig did not make it: register under another name")


def _column_names(slot: Slot, slot_name: str) -> tuple[str, str, str]:
    vector = column_of(slot, slot_name)
    return vector, f"{vector}_model", f"{vector}_hash"


def _refuse_taken(facts: TableFacts, names: Iterable[str]) -> None:
    for name in names:
        if any(column.name == name and not column.is_ours for column in facts.columns):
            raise ConflictError(
                f"{facts.name} has a column {name} of your own, and slot v2 would need that name: rename it"
            )
