"""What the backfill's tests begin from: a worker whose every step is taken by hand, and the check of every row."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from psycopg import sql

from embedmig.backfill.chunks import Chunk, Claimant, claim_chunk, ensure_buckets
from embedmig.backfill.embedding import SlotEmbedder, embed_group
from embedmig.backfill.fetching import claimed, fetch_groups
from embedmig.backfill.groups import Group, Lease
from embedmig.backfill.jobs import plan_job
from embedmig.backfill.keys import accept_raw_arrays
from embedmig.backfill.reading import Source, open_source
from embedmig.backfill.slices import GroupSize
from embedmig.backfill.targets import Target, open_target
from embedmig.backfill.tokens import TokenCounter
from embedmig.backfill.vector_cache import VectorCache
from embedmig.backfill.writing import Written, write_group
from embedmig.catalog.slots import get_slot
from embedmig.db import Connection, Database
from embedmig.db import identifiers as ident
from embedmig.embedders import Embedder, load_embedder
from embedmig.types import Collection, Slot


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Rows whose vector is not what it should be, by key."""

    missing: list[tuple[str, ...]] = field(default_factory=list)
    wrong: list[tuple[str, ...]] = field(default_factory=list)
    unwanted: list[tuple[str, ...]] = field(default_factory=list)
    orphans: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.missing or self.wrong or self.unwanted or self.orphans)


def check_every_row(conn: Connection, collection: Collection, slot: Slot) -> Checked:
    """Embeds the present text of every row anew and compares it with the vector that stands there."""
    query = sql.SQL(
        "SELECT {key} AS key, {text} AS text, {wants} AS wants, {vector}::text AS vector FROM {table} AS d {join}"
    ).format(
        key=ident.key_array(collection, "d"),
        text=ident.text(collection, "d", slot.text_separator),
        wants=ident.wants_vector(collection, "d"),
        vector=ident.vector(slot),
        table=ident.table(collection),
        join=ident.join_slot(collection, slot),
    )
    rows = conn.execute(query, {}).fetchall()
    wanted = [row for row in rows if row["wants"]]
    vectors = load_embedder(slot.model).embed_documents([row["text"] for row in wanted])
    missing = [tuple(row["key"]) for row in wanted if row["vector"] is None]
    wrong = [
        tuple(row["key"])
        for row, vector in zip(wanted, vectors, strict=True)
        if row["vector"] is not None and not _same(row["vector"], vector)
    ]
    unwanted = [tuple(row["key"]) for row in rows if not row["wants"] and row["vector"] is not None]
    return Checked(missing=missing, wrong=wrong, unwanted=unwanted, orphans=_orphans(conn, collection, slot))


def _same(stored: str, vector: object) -> bool:
    return bool(np.allclose(np.fromstring(stored.strip("[]"), sep=","), vector, atol=2e-3))


def _orphans(conn: Connection, collection: Collection, slot: Slot) -> list[tuple[str, ...]]:
    from embedmig.backfill.fragments import vectors_without_row

    return [tuple(row["key"]) for row in conn.execute(vectors_without_row(collection, slot))]


@dataclass(kw_only=True)
class Hands:
    """A worker in slow motion."""

    collection: Collection
    slot: Slot
    reader: Connection
    writer: Connection
    source: Source
    target: Target
    embedder: SlotEmbedder
    lease_s: float = 30.0
    size: GroupSize = field(default_factory=GroupSize)

    def claim(self) -> Chunk | None:
        who = Claimant(name="hands", backend=self.writer.info.backend_pid, lease_s=self.lease_s)
        return claim_chunk(self.reader, [self.slot.id], who)

    def read(self, chunk: Chunk | None = None) -> list[Group]:
        """Claims (unless given) and reads a chunk whole, and embeds it."""
        chunk = chunk or self.claim()
        assert chunk is not None, "nothing to claim"
        groups = list(fetch_groups(self.reader, self.source, claimed(chunk), self.size, queue_keys=512))
        for group in groups:
            embed_group(group, self.embedder)
        return groups

    def write(self, groups: list[Group]) -> list[Written]:
        done = []
        for group in groups:
            done.append(write_group(self.writer, self.target, group, lease_s=self.lease_s, rest_s=0.0))
            group.lease.count_written()
        return done

    def work_off(self) -> None:
        """Does whatever can be claimed."""
        while (chunk := self.claim()) is not None:
            self.write(self.read(chunk))

    def plan(self, chunk_rows: int = 100) -> None:
        plan_job(self.reader, self.collection, self.slot, chunk_rows=chunk_rows)


def slot_embedder(slot: Slot, embedder: Embedder | None = None) -> SlotEmbedder:
    embedder = embedder or load_embedder(slot.model)
    return SlotEmbedder(
        model=slot.model,
        vector_type=slot.vector_type,
        embedder=embedder,
        tokens=TokenCounter(embedder),
        cache=VectorCache(),
        sleep=lambda seconds: None,
    )


@contextmanager
def hands(db: Database, collection: Collection, slot_name: str = "v2") -> Iterator[Hands]:
    """A worker on connections of its own."""
    with db.connect() as reader, db.connect() as writer:
        slot = get_slot(reader, collection, slot_name)
        for conn in (reader, writer):
            accept_raw_arrays(conn)
        ensure_buckets(reader, [slot.id])
        source = open_source(reader, collection, slot)
        yield Hands(
            collection=collection,
            slot=slot,
            reader=reader,
            writer=writer,
            source=source,
            target=open_target(writer, source),
            embedder=slot_embedder(slot),
        )


def entries(conn: Connection, slot: Slot) -> list[dict[str, object]]:
    """What is queued and not seen to."""
    return conn.execute(
        "SELECT key, kind::text AS kind, settled FROM embedmig.pending WHERE slot_id = %s AND ready < 'infinity'"
        " ORDER BY seq",
        [slot.id],
    ).fetchall()


def make_ready(conn: Connection) -> None:
    """Lets entries that were queued again be claimed at once."""
    conn.execute("UPDATE embedmig.pending SET ready = clock_timestamp() WHERE ready < 'infinity'")


def forget_lease(lease: Lease, conn: Connection) -> None:
    """Lets a claimed chunk be claimed by another, as if its lease had run out."""
    conn.execute("UPDATE embedmig.chunk SET lease_until = '-infinity' WHERE id = %s", [lease.chunk.id])
