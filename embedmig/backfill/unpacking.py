"""COPY BINARY as Postgres gives it, taken apart: whole blocks at a time by numpy where rows have one length. Pure."""

import struct
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from embedmig.backfill.packing import COPY_HEADER, COPY_TRAILER, Block, Field, raw_block
from embedmig.errors import UnsupportedError
from embedmig.types import Floats

_NUMBERS: dict[str, np.dtype[np.floating[Any]]] = {"vector": np.dtype(">f4"), "halfvec": np.dtype(">f2")}
_HEAD_BYTES = 4
"""Of a vector: how many dimensions, and an unused number."""


def unpack_copy(data: bytes, fields: int) -> list[Field]:
    """The columns of COPY BINARY without NULLs, each value with its length before it: blocks where every row has the
    lengths of the first, lists else. No columns where there are no rows."""
    body = memoryview(data)[len(COPY_HEADER) : -len(COPY_TRAILER)]
    if not body:
        return []
    widths = _widths(body, fields)
    rows, rest = divmod(len(body), 2 + sum(widths))
    if rest == 0:
        table = np.frombuffer(body, dtype=np.uint8).reshape(rows, -1)
        columns = np.split(table[:, 2:], np.cumsum(widths)[:-1], axis=1)
        if all((column[:, :4] == column[0, :4]).all() for column in columns):
            return list(columns)
    return list(_by_row(bytes(body), fields))


def split_rows(data: bytes, widths: Sequence[int]) -> list[Field]:
    """The same of rows without lengths, ``widths`` bytes a column."""
    if not data:
        return []
    table = np.frombuffer(data, dtype=np.uint8).reshape(-1, sum(widths))
    columns = np.split(table, np.cumsum(widths)[:-1], axis=1)
    return [raw_block(column) for column in columns]


def take_rows(field: Field, rows: Sequence[int]) -> Field:
    """Some rows of a column."""
    return field[rows] if isinstance(field, np.ndarray) else [field[row] for row in rows]


def read_vectors(field: Field, vector_type: str) -> Floats:
    """(n, d) float32 out of a column of ``vector`` or ``halfvec``. Raises UnsupportedError for another type."""
    if vector_type not in _NUMBERS:
        raise UnsupportedError(f"vectors kept as {vector_type} hold too little to be mapped: only signs are left")
    block = field if isinstance(field, np.ndarray) else _as_block(field)
    body = np.ascontiguousarray(block[:, 4 + _HEAD_BYTES :])
    numbers: Floats = np.frombuffer(body.tobytes(), dtype=_NUMBERS[vector_type]).astype(np.float32)
    return numbers.reshape(len(body), -1)


def read_texts(field: Field, encoding: str) -> list[str]:
    """A column of text."""
    values = [row.tobytes() for row in field] if isinstance(field, np.ndarray) else field
    return [value[4:].decode(encoding) for value in values]


def _widths(body: memoryview, fields: int) -> list[int]:
    """How many bytes each field of the first row takes, its length included."""
    widths, at = [], 2
    for _ in range(fields):
        widths.append(4 + struct.unpack_from(">i", body, at)[0])
        at += widths[-1]
    return widths


def _by_row(body: bytes, fields: int) -> list[list[bytes]]:
    columns: list[list[bytes]] = [[] for _ in range(fields)]
    at = 0
    while at < len(body):
        at += 2
        for column in columns:
            end = at + 4 + struct.unpack_from(">i", body, at)[0]
            column.append(body[at:end])
            at = end
    return columns


def _as_block(values: list[bytes]) -> Block:
    joined = np.frombuffer(b"".join(values), dtype=np.uint8)
    return cast(Block, joined.reshape(len(values), -1))
