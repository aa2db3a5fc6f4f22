"""Sizes and shares foretold from counts: pure arithmetic, each checked against Postgres by a test or a measurement."""

import math
from collections.abc import Sequence

PAGE_BYTES = 8192
_PAGE_ROOM = PAGE_BYTES - 24
_ROW_HEADER = 24 + 4
"""A tuple's header, and its line pointer."""
_TOAST_ABOVE = 2032
_TOAST_CHUNK = 1996
_TOAST_CHUNK_ROW = _TOAST_CHUNK + 12 + _ROW_HEADER
_TOAST_POINTER = 18
_LEAST_TOAST_TARGET = 128
LABEL_BYTES = 4 + 16
"""The model's id and the text's hash beside each vector."""


def vector_bytes(dimensions: int, vector_type: str) -> int:
    """One vector as it is stored."""
    if vector_type == "bit":
        return math.ceil(dimensions / 8) + 8
    return dimensions * (2 if vector_type == "halfvec" else 4) + 8


def stored_vector_bytes(dimensions: int, vector_type: str, *, beside_bytes: int) -> tuple[int, int]:
    """What one vector adds in the row and out of line, in a row that is ``beside_bytes`` without it."""
    size = vector_bytes(dimensions, vector_type)
    if beside_bytes + size <= _TOAST_ABOVE:
        return size, 0
    return _TOAST_POINTER, math.ceil(size / _TOAST_CHUNK) * _TOAST_CHUNK_ROW


def companion_bytes(rows: int, dimensions: int, vector_type: str, *, key_bytes: int) -> int:
    """A companion of ``rows`` rows with its primary key's index, without an ANN index."""
    beside = _ROW_HEADER + _align(key_bytes) + LABEL_BYTES
    size = vector_bytes(dimensions, vector_type)
    row = _align(beside + size)
    if row > _PAGE_ROOM:
        inside, outside = stored_vector_bytes(dimensions, vector_type, beside_bytes=beside)
        heap = _in_pages(rows, _align(beside + inside)) + rows * outside
    else:
        heap = _in_pages(rows, row)
    return heap + _in_pages(rows, _align(key_bytes) + 20)


def column_bytes(rows: int, dimensions: int, vector_type: str, *, row_bytes: int) -> int:
    """What in-place writing adds to a table of ``rows`` rows, each ``row_bytes`` now: every row is written once more,
    with its vector; the old versions become free space once vacuum has passed."""
    inside, outside = stored_vector_bytes(dimensions, vector_type, beside_bytes=row_bytes + LABEL_BYTES)
    return _in_pages(rows, row_bytes + inside + LABEL_BYTES) + rows * outside


def hnsw_memory_bytes(rows: int, dimensions: int, vector_type: str, m: int = 16) -> int:
    """The memory that an HNSW build wants for its graph; with less it goes on from disk, several times slower."""
    return rows * (vector_bytes(dimensions, vector_type) + 2 * m * 20 + 108)


def hnsw_index_bytes(rows: int, dimensions: int, vector_type: str, m: int = 16) -> int:
    """The finished HNSW index: an element and its neighbours share a page where they fit."""
    element = _align(vector_bytes(dimensions, vector_type) + 80)
    neighbours = _align(6 * m * 2 + 32)
    if element + neighbours > _PAGE_ROOM:
        return rows * 2 * PAGE_BYTES
    return _in_pages(rows, element + neighbours)


def hnsw_insert_wal_bytes(dimensions: int, vector_type: str, m: int = 16) -> int:
    """WAL that one more row costs an HNSW index: its element, and the neighbours that link back to it. Measured from
    128 to 1536 dimensions; full-page images after a checkpoint come on top."""
    return vector_bytes(dimensions, vector_type) + 2 * m * 58


def companion_wal_bytes(rows: int, dimensions: int, vector_type: str, *, key_bytes: int) -> int:
    """WAL of filling a companion by COPY, its primary key's index included."""
    inside, outside = stored_vector_bytes(dimensions, vector_type, beside_bytes=key_bytes + LABEL_BYTES)
    return rows * (inside + outside + LABEL_BYTES + 2 * key_bytes + 140)


def column_wal_bytes(
    rows: int,
    dimensions: int,
    vector_type: str,
    *,
    row_bytes: int,
    hot: float,
    index_count: int,
    hnsw_wal_bytes: int,
) -> int:
    """WAL of writing in place. A HOT update logs what it adds; any other the whole row, an entry in each of the table's
    indexes, and the row once more into its HNSW indexes (``hnsw_wal_bytes`` a row for all of them)."""
    inside, outside = stored_vector_bytes(dimensions, vector_type, beside_bytes=row_bytes + LABEL_BYTES)
    added = inside + outside + LABEL_BYTES + 120
    return round(rows * (added + (1 - hot) * (row_bytes + index_count * 90 + hnsw_wal_bytes)))


def ivfflat_index_bytes(rows: int, dimensions: int, vector_type: str) -> int:
    """The finished IVFFlat index."""
    return _in_pages(rows, _align(vector_bytes(dimensions, vector_type) + 12))


def choose_lists(rows: int) -> int:
    """IVFFlat's lists as pgvector advises: rows / 1000 up to a million rows, the square root beyond."""
    return min(32_768, max(1, rows // 1000 if rows <= 1_000_000 else int(math.sqrt(rows))))


def hot_share(
    *, tuples_a_page: float, row_bytes: float, added_bytes: float, fillfactor: int = 100, horizon_held: bool = False
) -> float:
    """Which share of in-place updates (page-strided, one row of each page a transaction) stays on its page, and so
    leaves an HNSW index on another column alone.

    A page is walked row by row, as Postgres does it: a version that fits goes there; one that does not marks the page
    full; dead versions are pruned when the page is full or nearly so, and never while a transaction elsewhere holds the
    xmin horizon back.
    """
    rows = max(1, round(tuples_a_page))
    nearly_full = max(PAGE_BYTES / 10, PAGE_BYTES * (100 - fillfactor) / 100)
    free, dead, full, hot = _PAGE_ROOM - rows * row_bytes, 0.0, False, 0
    for _ in range(rows):
        if not horizon_held and (full or free < nearly_full):
            free, dead, full = free + dead, 0.0, False
        if free >= row_bytes + added_bytes:
            hot += 1
            free -= row_bytes + added_bytes
        else:
            full = True
        dead += row_bytes
    return hot / rows


def out_of_line(row_bytes: int, stored: Sequence[int], added: int) -> tuple[int, int] | None:
    """How low ``toast_tuple_target`` must be for a row's vectors to leave it when it is updated, and what is left of
    the row then. None where that gains nothing. ``stored``: the vectors that the row of ``row_bytes`` has, in bytes;
    ``added``: the new one.

    Postgres moves the largest values out until the rest is below the target, but looks at rows over 2,032 bytes alone.
    The target leaves a quarter of room, so that texts stay where they are.
    """
    inside = [size for size in stored if size < row_bytes]
    if not inside or row_bytes + LABEL_BYTES + added <= _TOAST_ABOVE:
        return None
    left = row_bytes - sum(inside) + (len(inside) + 1) * _TOAST_POINTER + LABEL_BYTES
    target = max(_LEAST_TOAST_TARGET, math.ceil(left * 1.25 / 64) * 64)
    return (target, left) if left < row_bytes and target < _TOAST_ABOVE else None


def _in_pages(rows: int, row_bytes: int) -> int:
    if row_bytes > _PAGE_ROOM:
        return rows * math.ceil(row_bytes / _PAGE_ROOM) * PAGE_BYTES
    return math.ceil(rows / (_PAGE_ROOM // row_bytes)) * PAGE_BYTES


def _align(size: int) -> int:
    return -(-size // 8) * 8
