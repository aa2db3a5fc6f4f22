"""Rows in COPY BINARY, byte by byte."""

import struct

import numpy as np

from embedmig.backfill.packing import constant_field, pack_array, pack_copy, raw_field, vector_field


def parse(data: bytes) -> list[list[bytes | None]]:
    """COPY BINARY read back, without header and trailer."""
    rows, at = [], 0
    while at < len(data):
        (count,) = struct.unpack_from(">h", data, at)
        at += 2
        row: list[bytes | None] = []
        for _ in range(count):
            (length,) = struct.unpack_from(">i", data, at)
            at += 4
            row.append(None if length < 0 else data[at : at + length])
            at += max(length, 0)
        rows.append(row)
    return rows


def test_rows_come_back_as_they_went_in_whatever_the_mix_of_lengths() -> None:
    fixed = [b"aaaa", b"bbbb", b"cccc"]
    varied = [b"", b"x", b"longer"]
    holed = [None, b"y", None]
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    fields = [
        raw_field(fixed),
        raw_field(varied),
        raw_field(holed),
        vector_field(vectors, "vector"),
        constant_field(b"k", 3),
        constant_field(None, 3),
    ]
    rows = parse(pack_copy(fields, 3))
    assert [row[0] for row in rows] == fixed
    assert [row[1] for row in rows] == varied
    assert [row[2] for row in rows] == holed
    assert [row[4:] for row in rows] == [[b"k", None]] * 3
    assert [struct.unpack(">hh2f", row[3] or b"") for row in rows] == [(2, 0, 0, 1), (2, 0, 2, 3), (2, 0, 4, 5)]


def test_rows_of_one_width_are_one_block() -> None:
    fields = [raw_field([b"12345678"] * 4), vector_field(np.ones((4, 3), dtype=np.float32), "halfvec")]
    rows = parse(pack_copy(fields, 4))
    assert rows == [[b"12345678", struct.pack(">hh3e", 3, 0, 1, 1, 1)]] * 4


def test_bits_are_the_signs_of_the_values() -> None:
    field = vector_field(np.array([[1, -1, 0, 2, -3, 4, 5, -6, 7]], dtype=np.float32), "bit")
    assert field.tobytes()[4:] == struct.pack(">i", 9) + bytes([0b10010110, 0b10000000])


def test_no_rows_pack_to_nothing() -> None:
    assert pack_copy([raw_field([])], 0) == b""


def test_an_array_says_its_type_and_length() -> None:
    assert pack_array(20, []) == struct.pack(">iii", 0, 0, 20)
    packed = pack_array(25, [b"a", b"bc"])
    assert packed == struct.pack(">iiIii", 1, 0, 25, 2, 1) + b"\x00\x00\x00\x01a\x00\x00\x00\x02bc"
