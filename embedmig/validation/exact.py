"""Exact neighbours of many queries in both slots: vectors stream by once, in blocks, memory is bounded."""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

from psycopg import sql
from threadpoolctl import threadpool_limits

from embedmig.db import Connection
from embedmig.types import Collection, Floats, Key, Slot
from embedmig.validation.gpu_products import best_products
from embedmig.validation.pair import Pair, select_vectors
from embedmig.validation.products import ROWS_A_PRODUCT
from embedmig.validation.running_top_k import QUERIES_AT_ONCE, Ranking, RunningTopK
from embedmig.validation.stream import Block, decode_key, row_bytes, stream_blocks

_MOST_ROWS, _FEWEST_ROWS = 16_384, 64
_WHOLE_NUMBERS = {"smallint", "integer", "bigint"}

Progress = Callable[[int], None]
"""Called with how many rows were just read, a block at a time."""


def exact_top_k(
    conn: Connection,
    pair: Pair,
    queries: tuple[Floats | None, Floats | None],
    k: int,
    *,
    memory_mb: int = 512,
    on_progress: Progress | None = None,
) -> tuple[list[Ranking], list[Ranking]]:
    """The ``k`` nearest judged rows of each query in the source and in the target, by each model's own distance.

    ``queries``: (q, d_source) and (q, d_target); a side that is None is not asked and answers nothing. Ties go by key:
    whole numbers by value, all else by text. ``memory_mb`` bounds blocks and products; the result comes on top, about
    150 bytes x q x k. Several calls see the same rows in a transaction of one snapshot. There is one scan where both
    vectors stand in the user's table, and two where a companion has to be joined, so that the join carries keys only.

    Raises UnsupportedError and DimensionError as ``stream_blocks`` does.
    """
    decode, workers = partial(decode_key, encoding=conn.info.encoding), processors()
    # Portions of queries in threads of ours: a library's own threads would multiply faster and then wait for us.
    with (
        ThreadPoolExecutor(workers, "embedmig-exact") as pool,
        threadpool_limits(limits=1, user_api="blas"),
        best_products() as make_products,
    ):
        running = {
            side: RunningTopK(
                some,
                k,
                pair.slots[side].model.distance,
                tie_order(pair.collection, decode),
                pool.map,
                workers,
                make_products,
            )
            for side, some in enumerate(queries)
            if some is not None
        }
        for sides in [tuple(running)] if pair.in_one_table else [(side,) for side in running]:
            slots = [pair.slots[side] for side in sides]
            asked = [running[side] for side in sides]
            rows = rows_at_once(slots, max(len(one.queries) for one in asked), memory_mb)
            _read_through(conn, select_vectors(pair, slots), slots, asked, rows, on_progress)
    source, target = (running[side].rankings(decode) if side in running else [] for side in (0, 1))
    return source, target


def _read_through(
    conn: Connection,
    select: sql.Composable,
    slots: Sequence[Slot],
    asked: Sequence[RunningTopK],
    rows: int,
    on_progress: Progress | None,
) -> None:
    # Closed in this order even after Ctrl-C: the reader must be idle before its COPY is cancelled.
    with (
        closing(stream_blocks(conn, select, slots, rows_at_once=rows)) as coming,
        closing(read_ahead(coming)) as blocks,
    ):
        for block in blocks:
            for one, vectors in zip(asked, block.vectors, strict=True):
                one.add(vectors, block.raw_keys)
            if on_progress is not None:
                on_progress(len(block.raw_keys))


def rows_at_once(slots: Sequence[Slot], queries: int, memory_mb: int) -> int:
    """How many rows a block may have: two blocks as they came and as arrays, beside the products of all portions."""
    row, memory = 6 * row_bytes(slots) + 400, memory_mb * 2**20
    product = 9 * min(queries, QUERIES_AT_ONCE * processors())
    # The first where products are made for a part of the block at a time, the second where a block is no larger.
    rows = max((memory - product * ROWS_A_PRODUCT) // row, memory // (row + product))
    return max(_FEWEST_ROWS, min(_MOST_ROWS, rows))


def tie_order(collection: Collection, decode: Callable[[Any], Key]) -> Callable[[Any], tuple[int | str, ...]]:
    """What raw keys are ordered by, as ``ORDER BY`` over the key would for whole numbers, and for text in C order."""
    are_numbers = [column.type in _WHOLE_NUMBERS for column in collection.key]

    def order(raw: Any) -> tuple[int | str, ...]:
        return tuple(int(part) if number else part for part, number in zip(decode(raw), are_numbers, strict=True))

    return order


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_ahead(blocks: Iterator[Block]) -> Generator[Block, None, None]:
    """The same blocks; while one is worked on the next is read, for the server is as busy with it as we are."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedmig-read") as reader:
        coming = reader.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = reader.submit(next, blocks, None)
            yield block
