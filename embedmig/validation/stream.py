"""Vectors out of Postgres by COPY BINARY, in blocks of bounded size."""

import struct
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import NoReturn

import numpy as np
import numpy.typing as npt
from psycopg import sql

from embedmig.db import Connection
from embedmig.errors import DimensionError, UnsupportedError
from embedmig.types import Floats, Key, Slot

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_ONE = b"\0\0\0\1"
_TRAILER = b"\xff\xff"
_ROWS_A_STEP = 1024
"""So many rows as they were sent are taken apart while still in the processor's cache."""
_Message = bytes | bytearray | memoryview
_SOME_PARAMETER = {"none": None}
"""psycopg undoubles the %% of a fragment only where there are parameters."""


@dataclass(frozen=True)
class Block:
    """Some rows: their keys as Postgres sent them (see ``decode_key``), and one (n, d) float32 array a slot."""

    raw_keys: list[bytes]
    vectors: list[Floats]


def stream_blocks(
    conn: Connection, select: sql.Composable, slots: Sequence[Slot], *, rows_at_once: int
) -> Generator[Block, None, None]:
    """Runs ``select``, whose columns are the slots' vectors in their order and then the key as text[].

    No vector may be NULL. Raises UnsupportedError for a vector type other than vector and halfvec, DimensionError
    when a row's vector is not as long as its slot's model says.
    """
    layout = _layout(slots)
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(select)
    with conn.cursor() as cursor, cursor.copy(statement, _SOME_PARAMETER) as copy:
        messages = _without_header(iter(copy))
        while (block := _next_block(messages, layout, slots, rows_at_once)).raw_keys:
            yield block


def row_bytes(slots: Sequence[Slot]) -> int:
    """How many bytes a row has as it is sent, the key aside."""
    return _layout(slots).itemsize


def decode_key(raw: bytes, encoding: str = "utf-8") -> Key:
    """A one-dimensional text[] in Postgres's binary form."""
    # Nearly every key has one column, and there are many.
    if raw[12:16] == _ONE:
        return (raw[24:].decode(encoding),)
    count = struct.unpack_from(">i", raw, 12)[0]
    parts, place = [], 20
    for _ in range(count):
        (length,) = struct.unpack_from(">i", raw, place)
        parts.append(raw[place + 4 : place + 4 + length].decode(encoding))
        place += 4 + length
    return tuple(parts)


def _layout(slots: Sequence[Slot]) -> np.dtype[np.void]:
    """The part of a row that has the same width in every row: field count, vectors, and the length of the key."""
    fields: list[tuple[str, str] | tuple[str, str, tuple[int]]] = [("count", ">i2")]
    for place, slot in enumerate(slots):
        fields += [
            (f"bytes{place}", ">i4"),
            (f"dimensions{place}", ">i2"),
            (f"unused{place}", ">i2"),
            (f"values{place}", _number(slot), (slot.model.dimensions,)),
        ]
    return np.dtype([*fields, ("key_bytes", ">i4")])


def _number(slot: Slot) -> str:
    try:
        return {"vector": ">f4", "halfvec": ">f2"}[slot.vector_type]
    except KeyError:
        raise UnsupportedError(
            f"slot {slot.name} holds {slot.vector_type}, exact search reads vector and halfvec: it cannot be judged so"
        ) from None


def _without_header(messages: Iterator[_Message]) -> Iterator[_Message]:
    """One row a message, as the protocol promises; the header stands before the first, the trailer comes last."""
    first = memoryview(next(messages)).tobytes()
    assert first.startswith(_SIGNATURE), "COPY BINARY begins with its signature"
    (extension,) = struct.unpack_from(">i", first, len(_SIGNATURE) + 4)
    row = first[len(_SIGNATURE) + 8 + extension :]
    return chain([row] if row else [], messages)


def _next_block(
    messages: Iterator[_Message], layout: np.dtype[np.void], slots: Sequence[Slot], rows_at_once: int
) -> Block:
    """Empty at the end of the stream."""
    vectors = [np.empty((rows_at_once, slot.model.dimensions), dtype=np.float32) for slot in slots]
    raw_keys: list[bytes] = []
    while some := list(islice(messages, min(_ROWS_A_STEP, rows_at_once - len(raw_keys)))):
        if some[-1] == _TRAILER:
            some.pop()
        table = _parse(some, layout, slots)
        rows = slice(len(raw_keys), len(raw_keys) + len(some))
        for place, whole in enumerate(vectors):
            whole[rows] = table[f"values{place}"]
        raw_keys += [bytes(message[layout.itemsize :]) for message in some]
    return Block(raw_keys=raw_keys, vectors=[whole[: len(raw_keys)] for whole in vectors])


def _parse(messages: Sequence[_Message], layout: np.dtype[np.void], slots: Sequence[Slot]) -> npt.NDArray[np.void]:
    width = layout.itemsize
    fixed = b"".join([message[:width] for message in messages])
    table = np.frombuffer(fixed, dtype=layout, count=len(fixed) // width)
    if len(table) != len(messages) or not _as_declared(table, slots):
        _refuse(messages, slots)
    return table


def _as_declared(table: npt.NDArray[np.void], slots: Sequence[Slot]) -> bool:
    return all((table[f"dimensions{place}"] == slot.model.dimensions).all() for place, slot in enumerate(slots))


def _refuse(messages: Sequence[_Message], slots: Sequence[Slot]) -> NoReturn:
    """Finds the row whose vector is not as long as it should be. Raises DimensionError."""
    for message in messages:
        place = 2
        for slot in slots:
            length, given = struct.unpack_from(">ih", message, place)
            if given != slot.model.dimensions:
                raise DimensionError(given=given, expected=slot.model.dimensions, model=slot.model.key)
            place += 4 + length
    raise AssertionError("a block that does not fit its layout has a row that does not")
