"""Embeds some rows at once: those that an application has just written, or that a search brought up."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embedmig.backfill.chunks import Claimant, claim_bucket, ensure_buckets, release_chunks
from embedmig.backfill.embedding import SlotEmbedder, embed_group
from embedmig.backfill.fetching import claimed, fetch_queued
from embedmig.backfill.job_models import Loader
from embedmig.backfill.key_text import keep_key_text
from embedmig.backfill.keys import accept_raw_arrays
from embedmig.backfill.queue import QUERIES, look_at_bucket, queue_key
from embedmig.backfill.reading import Source, open_source
from embedmig.backfill.slots import maintained_slots
from embedmig.backfill.targets import Target, open_target
from embedmig.backfill.tokens import TokenCounter
from embedmig.backfill.vector_cache import VectorCache
from embedmig.backfill.worker import name_worker
from embedmig.backfill.writing import write_group
from embedmig.db import Connection, Database
from embedmig.embedders import load_embedder
from embedmig.errors import LeaseLostError
from embedmig.types import Collection, Key, Slot

_LEASE_S = 30.0
_PAUSE_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Refreshed:
    """What became of some keys, in all slots that embedmig maintains."""

    done: tuple[Key, ...]
    """Embedded now, or right as they were."""
    left_to_queue: tuple[Key, ...]
    """A worker is at their part of the queue, or a user holds the row: it comes in a moment."""


def refresh_keys(
    db: Database,
    collection: Collection,
    keys: Sequence[Key],
    *,
    slots: Sequence[Slot] | None = None,
    wait_s: float = 1.0,
    load: Loader = load_embedder,
) -> Refreshed:
    """Embeds the rows of ``keys`` for ``slots`` (all that embedmig maintains when not given) before it returns.

    The keys are queued first, so that whatever fails here is a worker's to do; then their parts of the queue are
    claimed as a worker claims them, each within ``wait_s``. Raises ProviderError when the model is down.
    """
    left: set[Key] = set()
    name = name_worker()
    with Database(db.url, application_name=name).connect() as conn:
        accept_raw_arrays(conn)
        keep_key_text(conn, collection)
        claimant = Claimant(name=name, backend=conn.info.backend_pid, lease_s=_LEASE_S)
        for slot in maintained_slots(conn, collection) if slots is None else slots:
            ensure_buckets(conn, [slot.id])
            source = open_source(conn, collection, slot)
            target, work = open_target(conn, source), _embedder(slot, load)
            for bucket, some in _queue(conn, slot, keys).items():
                if not _refresh_bucket(conn, source, target, work, claimant, bucket, some, wait_s):
                    left.update(some)
    return Refreshed(done=tuple(key for key in keys if key not in left), left_to_queue=tuple(sorted(left)))


def _queue(conn: Connection, slot: Slot, keys: Sequence[Key]) -> Mapping[int, list[Key]]:
    """Queues the keys; gives them by bucket."""
    by_bucket: dict[int, list[Key]] = defaultdict(list)
    for key in dict.fromkeys(keys):
        queue_key(conn, slot.id, key)
        row = conn.execute(QUERIES["bucket_of"], {"key": list(key)}).fetchone()
        assert row is not None
        by_bucket[row["bucket"]].append(key)
    return by_bucket


def _refresh_bucket(
    conn: Connection,
    source: Source,
    target: Target,
    work: SlotEmbedder,
    claimant: Claimant,
    bucket: int,
    keys: Sequence[Key],
    wait_s: float,
) -> bool:
    """True when the keys are done."""
    deadline = time.monotonic() + wait_s
    while (chunk := claim_bucket(conn, source.slot.id, bucket, claimant)) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_S)
    lease = claimed(chunk)
    try:
        group = fetch_queued(conn, source, lease, look_at_bucket(conn, chunk, keys=len(keys), wanted=keys))
        embed_group(group, work)
        return write_group(conn, target, group, lease_s=_LEASE_S, rest_s=0.0).queued_again == 0
    except LeaseLostError:
        return False
    finally:
        # After the write this is no longer ours to give back, and changes nothing.
        release_chunks(conn, [chunk])


def _embedder(slot: Slot, load: Loader) -> SlotEmbedder:
    embedder = load(slot.model)
    return SlotEmbedder(
        model=slot.model,
        vector_type=slot.vector_type,
        embedder=embedder,
        tokens=TokenCounter(embedder),
        cache=VectorCache(),
    )
