"""Rows as Postgres reads them in COPY BINARY, and arrays of keys: whole batches at a time by numpy. Pure.

Keys travel as the bytes that Postgres sent for them, so that a key of any type goes back as it came.
"""

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from embedmig.types import Floats

Raw = bytes | None
"""One value in Postgres' binary format; None is NULL."""
Block = npt.NDArray[np.uint8]
"""(n, bytes): the same field of n rows, its length before it."""
Field = Block | list[bytes]

COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_TRAILER = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"


def pack_copy(fields: Sequence[Field], rows: int) -> bytes:
    """``rows`` rows of COPY BINARY without header and trailer, one field after another."""
    if rows == 0:
        return b""
    count = np.frombuffer(struct.pack(">h", len(fields)), dtype=np.uint8)
    parts = _join_blocks([np.broadcast_to(count, (rows, 2)), *fields])
    if len(parts) == 1 and isinstance(parts[0], np.ndarray):
        return parts[0].tobytes()
    return b"".join([piece for row in zip(*map(_rows_of, parts), strict=True) for piece in row])


def raw_field(values: Sequence[Raw]) -> Field:
    """A column of values as Postgres sent them; a block when all have one length, as most keys and hashes do."""
    first = values[0] if values else None
    if first is not None and all(value is not None and len(value) == len(first) for value in values):
        joined = b"".join(values)  # type: ignore[arg-type]
        return raw_block(np.frombuffer(joined, dtype=np.uint8).reshape(len(values), len(first)))
    if first is None and all(value is None for value in values):
        return constant_field(None, len(values))
    return [_NULL if value is None else struct.pack(">i", len(value)) + value for value in values]


def constant_field(value: Raw, rows: int) -> Block:
    """The same value in every row."""
    field = _NULL if value is None else struct.pack(">i", len(value)) + value
    return np.broadcast_to(np.frombuffer(field, dtype=np.uint8), (rows, len(field)))


def vector_field(vectors: Floats, vector_type: str) -> Block:
    """(n, d) float32 as ``vector``, ``halfvec`` or, one bit a sign, ``bit``."""
    rows, dimensions = vectors.shape
    if vector_type == "bit":
        head, body = struct.pack(">i", dimensions), np.packbits(vectors > 0, axis=1)
    else:
        number = np.dtype(">f2" if vector_type == "halfvec" else ">f4")
        head = struct.pack(">hh", dimensions, 0)
        body = np.ascontiguousarray(vectors, dtype=number).view(np.uint8).reshape(rows, dimensions * number.itemsize)
    head = struct.pack(">i", len(head) + body.shape[1]) + head
    heads = np.broadcast_to(np.frombuffer(head, dtype=np.uint8), (rows, len(head)))
    return np.concatenate([heads, body], axis=1)


def pack_array(element_oid: int, values: Sequence[bytes]) -> bytes:
    """A one-dimensional array in binary, its elements as Postgres sent them; none of them NULL."""
    if not values:
        return struct.pack(">iii", 0, 0, element_oid)
    head = struct.pack(">iiIii", 1, 0, element_oid, len(values), 1)
    field = raw_field(values)
    return head + (field.tobytes() if isinstance(field, np.ndarray) else b"".join(field))


def raw_block(body: Block) -> Block:
    """(n, bytes): values of one length, as a field."""
    length = np.frombuffer(struct.pack(">i", body.shape[1]), dtype=np.uint8)
    return np.concatenate([np.broadcast_to(length, (len(body), 4)), body], axis=1)


def _join_blocks(fields: Sequence[Field]) -> list[Field]:
    """Neighbouring blocks as one, so that a row has as few pieces as can be."""
    joined: list[Field] = []
    run: list[Block] = []
    for field in fields:
        if isinstance(field, np.ndarray):
            run.append(field)
            continue
        if run:
            joined.append(np.concatenate(run, axis=1))
            run = []
        joined.append(field)
    return [*joined, np.concatenate(run, axis=1)] if run else joined


def _rows_of(part: Field) -> list[bytes]:
    if isinstance(part, list):
        return part
    whole, width = part.tobytes(), part.shape[1]
    return [whole[start : start + width] for start in range(0, len(whole), width)]
