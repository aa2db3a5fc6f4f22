"""Maps stored source vectors into the target's space and writes them there: COPY out, a matrix product, COPY in.

A range of keys at a time, each in a transaction of its own, while the next is read. Nothing is embedded. What is not
certain is left out, and is the backfill's: rows with a vector, rows that an edit queued, vectors of another text.
"""

import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import psycopg
from psycopg import errors as pg
from psycopg import sql

from embedmig.backfill.bridge_statements import QUERIES, BridgeStatements, compose_statements, make_stage
from embedmig.backfill.key_text import keep_key_text
from embedmig.backfill.packing import COPY_HEADER, COPY_TRAILER, Field, constant_field, pack_copy, vector_field
from embedmig.backfill.targets import QUERIES as WRITING
from embedmig.backfill.unpacking import read_texts, read_vectors, split_rows, take_rows, unpack_copy
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError
from embedmig.types import Collection, Floats, Key, Placement, Slot

RANGE_ROWS = 8192
_ATTEMPTS = 10
_AGAIN = (pg.UniqueViolation, pg.DeadlockDetected, pg.SerializationFailure, pg.LockNotAvailable)
_TIMEOUT_S = 60.0

Map = Callable[[Floats, Sequence[str] | None], Floats]
"""(n, d_old) and, where it reads them, the rows' texts, to (n, d_new)."""


@dataclass(frozen=True, kw_only=True)
class BridgeProgress:
    """A step of a bridge."""

    rows_planned: int
    rows_seen: int
    """Of those planned, mapped or left out."""
    rows_written: int
    rows_per_s: float
    eta_s: float | None


@dataclass(frozen=True, kw_only=True)
class Bridged:
    """What a bridge did."""

    rows_planned: int
    """Rows that had a source vector and no target vector when it began."""
    rows_written: int
    interrupted: bool
    seconds: float


@dataclass(frozen=True, kw_only=True)
class _Range:
    first: Key
    last: Key
    rows: int

    @property
    def keys(self) -> dict[str, list[str]]:
        return {"first": list(self.first), "last": list(self.last)}


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Rows of a range with their source vectors."""

    keys: list[Field]
    hashes: Field
    vectors: Floats
    texts: list[str] | None

    def __len__(self) -> int:
        return len(self.vectors)


def bridge_rows(
    db: Database,
    collection: Collection,
    source: Slot,
    target: Slot,
    mapped: Map,
    *,
    reads_texts: bool = False,
    range_rows: int = RANGE_ROWS,
    on_progress: Callable[[BridgeProgress], object] | None = None,
    stop: threading.Event | None = None,
) -> Bridged:
    """Gives rows that lack a vector in ``target`` the one that ``mapped`` makes of theirs in ``source``, under the
    bridge's model id and with the hash of their present text.

    Ctrl-C and ``stop`` end it after the range in hand; begun again it goes on with what still lacks a vector. Raises
    RefusedError while another process bridges this slot, UnsupportedError for source vectors of one bit a dimension.
    """
    stop, began = stop or threading.Event(), time.monotonic()
    with ExitStack() as stack:
        reader, writer = (stack.enter_context(_connect(db, collection)) for _ in range(2))
        _hold(writer, collection, target)
        statements = compose_statements(reader, collection, source, target, reads_texts=reads_texts)
        make_stage(writer, collection, source, target)
        work = _Work(reader, writer, statements, mapped, reads_texts=reads_texts)
        ranges = work.cut(range_rows)
        meter = _Meter(sum(one.rows for one in ranges), began, on_progress)
        pool = stack.enter_context(ThreadPoolExecutor(2, "embedmig bridge"))
        try:
            interrupted = _run(work, ranges, pool, meter, stop)
        except KeyboardInterrupt:
            interrupted = True
    return Bridged(
        rows_planned=meter.planned,
        rows_written=work.written,
        interrupted=interrupted,
        seconds=time.monotonic() - began,
    )


@contextmanager
def _connect(db: Database, collection: Collection) -> Iterator[Connection]:
    with db.connect() as conn:
        keep_key_text(conn, collection)
        yield conn


def _hold(conn: Connection, collection: Collection, target: Slot) -> None:
    row = conn.execute(QUERIES["hold_bridging"], {"slot_id": target.id}).fetchone()
    if row is None or not row["held"]:
        raise RefusedError(f"another process is bridging {collection.name} {target.name} at this moment: let it finish")


def _run(
    work: "_Work", ranges: Sequence[_Range], pool: ThreadPoolExecutor, meter: "_Meter", stop: threading.Event
) -> bool:
    """Reads a range while the last one is mapped and the one before is written. True when it was stopped before the
    end; what was mapped is written in any case."""
    writing: Future[None] | None = None
    reading = pool.submit(work.read, ranges[0]) if ranges else None
    mapped = 0
    for place, one in enumerate(ranges):
        if stop.is_set():
            break
        assert reading is not None
        packed = work.map(reading.result())
        following = ranges[place + 1 : place + 2]
        reading = pool.submit(work.read, following[0]) if following else None
        if writing is not None:
            writing.result()
        meter.say(ranges[:place], work.written)
        writing = pool.submit(work.write, one, packed)
        mapped = place + 1
    if writing is not None:
        writing.result()
    meter.say(ranges[:mapped], work.written)
    return mapped < len(ranges)


@dataclass(frozen=True, kw_only=True)
class _Packed:
    """Rows of a range in the target's space, as COPY takes them."""

    rows: int
    body: bytes


class _Work:
    """The three steps of a range, and how many rows were written. Reading and writing run beside each other."""

    def __init__(
        self,
        reader: Connection,
        writer: Connection,
        statements: BridgeStatements,
        mapped: Map,
        *,
        reads_texts: bool,
    ) -> None:
        self._reader, self._writer, self._statements = reader, writer, statements
        self._mapped, self._reads_texts = mapped, reads_texts
        self._begin = WRITING["begin"].format(timeout=sql.Literal(f"{int(_TIMEOUT_S * 1000)}ms"))
        self.written = 0

    def cut(self, range_rows: int) -> list[_Range]:
        """What lacks a vector, by ranges."""
        rows = self._reader.execute(self._statements.cut_ranges, {"range_rows": range_rows}).fetchall()
        self._reader.execute(QUERIES["read_by_key"])
        return [_Range(first=tuple(row["first"]), last=tuple(row["last"]), rows=row["rows"]) for row in rows]

    def read(self, one: _Range, conn: Connection | None = None) -> _Block:
        """The rows of a range that can be mapped."""
        statements = self._statements
        columns = self._fetch(conn or self._reader, one)
        if not columns:
            empty = np.empty((0, statements.source.model.dimensions), dtype=np.float32)
            return _Block(keys=[], hashes=[], vectors=empty, texts=None)
        keys, (hashes, vectors, *texts) = columns[: statements.key_width], columns[statements.key_width :]
        return _Block(
            keys=keys,
            hashes=hashes,
            vectors=read_vectors(vectors, statements.source.vector_type),
            texts=read_texts(texts[0], self._reader.info.encoding) if texts else None,
        )

    def _fetch(self, conn: Connection, one: _Range) -> list[Field]:
        statements = self._statements
        values = {"slot_ids": [statements.source.id, statements.target.id], **one.keys}
        if statements.read_at_once is not None:
            row = conn.execute(statements.read_at_once, values, binary=True).fetchone()
            return split_rows(b"" if row is None or row["rows"] is None else row["rows"], statements.widths)
        with conn.cursor() as cursor, cursor.copy(statements.read_range, values) as copy:
            data = b"".join(copy)
        return unpack_copy(data, statements.key_width + 2 + self._reads_texts)

    def map(self, block: _Block) -> _Packed:
        """The same rows in the target's space, without those that have no direction there."""
        usable = np.flatnonzero(np.isfinite(block.vectors).all(axis=1) & block.vectors.any(axis=1)).tolist()
        block = block if len(usable) == len(block) else _take(block, usable)
        if not len(block):
            return _Packed(rows=0, body=b"")
        target = self._statements.target
        fields: list[Field] = [*block.keys, vector_field(self._mapped(block.vectors, block.texts), target.vector_type)]
        if target.placement is Placement.COMPANION:
            fields.append(constant_field(struct.pack(">i", target.bridge_model_id), len(block)))
        return _Packed(rows=len(block), body=pack_copy([*fields, block.hashes], len(block)))

    def write(self, one: _Range, packed: _Packed) -> None:
        """Writes a range and commits; read anew and again where somebody wrote a row of it meanwhile."""
        for attempt in range(1, _ATTEMPTS + 1):
            if not packed.rows:
                return
            try:
                self.written += self._write_once(one, packed)
            except _AGAIN:
                self._roll_back()
                if attempt == _ATTEMPTS:
                    raise
                packed = self.map(self.read(one, self._writer))
            except psycopg.Error:
                self._roll_back()
                raise
            else:
                return

    def _write_once(self, one: _Range, packed: _Packed) -> int:
        self._writer.execute(self._begin, prepare=False)
        with self._writer.cursor() as cursor, cursor.copy(self._statements.copy) as copy:
            for part in (COPY_HEADER, packed.body, COPY_TRAILER):
                copy.write(part)
        cursor = psycopg.ClientCursor(self._writer)
        cursor.execute(sql.SQL("{}; COMMIT").format(self._statements.finish), one.keys)
        companion = self._statements.target.placement is Placement.COMPANION
        return packed.rows - cursor.rowcount if companion else cursor.rowcount

    def _roll_back(self) -> None:
        """Best effort: a broken connection has rolled back by itself."""
        if not self._writer.broken and not self._writer.closed:
            self._writer.rollback()


class _Meter:
    """Passes a step on each time."""

    def __init__(self, planned: int, began: float, on_progress: Callable[[BridgeProgress], object] | None) -> None:
        self.planned, self._began, self._on_progress = planned, began, on_progress
        self.say((), 0)

    def say(self, done: Sequence[_Range], written: int) -> None:
        """``done``: the ranges that are written."""
        if self._on_progress is None:
            return
        seen, seconds = sum(one.rows for one in done), time.monotonic() - self._began
        rate = seen / seconds if seconds > 0 else 0.0
        step = BridgeProgress(
            rows_planned=self.planned,
            rows_seen=seen,
            rows_written=written,
            rows_per_s=rate,
            eta_s=(self.planned - seen) / rate if rate else None,
        )
        self._on_progress(step)


def _take(block: _Block, rows: list[int]) -> _Block:
    return _Block(
        keys=[take_rows(field, rows) for field in block.keys],
        hashes=take_rows(block.hashes, rows),
        vectors=block.vectors[rows],
        texts=None if block.texts is None else [block.texts[row] for row in rows],
    )
