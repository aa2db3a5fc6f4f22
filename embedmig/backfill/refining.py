"""Embeds rows that searches brought up while they were bridged, each once, whoever else wants it at the same time."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from embedmig.backfill.budget import exhausted, fetch_spent, find_budget
from embedmig.backfill.chunks import Chunk, Claimant, release_chunks
from embedmig.backfill.embedding import SlotEmbedder, embed_group
from embedmig.backfill.fetching import claimed, fetch_queued
from embedmig.backfill.job_models import Loader
from embedmig.backfill.jobs import find_job
from embedmig.backfill.key_text import keep_key_text
from embedmig.backfill.keys import accept_raw_arrays
from embedmig.backfill.queue import QueuedKey, QueueView
from embedmig.backfill.reading import Source, open_source
from embedmig.backfill.targets import Target, open_target
from embedmig.backfill.tokens import TokenCounter
from embedmig.backfill.vector_cache import VectorCache
from embedmig.backfill.worker import name_worker
from embedmig.backfill.writing import write_group
from embedmig.db import Connection, Database, Queries
from embedmig.db.connection import translated_errors
from embedmig.db.identifiers import comma, type_name
from embedmig.types import Collection, Key, Slot

QUERIES = Queries(__package__, "refining.sql")

_LEASE_S = 30.0
_ASK_AGAIN_S = 2.0
"""How old what is known of the job's budget may be."""
_EPOCH_OF_POSTGRES_S = 946_684_800


@dataclass(frozen=True, kw_only=True)
class Refined:
    """What became of some rows."""

    embedded: int = 0
    """By this call."""
    busy: tuple[Key, ...] = ()
    """Others are embedding them at this moment."""
    held: str | None = None
    """Why nothing may be embedded: the job is paused, or its budget is spent."""


@dataclass(frozen=True, kw_only=True)
class _Work:
    source: Source
    target: Target
    embedder: SlotEmbedder


class Refinery:
    """One connection that embeds rows on demand, opened when it is first needed. For one thread."""

    def __init__(self, url: str, collection: Collection, load: Loader) -> None:
        self._url, self._collection, self._load = url, collection, load
        self._name = name_worker()
        self._conn: Connection | None = None
        self._work: dict[int, _Work] = {}
        self._asked: dict[int, tuple[float, str | None]] = {}

    def key_texts(self, keys: Sequence[Any]) -> list[Key]:
        """Keys as hits give them, as the queue holds them."""
        columns = self._collection.key
        rows = [key if isinstance(key, tuple) else (key,) for key in keys]
        places = range(1, len(columns) + 1)
        query = QUERIES["key_texts"].format(
            printed=comma(sql.SQL("k.{}::text").format(_place(place)) for place in places),
            arrays=comma(
                sql.SQL("{}::{}[]").format(sql.Placeholder(f"key{place}"), type_name(column))
                for place, column in zip(places, columns, strict=True)
            ),
            places=comma(_place(place) for place in places),
        )
        values = {f"key{place}": [row[place - 1] for row in rows] for place in places}
        return [tuple(row["key"]) for row in self.connection().execute(query, values)] if rows else []

    def refine(self, slot: Slot, keys: Sequence[Key]) -> Refined:
        """Embeds those of ``keys`` that are still bridged, stale or missing in ``slot``, and commits. What another
        session is embedding is left to it. Raises DatabaseError, ProviderError; then nothing of it is held."""
        with translated_errors():
            conn = self.connection()
            if (held := self._held_by_job(conn, slot)) is not None:
                return Refined(held=held)
            with _locked(conn, slot, keys) as mine:
                embedded = self._embed(conn, slot, mine) if mine else 0
            return Refined(embedded=embedded, busy=tuple(key for key in keys if key not in set(mine)))

    def connection(self) -> Connection:
        """The one there is; a lost one is opened again."""
        if self._conn is None or self._conn.closed:
            self._work.clear()
            # Closed by ``close``: it outlives every call.
            self._opened = Database(self._url, application_name=self._name).connect()
            self._conn = self._opened.__enter__()
            accept_raw_arrays(self._conn)
            keep_key_text(self._conn, self._collection)
        return self._conn

    def close(self) -> None:
        """Gives the connection back; a later call opens another."""
        if self._conn is not None:
            with suppress(psycopg.Error):
                self._conn.close()
            self._conn = None

    def _held_by_job(self, conn: Connection, slot: Slot) -> str | None:
        asked_at, held = self._asked.get(slot.id, (-_ASK_AGAIN_S, None))
        if time.monotonic() - asked_at >= _ASK_AGAIN_S:
            job = find_job(conn, slot)
            held = None
            if job is not None and job.state == "paused":
                held = f"the job is paused: embedmig resume {self._collection.name}"
            elif job is not None:
                held = exhausted(find_budget(conn, [slot]), fetch_spent(conn, [slot]))
            self._asked[slot.id] = (time.monotonic(), held)
        return held

    def _embed(self, conn: Connection, slot: Slot, keys: Sequence[Key]) -> int:
        work = self._work_for(conn, slot)
        chunk = _claim(conn, slot, Claimant(name=self._name, backend=conn.info.backend_pid, lease_s=_LEASE_S))
        try:
            group = fetch_queued(conn, work.source, claimed(chunk), _as_view(keys))
            if not group.actions:
                return 0
            embed_group(group, work.embedder)
            conn.execute(QUERIES["book"], {"slot_id": slot.id, "rows": len(group.written), "tokens": group.tokens})
            write_group(conn, work.target, group, lease_s=_LEASE_S, rest_s=0.0)
            conn.execute(QUERIES["forget_found"], {"slot_id": slot.id, "keys": _as_json(keys)})
            return len(group.written)
        finally:
            # After the write this is no longer ours to give back, and changes nothing.
            with suppress(psycopg.OperationalError):
                release_chunks(conn, [chunk])

    def _work_for(self, conn: Connection, slot: Slot) -> _Work:
        if slot.id not in self._work:
            source = open_source(conn, self._collection, slot)
            embedder = self._load(slot.model)
            self._work[slot.id] = _Work(
                source=source,
                target=open_target(conn, source),
                embedder=SlotEmbedder(
                    model=slot.model,
                    vector_type=slot.vector_type,
                    embedder=embedder,
                    tokens=TokenCounter(embedder),
                    cache=VectorCache(),
                ),
            )
        return self._work[slot.id]


@contextmanager
def _locked(conn: Connection, slot: Slot, keys: Sequence[Key]) -> Iterator[list[Key]]:
    """Those of the keys that no other session is embedding, held until the block ends."""
    rows = conn.execute(QUERIES["lock_rows"], {"slot_id": slot.id, "keys": _as_json(dict.fromkeys(keys))})
    mine = [tuple(row["key"]) for row in rows]
    try:
        yield mine
    finally:
        # A connection that broke holds nothing any more.
        with suppress(psycopg.OperationalError):
            conn.execute(QUERIES["unlock_rows"], {"slot_id": slot.id, "keys": _as_json(mine)})


def _claim(conn: Connection, slot: Slot, claimant: Claimant) -> Chunk:
    values = {"slot_id": slot.id, "worker": claimant.name, "backend": claimant.backend, "lease_s": claimant.lease_s}
    while (row := conn.execute(QUERIES["claim_refinement"], values).fetchone()) is None:
        conn.execute(QUERIES["add_refinement"], {"slot_id": slot.id})
    return Chunk(**row)


def _as_view(keys: Sequence[Key]) -> QueueView:
    """The keys as if they had been queued this moment, by no entry."""
    now_us = int((time.time() - _EPOCH_OF_POSTGRES_S) * 1_000_000)
    queued = [QueuedKey(key=key, seqs=[], brought_seqs=[], edited=None, settled=0, queued_us=now_us) for key in keys]
    return QueueView(keys=queued, truncated_seqs=[], cut="-infinity", full=False)


def _as_json(keys: Sequence[Key] | dict[Key, None]) -> str:
    return json.dumps([list(key) for key in keys], ensure_ascii=False)


def _place(place: int) -> sql.Identifier:
    return sql.Identifier(f"c{place}")
