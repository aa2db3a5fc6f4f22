"""The guard: embeds a few of the rows whose vector the application has just written, and compares.

What the application writes carries a claim, not a proof. An instance that was forgotten at a switch writes vectors of
the other model, and where both have the same number of dimensions nothing else would notice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from psycopg.types.json import Jsonb

from embedmig.backfill.fragments import vector_identity
from embedmig.backfill.key_text import keep_key_text
from embedmig.backfill.queue import queue_key
from embedmig.catalog.events import log_event
from embedmig.catalog.models import get_fingerprint
from embedmig.catalog.slots import list_slots
from embedmig.catalog.suspects import (
    Suspect,
    SuspectWriter,
    add_compared,
    clear_suspect,
    list_suspects,
    list_writers,
    mark_suspect,
)
from embedmig.db import Connection, Queries
from embedmig.db import identifiers as ident
from embedmig.embedders import load_embedder
from embedmig.errors import UsageError
from embedmig.search.embedding import check_model
from embedmig.types import Collection, Floats, Key, Maintainer, ModelState, Placement, Slot

QUERIES = Queries(__package__, "guard.sql")

_ALL = 1_000_000


@dataclass(frozen=True, kw_only=True)
class GuardLook:
    """One look of the guard."""

    compared: int
    mismatched: int
    cleared: int
    """Rows that were marked and are right by now, or gone."""
    writers: tuple[SuspectWriter, ...]
    """Who wrote what is marked after this look."""


@dataclass(frozen=True, kw_only=True)
class _Written:
    """A vector of the application's, with the entries that tell of it."""

    key: Key
    seqs: list[int]
    writer: str | None
    written_at: datetime


def guard_rows(conn: Connection, collection: Collection, *, rows: int, cosine: float) -> GuardLook:
    """Compares up to ``rows`` fresh rows of each slot that the application may write, and the marked ones whose vector
    changed. ``cosine``: from here on two vectors are the same.

    Raises ProviderError when a model cannot be asked (FingerprintError when it is not the one that was registered);
    nothing is marked then.
    """
    keep_key_text(conn, collection)
    compared = mismatched = cleared = 0
    for slot in guarded_slots(conn, collection):
        cleared += _look_again(conn, collection, slot, rows, cosine)
        some, wrong = _look_at_fresh(conn, collection, slot, rows, cosine)
        compared, mismatched = compared + some, mismatched + wrong
    return GuardLook(
        compared=compared, mismatched=mismatched, cleared=cleared, writers=tuple(list_writers(conn, collection))
    )


def guarded_slots(conn: Connection, collection: Collection) -> list[Slot]:
    """Those that embedmig maintains beside the application, by a model that can still be asked."""
    return [
        slot
        for slot in list_slots(conn, collection)
        if slot.placement is Placement.COLUMN
        and slot.maintained_by is Maintainer.EMBEDMIG
        and slot.model.state is not ModelState.GONE
    ]


def requeue_suspects(conn: Connection, collection: Collection) -> int:
    """Queues the marked rows, so that reembed writes them anew by the model they claim; gives how many. They stay
    marked until a look finds them right."""
    keep_key_text(conn, collection)
    queued = 0
    with conn.transaction():
        for slot in guarded_slots(conn, collection):
            for suspect in list_suspects(conn, slot, limit=_ALL):
                queue_key(conn, slot.id, suspect.key)
                queued += 1
        if queued:
            log_event(conn, "guard --requeue", collection.name, became=f"{queued} rows queued")
    return queued


def accept_suspects(conn: Connection, collection: Collection, why: str) -> int:
    """Takes all marks off, for a person's reason, which is kept in the log; gives how many."""
    if not why.strip():
        raise UsageError("--accept needs a reason: it is kept in the event log")
    accepted = 0
    with conn.transaction():
        for slot in list_slots(conn, collection):
            for suspect in list_suspects(conn, slot, limit=_ALL):
                clear_suspect(conn, slot, suspect.key)
                accepted += 1
        if accepted:
            log_event(conn, "guard --accept", collection.name, became=f"{accepted} rows accepted", why=why)
    return accepted


def _look_at_fresh(conn: Connection, collection: Collection, slot: Slot, rows: int, cosine: float) -> tuple[int, int]:
    """How many were compared, and how many of them are not the model's."""
    written = {one.key: one for one in _list_written(conn, slot, 4 * rows)}
    if not written:
        return 0, 0
    there = {tuple(row["key"]): row for row in _read(conn, collection, slot, list(written))}
    # Where an edit waits, the row is looked at when it has been embedded.
    settled = [key for key in written if key not in there or not there[key]["edited"]]
    chosen = [there[key] for key in settled if key in there and there[key]["comparable"]][:rows]
    done = {tuple(row["key"]) for row in chosen} | {key for key in settled if not _is_comparable(there.get(key))}
    found = _compare(conn, slot, chosen)
    suspects = [
        Suspect(key=key, writer=written[key].writer, written_at=written[key].written_at, cosine=alike, vector=vector)
        for key, (alike, vector) in found.items()
        if not alike >= cosine
    ]
    with conn.transaction():
        for suspect in suspects:
            mark_suspect(conn, slot, suspect)
        seqs = [seq for key in done for seq in written[key].seqs]
        conn.execute(QUERIES["note_guarded"], {"slot_id": slot.id, "seqs": seqs})
        if found:
            add_compared(conn, slot, compared=len(found), mismatched=len(suspects))
        _log(conn, collection, slot, suspects)
    return len(found), len(suspects)


def _is_comparable(row: dict[str, Any] | None) -> bool:
    return row is not None and bool(row["comparable"])


def _look_again(conn: Connection, collection: Collection, slot: Slot, rows: int, cosine: float) -> int:
    """Takes the mark off rows that are right by now, or gone; gives how many."""
    suspects = {suspect.key: suspect for suspect in list_suspects(conn, slot, limit=_ALL)}
    if not suspects:
        return 0
    there = {tuple(row["key"]): row for row in _read(conn, collection, slot, list(suspects))}
    gone = [key for key in suspects if key not in there or there[key]["identity"] is None]
    changed = [row for key, row in there.items() if _is_comparable(row) and row["identity"] != suspects[key].vector]
    found = _compare(conn, slot, changed[: max(rows, 1)])
    right = [key for key, (alike, _) in found.items() if alike >= cosine]
    with conn.transaction():
        for key in right + gone:
            clear_suspect(conn, slot, key)
        for key in set(found) - set(right):
            mark_suspect(conn, slot, replace(suspects[key], cosine=found[key][0], vector=found[key][1]))
        if right or gone:
            log_event(conn, "guard", collection.name, became=f"{len(right) + len(gone)} rows are right", slot=slot.name)
    return len(right) + len(gone)


def _list_written(conn: Connection, slot: Slot, limit: int) -> list[_Written]:
    """The newest, one a key; a row that was written several times has several entries."""
    found: dict[Key, _Written] = {}
    for entry in conn.execute(QUERIES["list_unguarded"], {"slot_id": slot.id, "limit": limit}):
        key = tuple(entry["key"])
        if key in found:
            found[key].seqs.append(entry["seq"])
        else:
            found[key] = _Written(key=key, seqs=[entry["seq"]], writer=entry["writer"], written_at=entry["queued_at"])
    return list(found.values())


def _compare(conn: Connection, slot: Slot, rows: Sequence[dict[str, Any]]) -> dict[Key, tuple[float, UUID]]:
    """By key, how alike the row's vector and the model's are, and which vector it is."""
    if not rows:
        return {}
    check_model(slot.model, get_fingerprint(conn, slot.model))
    fresh = load_embedder(slot.model).embed_documents([row["text"] for row in rows])
    return {
        tuple(row["key"]): (_cosine(row["vector"].to_numpy(), vector), row["identity"])
        for row, vector in zip(rows, fresh, strict=True)
    }


def _read(conn: Connection, collection: Collection, slot: Slot, keys: Sequence[Key]) -> list[dict[str, Any]]:
    query = QUERIES["read_written"].format(
        text=ident.text(collection, "d", slot.text_separator),
        vector=ident.vector(slot),
        identity=vector_identity(slot),
        wants=ident.wants_vector(collection, "d"),
        model_id=ident.model_id(slot),
        table=ident.table(collection),
        keys=ident.keys(collection, "d"),
        key=ident.key_from_array(collection, ident.dotted("k", "key")),
    )
    values = {"slot_id": slot.id, "model_id": slot.model.id, "keys": Jsonb([list(key) for key in keys])}
    return conn.execute(query, values).fetchall()


def _cosine(stored: Any, fresh: Floats) -> float:
    if stored.shape != fresh.shape:
        return 0.0
    a, b = stored.astype(np.float64), fresh.astype(np.float64)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else 0.0


def _log(conn: Connection, collection: Collection, slot: Slot, suspects: Sequence[Suspect]) -> None:
    for writer in sorted({suspect.writer or "somebody" for suspect in suspects}):
        rows = sum((suspect.writer or "somebody") == writer for suspect in suspects)
        log_event(
            conn,
            "guard",
            collection.name,
            became="mismatch",
            why=f"{rows} rows of {slot.name} by {writer} are not {slot.model.key}'s",
            slot=slot.name,
            writer=writer,
            rows=rows,
        )
