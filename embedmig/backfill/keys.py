"""The primary key as it travels between reader and writer: the bytes Postgres sent, one list per key column."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import Dumper

from embedmig.backfill.packing import pack_array
from embedmig.db import Connection, Queries
from embedmig.errors import UnsupportedError
from embedmig.types import Collection, Key

QUERIES = Queries(__package__, "keys.sql")

_TEXT, _TEXT_ARRAY = 25, 1009

RawKeys = tuple[list[bytes], ...]
"""One list per key column, all of the same length."""


@dataclass(frozen=True, kw_only=True)
class KeyType:
    """How Postgres knows the type of one key column."""

    oid: int
    array_oid: int


class RawArray:
    """A parameter: an array whose elements are in Postgres' binary format already."""

    __slots__ = ("data", "oid")

    def __init__(self, key_type: KeyType, values: Sequence[bytes]) -> None:
        self.oid = key_type.array_oid
        self.data = pack_array(key_type.oid, values)


class _RawArrayDumper(Dumper):
    format = pq.Format.BINARY

    def get_key(self, obj: RawArray, format: Any) -> Any:  # noqa: A002
        return self.cls, obj.oid

    def upgrade(self, obj: RawArray, format: Any) -> "_RawArrayDumper":  # noqa: A002
        dumper = _RawArrayDumper(self.cls)
        dumper.oid = obj.oid
        return dumper

    def dump(self, obj: RawArray) -> bytes:
        return obj.data


def accept_raw_arrays(conn: psycopg.Connection[Any]) -> None:
    """Lets a RawArray be a parameter on this connection."""
    conn.adapters.register_dumper(RawArray, _RawArrayDumper)


def fetch_key_types(conn: Connection, collection: Collection) -> tuple[KeyType, ...]:
    """The types of the key columns. Raises UnsupportedError when one has no binary format."""
    rows = conn.execute(
        QUERIES["key_types"],
        {"schema": collection.schema, "table": collection.table, "names": [c.name for c in collection.key]},
    ).fetchall()
    for row in rows:
        if not row["binary"] or not row["array_oid"]:
            raise UnsupportedError(
                f"key column {row['name']} of {collection.qualified} is of a type without a binary format"
                f" ({row['type']}): embedmig cannot carry such keys. Use a key of another type"
            )
    if len(rows) != len(collection.key):
        raise UnsupportedError(
            f"{collection.qualified} no longer has the key columns that {collection.name} was registered with"
        )
    return tuple(KeyType(oid=row["oid"], array_oid=row["array_oid"]) for row in rows)


def raw_parameters(types: Sequence[KeyType], keys: RawKeys, rows: Sequence[int] | slice) -> dict[str, RawArray]:
    """``key1``, ``key2``, ... for the rows chosen: what ``unnest`` of the read statement takes."""
    chosen = [column[rows] if isinstance(rows, slice) else [column[row] for row in rows] for column in keys]
    return {f"key{place}": RawArray(types[place - 1], column) for place, column in enumerate(chosen, start=1)}


def text_parameters(keys: Sequence[Key]) -> dict[str, RawArray]:
    """The same from keys as text, as the queue holds them."""
    text = KeyType(oid=_TEXT, array_oid=_TEXT_ARRAY)
    width = len(keys[0]) if keys else 0
    return {f"key{place + 1}": RawArray(text, [key[place].encode() for key in keys]) for place in range(width)}
