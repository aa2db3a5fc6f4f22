"""Reads what a claimed chunk needs: first which rows, then their texts, a batch at a time. Never inside a transaction
that outlives the statement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import pq, sql

from embedmig.backfill import fragments
from embedmig.backfill.keys import KeyType, RawKeys, fetch_key_types
from embedmig.backfill.packing import Raw
from embedmig.db import Connection, Queries
from embedmig.db import identifiers as ident
from embedmig.types import Collection, Key, Placement, Slot

QUERIES = Queries(__package__, "reading.sql")

WRITE, CLEAR, UNRECORD, FAIL, NOTHING = b"w", b"c", b"u", b"f", b"n"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A slot's statements, composed once."""

    collection: Collection
    slot: Slot
    key_types: tuple[KeyType, ...]
    list_lacking: sql.Composed
    read_rows: sql.Composed
    encoding: str


@dataclass(frozen=True, kw_only=True)
class Lacking:
    """Rows of a chunk that lack a vector, in the order of the table."""

    keys: RawKeys
    bytes: npt.NDArray[np.int64]
    """(n,) how long each text is."""
    pages: npt.NDArray[np.int64]
    """(n,) the page each row stands on; zeros in companion placement, where it does not matter."""


@dataclass(frozen=True, kw_only=True)
class ReadRows:
    """What was read of some keys, one entry a key; texts and hashes where there is something to embed."""

    keys: RawKeys
    actions: list[bytes]
    texts: list[str | None]
    hashes: list[Raw]
    seen: list[Raw]
    """What identifies the vector that stood there: it is replaced only if it is still that one."""
    recorded: list[bool]
    brought: list[int | None]
    fresh: list[bool]
    """Whether there was no vector."""


def open_source(conn: Connection, collection: Collection, slot: Slot) -> Source:
    """Composes the statements that read for ``slot``. Raises UnsupportedError for keys that cannot be carried."""
    parts = _parts(collection, slot)
    return Source(
        collection=collection,
        slot=slot,
        key_types=fetch_key_types(conn, collection),
        list_lacking=QUERIES.fill("list_lacking", parts),
        read_rows=QUERIES.fill("read_rows", parts),
        encoding=conn.info.encoding,
    )


def list_lacking(conn: Connection, source: Source, first: Key, last: Key) -> Lacking:
    """Which rows from ``first`` to ``last`` lack a vector, those with a failure left out."""
    values = {"slot_id": source.slot.id, "first": list(first), "last": list(last)}
    result = _fetch(conn, source.list_lacking, values)
    width = len(source.key_types)
    lengths = b"".join(_column(result, width))
    pages = b"".join(value[:4] for value in _column(result, width + 1))
    return Lacking(
        keys=tuple(_column(result, place) for place in range(width)),
        bytes=np.frombuffer(lengths, dtype=">i8").astype(np.int64),
        pages=np.frombuffer(pages, dtype=">u4").astype(np.int64),
    )


def read_rows(conn: Connection, source: Source, keys: Mapping[str, Any], forced: Sequence[bool]) -> ReadRows:
    """Reads rows by key. ``keys``: see ``keys.raw_parameters`` and ``keys.text_parameters``. ``forced``: embed the row
    even where nothing tells of which text its vector is."""
    result = _fetch(conn, source.read_rows, {**keys, "forced": list(forced), "slot_id": source.slot.id})
    width = len(source.key_types)
    action, text, hashes, seen, recorded, brought, fresh = (_nullable(result, width + place) for place in range(7))
    return ReadRows(
        keys=tuple(_column(result, place) for place in range(width)),
        actions=[value or NOTHING for value in action],
        texts=[None if value is None else value.decode(source.encoding) for value in text],
        hashes=hashes,
        seen=seen,
        recorded=[value == b"\x01" for value in recorded],
        brought=[None if value is None else int.from_bytes(value, "big") for value in brought],
        fresh=[value == b"\x01" for value in fresh],
    )


def _fetch(conn: Connection, query: sql.Composed, values: Mapping[str, Any]) -> pq.abc.PGresult:
    with conn.cursor(binary=True) as cursor:
        cursor.execute(query, values)
        assert cursor.pgresult is not None
        return cursor.pgresult


def _column(result: pq.abc.PGresult, place: int) -> list[bytes]:
    get = result.get_value
    return [get(row, place) for row in range(result.ntuples)]  # type: ignore[misc]


def _nullable(result: pq.abc.PGresult, place: int) -> list[Raw]:
    get = result.get_value
    return [get(row, place) for row in range(result.ntuples)]


def _parts(collection: Collection, slot: Slot) -> dict[str, sql.Composable]:
    column = slot.placement is Placement.COLUMN
    places = range(1, len(collection.key) + 1)
    first, last = sql.SQL("%(first)s::text[]"), sql.SQL("%(last)s::text[]")
    return {
        "table": ident.table(collection),
        "keys": ident.keys(collection, "d"),
        "keys_of_k": ident.keys(collection, "k"),
        "key_array": ident.key_array(collection, "d"),
        "bytes": sql.SQL("({})::bigint").format(ident.text_bytes(collection, "d")),
        "ctid": sql.SQL("d.ctid") if column else sql.SQL("'(0,0)'::tid"),
        "first": ident.key_from_array(collection, first),
        "last": ident.key_from_array(collection, last),
        "look_up_slot": fragments.look_up_slot(collection, slot, "d"),
        "look_up_slot_of_k": fragments.look_up_slot(collection, slot, "k"),
        "match": ident.key_match(collection, "d", "k"),
        "wants": ident.wants_vector(collection, "d"),
        "in_scope": ident.in_scope(collection, "d"),
        "lacking": fragments.lacks_vector(slot),
        "vector": ident.vector(slot),
        "hash": ident.recorded_hash(slot),
        "ours": fragments.is_ours(slot),
        "text": ident.text(collection, "d", slot.text_separator),
        "text_hash": ident.text_hash(collection, "d"),
        "seen": fragments.vector_identity(slot) if column else sql.SQL("NULL::uuid"),
        "brought": _last_brought(collection, slot) if column else sql.SQL("NULL::bigint"),
        "typed_keys": sql.SQL(", ").join(
            sql.SQL("q.{}::{} AS {}").format(_place(place), ident.type_name(key), sql.Identifier(key.name))
            for place, key in zip(places, collection.key, strict=True)
        ),
        "key_parameters": ident.comma(sql.Placeholder(f"key{place}") for place in places),
        "places": ident.comma(_place(place) for place in places),
    }


def _place(place: int) -> sql.Identifier:
    return sql.Identifier(f"c{place}")


def _last_brought(collection: Collection, slot: Slot) -> sql.Composed:
    return sql.SQL(
        "CASE WHEN {} IS NOT NULL THEN (SELECT max(a.seq) FROM embedmig.pending a WHERE a.kind = 'a'"
        " AND a.slot_id = %(slot_id)s AND a.key = {}) END"
    ).format(ident.vector(slot), ident.key_array(collection, "k"))
