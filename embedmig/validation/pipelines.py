"""The user's own search, asked through either slot: a function of theirs, or their SQL."""

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from psycopg import errors as pg
from psycopg import sql

from embedmig.db import Connection
from embedmig.db import identifiers as ident
from embedmig.errors import UsageError
from embedmig.types import Floats, Key, Slot
from embedmig.validation.answers import Search, to_items
from embedmig.validation.pair import Pair, find_keys
from embedmig.validation.queries import Query
from embedmig.validation.running_top_k import Ranking
from embedmig.validation.snapshot import one_snapshot

SearchFunction = Callable[[str, str], Iterable[Any]]
"""Called with the query and the slot's name; gives keys, best first, one of several columns as a sequence."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """One of the two."""

    name: str
    function: SearchFunction | None = None
    template: str | None = None
    """A SELECT of keys, best first, with ``%(query)s``, ``%(embedding)s``, ``%(k)s`` as parameters and
    ``{slot_table}``, ``{vector}`` for where the slot's vectors stand."""


@dataclass(frozen=True, kw_only=True)
class PipelineAnswers:
    """What it found through both slots, in the order of the queries."""

    rankings: tuple[tuple[Ranking, ...], tuple[Ranking, ...]]
    p50_ms: tuple[float, float]


def load_pipeline(spec: str) -> Pipeline:
    """``package.module:function``, looked for in the present folder too. Raises UsageError when it is not there."""
    module, _, name = spec.partition(":")
    if not module or not name:
        raise UsageError(f"a pipeline is written package.module:function, not {spec!r}")
    sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as exc:
        raise UsageError(f"the pipeline {spec} cannot be imported: {exc}") from exc
    finally:
        sys.path.remove(os.getcwd())
    if not callable(function):
        raise UsageError(f"the pipeline {spec} is no function, but {type(function).__name__}")
    return Pipeline(name=spec, function=function)


def ask_pipeline(
    conn: Connection,
    search: Search,
    pipeline: Pipeline,
    queries: Sequence[Query],
    vectors: Sequence[Floats],
) -> PipelineAnswers:
    """Asks each query through the source, then through the target. ``vectors``: (q, d) of either side.

    Raises UsageError when the function fails, for what is no key, and for SQL that does not run.
    """
    rankings, times = [], []
    for slot, some in zip(search.pair.slots, vectors, strict=True):
        if pipeline.function is not None:
            found, took = _ask_function(pipeline, slot, queries, search)
        else:
            found, took = _ask_sql(conn, search, pipeline, slot, queries, some)
        rankings.append(_as_printed(conn, search.pair, pipeline, found))
        times.append(float(np.median(took)))
    items = to_items(conn, search, (rankings[0], rankings[1]))
    return PipelineAnswers(rankings=items, p50_ms=(times[0], times[1]))


def _ask_function(
    pipeline: Pipeline, slot: Slot, queries: Sequence[Query], search: Search
) -> tuple[list[list[Key]], list[float]]:
    assert pipeline.function is not None
    found, took = [], []
    for query in queries:
        began = time.perf_counter()
        try:
            keys = list(pipeline.function(query.text, slot.name))
        except Exception as exc:
            raise UsageError(
                f"the pipeline {pipeline.name} failed on {query.text!r} in {slot.name}: {type(exc).__name__}: {exc}"
            ) from exc
        took.append((time.perf_counter() - began) * 1000)
        found.append([_key(key, search.pair, pipeline) for key in keys])
        if search.on_progress is not None:
            search.on_progress(1)
    return found, took


def _ask_sql(
    conn: Connection, search: Search, pipeline: Pipeline, slot: Slot, queries: Sequence[Query], vectors: Floats
) -> tuple[list[list[Key]], list[float]]:
    assert pipeline.template is not None
    width = len(search.pair.collection.key)
    try:
        statement = sql.SQL(pipeline.template).format(
            slot_table=ident.slot_table(slot), vector=sql.Identifier(slot.vector_column)
        )
    except (KeyError, IndexError, ValueError) as exc:
        raise UsageError(
            f"{pipeline.name} names {{slot_table}} and {{vector}} in braces, and nothing else; a brace that stands for"
            f" itself is doubled: {exc}"
        ) from exc
    found, took = [], []
    with one_snapshot(conn):
        for query, vector in zip(queries, vectors, strict=True):
            values = {"query": query.text, "embedding": vector, "k": search.depth}
            began = time.perf_counter()
            found.append(_select_keys(conn, pipeline, statement, values, width))
            took.append((time.perf_counter() - began) * 1000)
            if search.on_progress is not None:
                search.on_progress(1)
    return found, took


def _select_keys(
    conn: Connection, pipeline: Pipeline, statement: sql.Composed, values: Mapping[str, Any], width: int
) -> list[Key]:
    try:
        result = conn.execute(statement, values).pgresult
    except (pg.ProgrammingError, pg.DataError, pg.ReadOnlySqlTransaction) as exc:
        raise UsageError(f"{pipeline.name} does not run: {exc.diag.message_primary or exc}") from exc
    assert result is not None
    if result.nfields < width:
        raise UsageError(f"{pipeline.name} selects {result.nfields} columns: the first {width} are to be the key")
    # Text as the server sent it: keys as Postgres prints them, whatever their type.
    rows = ([result.get_value(row, column) for column in range(width)] for row in range(result.ntuples))
    return [tuple(part.decode() for part in row if part is not None) for row in rows if None not in row]


def _key(value: Any, pair: Pair, pipeline: Pipeline) -> Key:
    parts = value if isinstance(value, tuple | list) else (value,)
    if len(parts) != len(pair.collection.key):
        raise UsageError(
            f"the pipeline {pipeline.name} gave {value!r}, and the key of {pair.collection.qualified} has"
            f" {len(pair.collection.key)} columns: it is to give keys, best first"
        )
    return tuple(str(part) for part in parts)


def _as_printed(conn: Connection, pair: Pair, pipeline: Pipeline, found: list[list[Key]]) -> list[Ranking]:
    """Keys as rankings name them; rows that are not among those judged stay under the name that they were given."""
    try:
        known = find_keys(conn, pair, (key for keys in found for key in keys))
    except UsageError as exc:
        raise UsageError(f"the pipeline {pipeline.name} is to give keys, best first: {exc}") from exc
    named = [tuple(dict.fromkeys(known.get(key, key) for key in keys)) for keys in found]
    # Only their order is known: a rank stands for the distance.
    return [Ranking(keys=keys, distances=np.arange(len(keys), dtype=np.float32)) for keys in named]
