"""The queue of edited rows, as a claim of one of its buckets sees it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from embedmig.backfill.chunks import Chunk
from embedmig.db import Connection, Queries
from embedmig.types import Key

QUERIES = Queries(__package__, "queue.sql")

_ENTRIES = 5000
"""So many entries are looked at in one claim; a row that was edited often has many."""


@dataclass(frozen=True, kw_only=True)
class QueuedKey:
    """One key with all its entries that were seen."""

    key: Key
    seqs: list[int]
    brought_seqs: list[int]
    """Those among them that tell of a vector brought by the application."""
    edited: int | None
    """The last edit; None when there was none."""
    settled: int
    """How often a writer queued it again."""
    queued_us: int
    """Since when it waits, in microseconds since 2000."""


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """What a claim of a bucket has before it."""

    keys: list[QueuedKey]
    truncated_seqs: list[int]
    """Entries without a key: the table was truncated."""
    cut: str
    """No entry seen was ready after this moment."""
    full: bool
    """There may be more than was taken."""


def look_at_bucket(conn: Connection, chunk: Chunk, *, keys: int, wanted: Sequence[Key] | None = None) -> QueueView:
    """The oldest ``keys`` keys that are ready in the claimed bucket, ``wanted`` ones only if given. The rows' texts
    must be read by a later statement: only then is an edit that comes meanwhile either in the text or in an entry that
    was not seen."""
    cut = conn.execute(QUERIES["cut"]).fetchone()
    assert cut is not None
    chosen = None if wanted is None else [as_json(key) for key in wanted]
    values = {"slot_id": chunk.slot_id, "bucket": chunk.bucket, "entries": _ENTRIES, "keys": keys, "wanted": chosen}
    rows = conn.execute(QUERIES["seen"], values | cut).fetchall()
    queued = [_queued_key(row) for row in rows if row["key"] is not None]
    truncated = [seq for row in rows if row["key"] is None for seq in row["seqs"]]
    entries = sum(len(row["seqs"]) for row in rows)
    return QueueView(
        keys=queued, truncated_seqs=truncated, cut=cut["cut"], full=len(rows) == keys or entries >= _ENTRIES
    )


def as_json(key: Key) -> str:
    """A key as one text, as ``array_to_json`` writes it: an array of arrays could not hold keys of several columns."""
    return json.dumps(list(key), ensure_ascii=False, separators=(",", ":"))


def queue_key(conn: Connection, slot_id: int, key: Key) -> None:
    """Queues a key for a slot, as an edit would."""
    conn.execute(QUERIES["queue_key"], {"slot_id": slot_id, "key": list(key)})


def forget_expired(conn: Connection, slot_ids: Sequence[int]) -> None:
    """Forgets which vectors the application brought more than 7 days ago."""
    conn.execute(QUERIES["forget_expired"], {"slot_ids": list(slot_ids)})


def _queued_key(row: dict[str, object]) -> QueuedKey:
    values = row | {
        "key": tuple(row["key"]),  # type: ignore[arg-type]
        "brought_seqs": row["brought_seqs"] or [],
    }
    return QueuedKey(**values)  # type: ignore[arg-type]
