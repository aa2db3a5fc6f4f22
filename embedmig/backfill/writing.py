"""Writes a group in one transaction under its chunk's fence: vectors, what must be looked at again, what is forgotten.

Where rows of the user's table are locked, everything after the stage goes in one message that ends with COMMIT, so
that a worker which stops between leaves no lock that users could meet.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import errors as pg
from psycopg import sql

from embedmig.backfill.groups import Entries, Group
from embedmig.backfill.packing import (
    COPY_HEADER,
    COPY_TRAILER,
    Field,
    Raw,
    constant_field,
    pack_copy,
    raw_field,
    vector_field,
)
from embedmig.backfill.reading import FAIL, UNRECORD, WRITE
from embedmig.backfill.targets import QUERIES, Target
from embedmig.db import Connection
from embedmig.errors import LeaseLostError
from embedmig.types import Floats, Placement

_LEASE_LOST = "EM001"
_ATTEMPTS = 5
_AGAIN = (pg.UniqueViolation, pg.DeadlockDetected, pg.SerializationFailure, pg.LockNotAvailable)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What came of writing a group."""

    rows: int
    """Rows whose vector was given to the database; those that changed meanwhile are queued again by it."""
    queued_again: int
    updated: int = 0
    hot: int = 0
    """Updates of the user's table, and how many of them left its indexes alone."""


def write_group(conn: Connection, target: Target, group: Group, *, lease_s: float, rest_s: float) -> Written:
    """Writes the group and commits. ``rest_s``: how long a drained queue bucket is then left in peace.

    Raises LeaseLostError when another worker holds the chunk by now: nothing was written.
    """
    straight = target.copy_slot is not None and group.fresh and group.entries is None
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _write_once(conn, target, group, straight=straight, lease_s=lease_s, rest_s=rest_s)
        except _AGAIN:
            # 23505: another worker wrote one of the keys between our read and our COPY. The others: two of ours met.
            conn.rollback()
            straight = False
            if attempt == _ATTEMPTS:
                raise
        except psycopg.Error as exc:
            _roll_back(conn)
            if exc.sqlstate == _LEASE_LOST:
                raise LeaseLostError(
                    f"chunk {group.lease.chunk.id}: its lease ran out and another worker has it", sqlstate=_LEASE_LOST
                ) from exc
            raise
    raise AssertionError("there is at least one attempt")


def _write_once(
    conn: Connection, target: Target, group: Group, *, straight: bool, lease_s: float, rest_s: float
) -> Written:
    hold = _hold(group, lease_s=lease_s, rest_s=rest_s)
    begin = QUERIES["begin"].format(timeout=sql.Literal(f"{int(lease_s * 1000)}ms"))
    if straight and group.actions:
        conn.execute(sql.SQL(";\n").join([begin, hold]), prepare=False)
        assert target.copy_slot is not None
        _copy(conn, target.copy_slot, _slot_rows(group, target))
        _copy(conn, target.copy_stage, _stage_rows(group, target, with_vectors=False))
        return _finish(conn, target, group, ["take_back"], hold=None)
    conn.execute(begin, prepare=False)
    if group.actions:
        _copy(conn, target.copy_stage, _stage_rows(group, target, with_vectors=True))
    return _finish(conn, target, group, _statements(target, group), hold=hold)


def _statements(target: Target, group: Group) -> list[str]:
    names: list[str] = []
    if group.entries is not None and group.entries.truncated and target.slot.placement is Placement.COMPANION:
        names.append("queue_orphans")
    if not group.actions:
        return names
    if target.slot.placement is Placement.COMPANION:
        return [*names, "upsert", "delete_orphans", "settle_companion"]
    if target.slot.hash_column is None:
        return [*names, "write_unrecorded"]
    unrecord = ["unrecord"] if UNRECORD in group.actions else []
    return [*names, "write_column", *unrecord, "settle_column"]


def _finish(
    conn: Connection, target: Target, group: Group, names: Sequence[str], *, hold: sql.Composed | None
) -> Written:
    """The one message: fence, write, settle, forget, COMMIT."""
    names = [*names, *(["fail"] if group.reasons else [])]
    steps: list[tuple[str, sql.Composable]] = [] if hold is None else [("hold", hold)]
    in_place = target.slot.placement is Placement.COLUMN and bool(group.actions)
    # The server counts updates until it reports them, between transactions: only a difference within one is ours.
    count = [("count_hot", QUERIES["count_hot"].format(relation=target.relation))] if in_place else []
    steps += [*count, *((name, target.statements[name]) for name in names), *count]
    if group.entries is not None:
        steps += _forget(target, group, group.entries)
    steps.append(("commit", sql.SQL("COMMIT")))
    return _run(conn, steps, rows=len(group.written))


def _run(conn: Connection, steps: Sequence[tuple[str, sql.Composable]], *, rows: int) -> Written:
    cursor = conn.execute(sql.SQL(";\n").join(step for _, step in steps), prepare=False)
    queued_again, counts = 0, [(0, 0)]
    for name, _ in steps:
        if name in ("settle_column", "settle_companion", "take_back", "write_unrecorded"):
            queued_again += cursor.rowcount
        elif name == "count_hot":
            counted = cursor.fetchone()
            assert counted is not None
            counts.append((counted["updated"], counted["hot"]))
        cursor.nextset()
    (updated_before, hot_before), (updated, hot) = counts[-2:] if len(counts) > 2 else [(0, 0), (0, 0)]
    return Written(rows=rows, queued_again=queued_again, updated=updated - updated_before, hot=hot - hot_before)


def _hold(group: Group, *, lease_s: float, rest_s: float) -> sql.Composed:
    finish = group.lease.are_last_groups(group.count)
    if finish and group.lease.chunk.bucket is not None:
        lease_s = rest_s if group.entries is None or group.entries.drained else 0.0
    values = {
        "chunk_id": group.lease.chunk.id,
        "token": group.lease.chunk.token,
        "lease_s": lease_s,
        "rows": len(group.written),
        "tokens": group.tokens,
        "finish": finish,
    }
    return QUERIES["hold"].format(**{name: sql.Literal(value) for name, value in values.items()})


def _forget(target: Target, group: Group, entries: Entries) -> list[tuple[str, sql.Composable]]:
    where = {
        "slot_id": sql.Literal(target.slot.id),
        "bucket": sql.Literal(group.lease.chunk.bucket),
        "cut": sql.Literal(entries.cut),
    }
    steps: list[tuple[str, sql.Composable]] = []
    if seen_to := group.keys_seen_to:
        succeed = QUERIES["succeed"].format(slot_id=where["slot_id"], keys=sql.Literal(json.dumps(seen_to)))
        steps.append(("succeed", succeed))
    if entries.seqs:
        steps.append(("forget", QUERIES["forget"].format(**where, seqs=sql.Literal(entries.seqs))))
    if entries.brought_seqs:
        steps.append(("remember", QUERIES["remember"].format(**where, seqs=sql.Literal(entries.brought_seqs))))
        if UNRECORD in group.actions:
            steps.append(("settle_unrecorded", target.statements["settle_unrecorded"]))
    return steps


def _copy(conn: Connection, statement: sql.Composed, rows: bytes) -> None:
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(COPY_HEADER + rows + COPY_TRAILER)


def _slot_rows(group: Group, target: Target) -> bytes:
    rows = group.written
    assert group.vectors is not None
    model = constant_field(struct.pack(">i", target.slot.model.id), len(rows))
    fields = [
        *_key_fields(group, rows),
        vector_field(group.vectors, target.slot.vector_type),
        model,
        raw_field([group.hashes[row] for row in rows]),
    ]
    return pack_copy(fields, len(rows))


def _stage_rows(group: Group, target: Target, *, with_vectors: bool) -> bytes:
    written = set(group.written)
    others = [row for row in range(len(group.actions)) if row not in written]
    vectors = group.vectors if with_vectors else None
    return _stage_part(group, target, group.written, vectors) + _stage_part(group, target, others, None)


def _stage_part(group: Group, target: Target, rows: Sequence[int], vectors: Floats | None) -> bytes:
    """Rows of the stage, in the order of make_stage."""
    if not rows:
        return b""
    count = len(rows)
    vector: Field = constant_field(None, count) if vectors is None else vector_field(vectors, target.slot.vector_type)
    reasons: list[Raw] = [_encode(group.reasons.get(row), target.source.encoding) for row in rows]
    actions: list[Raw] = [FAIL if row in group.reasons else group.actions[row] for row in rows]
    fields = [
        *_key_fields(group, rows),
        vector,
        raw_field([group.hashes[row] if group.actions[row] == WRITE else None for row in rows]),
        raw_field([group.seen[row] for row in rows]),
        raw_field(actions),
        *_mark_fields(group, rows),
        raw_field(reasons),
    ]
    return pack_copy(fields, count)


def _key_fields(group: Group, rows: Sequence[int]) -> list[Field]:
    return [raw_field([column[row] for row in rows]) for column in group.keys]


def _mark_fields(group: Group, rows: Sequence[int]) -> list[Field]:
    marks = group.marks
    if marks is None:
        return [constant_field(None, len(rows))] * 3
    return [
        raw_field([struct.pack(">h", marks.settled[row]) for row in rows]),
        raw_field([struct.pack(">q", marks.origin[row]) for row in rows]),
        raw_field([struct.pack(">q", marks.queued_us[row]) for row in rows]),
    ]


def _encode(reason: str | None, encoding: str) -> Raw:
    return None if reason is None else reason.encode(encoding, "replace")


def _roll_back(conn: Connection) -> None:
    """Best effort: a broken connection has rolled back by itself."""
    if not conn.broken and not conn.closed:
        conn.rollback()
