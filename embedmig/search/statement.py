"""The text of a search: one statement that proves what it was planned for, and finds. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from psycopg import sql

from embedmig.catalog.serving import Serving
from embedmig.db import identifiers
from embedmig.search.indexes import Comparison, compare
from embedmig.types import Placement, Slot

MAX_EF_SEARCH = 1000
DEFAULT_EF_SEARCH = 40
"""pgvector's own."""
RERANKED_PER_HIT = 10
RERANKED_AT_LEAST = 100
_SAME_IN_BINARY = {"smallint", "integer", "bigint", "uuid", "text"}
"""The driver gives the same values of these types in binary as in text."""


class Shape(NamedTuple):
    """All that the text depends on beside the catalog; the rest are parameters."""

    slot_id: int
    pinned: bool
    k: int
    filter: str | None
    columns: tuple[str, ...]
    ef_search: int | None
    exact: bool
    probes: int | None = None
    """How many of its lists an ivfflat index reads; None: as the role or the server has it."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """SQL with its parameters by name, and how its rows are read."""

    sql: bytes
    index: str | None
    """The one it is written for; None for an exact search."""
    key_width: int
    made_by: tuple[str, str]
    """What made a row's vector: the model, or the bridge to it."""
    in_binary: bool
    """Whether its rows are asked for in binary: quicker at both ends. Not where a type may have no binary form here."""


def compose(serving: Serving, slot: Slot, shape: Shape) -> Statement:
    """Rows are the key's columns, distance, bridged, stale, then ``shape.columns``. No row at all: nothing was found,
    or the catalog is another than it was planned for."""
    named = _named(slot)
    comparison = compare(serving, slot, identifiers.vector(named), exact=shape.exact)
    wanted = shape.k if not comparison.is_quantised else max(RERANKED_AT_LEAST, RERANKED_PER_HIT * shape.k)
    statement = sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT {}").format(
        identifiers.comma(_outputs(serving, named, shape, comparison)),
        _rows(serving, slot, named),
        identifiers.conjunction([_gate(serving, slot, shape, comparison, wanted), *_conditions(serving, named, shape)]),
        comparison.order,
        # As text, not as a parameter: a plan for an unknown LIMIT expects a tenth of the table and leaves the index.
        sql.Literal(wanted),
    )
    if comparison.is_quantised:
        statement = sql.SQL("SELECT * FROM ({}) AS found ORDER BY embedmig_distance LIMIT {}").format(
            statement, sql.Literal(shape.k)
        )
    return Statement(
        sql=statement.as_bytes(None),
        index=None if comparison.index is None else comparison.index.name,
        key_width=len(serving.collection.key),
        made_by=(slot.model.key, f"{serving.source.model.key}->{slot.model.key}"),
        in_binary=not shape.columns and all(column.type in _SAME_IN_BINARY for column in serving.collection.key),
    )


def _named(slot: Slot) -> Slot:
    """The slot as the statement's FROM names its columns: a companion's under names of ours, so that bare names in a
    condition mean the user's table."""
    if slot.placement is Placement.COLUMN:
        return slot
    return replace(
        slot,
        vector_column="embedmig_vector",
        model_column=slot.model_column and "embedmig_model",
        hash_column=slot.hash_column and "embedmig_hash",
    )


def _rows(serving: Serving, slot: Slot, named: Slot) -> sql.Composable:
    table = sql.SQL("{} AS d").format(identifiers.table(serving.collection))
    if slot.placement is Placement.COLUMN:
        return table
    keys = [(column.name, f"embedmig_key{place}") for place, column in enumerate(serving.collection.key, start=1)]
    own = [
        (column, alias)
        for column, alias in (
            (slot.vector_column, named.vector_column),
            (slot.model_column, named.model_column),
            (slot.hash_column, named.hash_column),
        )
        if column is not None and alias is not None
    ]
    return sql.SQL("(SELECT {} FROM {}) AS s JOIN {} ON {}").format(
        identifiers.comma(
            sql.SQL("{} AS {}").format(sql.Identifier(name), sql.Identifier(alias)) for name, alias in [*keys, *own]
        ),
        identifiers.slot_table(slot),
        table,
        identifiers.conjunction(
            sql.SQL("{} = {}").format(sql.Identifier("d", name), sql.Identifier("s", alias)) for name, alias in keys
        ),
    )


def _outputs(serving: Serving, named: Slot, shape: Shape, comparison: Comparison) -> Iterator[sql.Composable]:
    for place, column in enumerate(serving.collection.key, start=1):
        yield _as(sql.Identifier("d", column.name), f"embedmig_key{place}")
    yield _as(comparison.distance, "embedmig_distance")
    yield _as(identifiers.is_bridged(named), "embedmig_bridged")
    stale = sql.SQL("false") if named.hash_column is None else identifiers.is_stale(serving.collection, named)
    yield _as(stale, "embedmig_stale")
    for place, name in enumerate(shape.columns, start=1):
        yield _as(sql.Identifier("d", name), f"embedmig_column{place}")


def _as(value: sql.Composable, alias: str) -> sql.Composed:
    return sql.SQL("{} AS {}").format(value, sql.Identifier(alias))


def _conditions(serving: Serving, named: Slot, shape: Shape) -> Iterator[sql.Composable]:
    collection = serving.collection
    yield sql.SQL("{} IS NOT NULL").format(identifiers.vector(named))
    if named.model_column is not None:
        ids = [named.model.id] + ([] if named.bridge_model_id is None else [named.bridge_model_id])
        yield sql.SQL("{} IN ({})").format(identifiers.model_id(named), identifiers.comma(map(sql.Literal, ids)))
    if collection.row_filter is not None:
        # Inline and not in a sub-select, so that a partial index over the same condition can answer.
        yield _bracketed(identifiers.escape_percent(collection.row_filter))
    if shape.filter is not None:
        yield _bracketed(shape.filter)
    if collection.hide_stale and named.hash_column is not None:
        yield sql.SQL("NOT {}").format(identifiers.is_stale(collection, named))


def _bracketed(condition: str) -> sql.Composed:
    # On lines of its own: the condition may end in a comment.
    return sql.SQL("(\n{}\n)").format(sql.SQL(condition))


def _gate(serving: Serving, slot: Slot, shape: Shape, comparison: Comparison, wanted: int) -> sql.Composed:
    """True once, before any row is read, when the catalog is still what the search was planned for.

    It also sets what the index scan reads, for this transaction alone: no statement of its own, so that nothing is
    left behind on a connection that a pooler hands to somebody else.
    """
    settings = sql.SQL(" AND ").join([*_settings(serving, slot, shape, comparison, wanted)] or [sql.SQL("true")])
    if shape.pinned:
        return sql.SQL(
            "(SELECT {} FROM embedmig.slot AS embedmig_slot WHERE embedmig_slot.id = {}"
            " AND embedmig_slot.dropped_at IS NULL)"
        ).format(settings, sql.Placeholder("embedmig_slot_id"))
    return sql.SQL(
        "(SELECT {} FROM embedmig.route AS embedmig_route WHERE embedmig_route.group_name = {}"
        " AND embedmig_route.epoch = {})"
    ).format(settings, sql.Placeholder("embedmig_group"), sql.Placeholder("embedmig_epoch"))


def _settings(
    serving: Serving, slot: Slot, shape: Shape, comparison: Comparison, wanted: int
) -> Iterator[sql.Composable]:
    if comparison.index is None:
        return
    kind = comparison.index.kind
    if wanted > MAX_EF_SEARCH or _leaves_out_rows(serving, slot, shape):
        yield _set(f"{kind}.iterative_scan", sql.SQL("'relaxed_order'"))
    if kind == "hnsw" and shape.ef_search is not None:
        yield _set("hnsw.ef_search", sql.Literal(str(min(MAX_EF_SEARCH, max(wanted, shape.ef_search)))))
    elif kind == "ivfflat" and shape.probes is not None:
        yield _set("ivfflat.probes", sql.Literal(str(shape.probes)))
    elif kind == "hnsw" and wanted > DEFAULT_EF_SEARCH:
        # A larger value that the role or the server has set stays.
        at_least = sql.Literal(min(MAX_EF_SEARCH, wanted))
        present = sql.SQL("current_setting('hnsw.ef_search', true)::int")
        yield _set("hnsw.ef_search", sql.SQL("greatest({}, {})::text").format(at_least, present))


def _leaves_out_rows(serving: Serving, slot: Slot, shape: Shape) -> bool:
    """Whether some of what the index finds is dropped afterwards, so that it has to be asked for more. A companion
    still has the rows that were deleted until the queue is drained."""
    hides = serving.collection.hide_stale and slot.hash_column is not None
    filtered = shape.filter is not None or serving.collection.row_filter is not None
    return filtered or hides or slot.placement is Placement.COMPANION


def _set(name: str, value: sql.Composable) -> sql.Composed:
    return sql.SQL("set_config({}, {}, true) IS NOT NULL").format(sql.Literal(name), value)
