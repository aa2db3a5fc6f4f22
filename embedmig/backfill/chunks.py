"""Claiming chunks under a lease and a fencing token: key ranges of a job and buckets of the queue alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from embedmig.db import Connection, Queries
from embedmig.types import Key

QUERIES = Queries(__package__, "chunks.sql")


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A chunk as claimed. Whoever claims it next has a higher token, and from then on writes under this one fail."""

    id: int
    slot_id: int
    bucket: int | None
    """The queue bucket; None for a key range."""
    first_key: Key | None
    last_key: Key | None
    row_count: int
    """How many rows needed work when it was planned."""
    token: int


@dataclass(frozen=True, kw_only=True)
class Claimant:
    """Who claims."""

    name: str
    """The application name of its writing connection, so that a stuck one can be found."""
    backend: int
    """The server process of that connection."""
    lease_s: float


def ensure_buckets(conn: Connection, slot_ids: Sequence[int]) -> None:
    """Makes the slots' queue claimable; repeating it changes nothing."""
    conn.execute(QUERIES["ensure_buckets"], {"slot_ids": list(slot_ids)})


def claim_chunk(conn: Connection, slot_ids: Sequence[int], claimant: Claimant) -> Chunk | None:
    """A chunk that has work, or None when there is none that nobody else holds."""
    return _claim(conn, "claim", claimant, slot_ids=list(slot_ids))


def claim_bucket(conn: Connection, slot_id: int, bucket: int, claimant: Claimant) -> Chunk | None:
    """One bucket of the queue, or None when another holds it."""
    return _claim(conn, "claim_bucket", claimant, slot_id=slot_id, bucket=bucket)


def renew_leases(conn: Connection, held: Sequence[Chunk], lease_s: float) -> None:
    """Prolongs the leases of ``held`` from now on; those that were lost stay lost."""
    conn.execute(QUERIES["renew"], _held(held) | {"lease_s": lease_s})


def release_chunks(conn: Connection, held: Sequence[Chunk]) -> None:
    """Gives chunks back before their leases run out."""
    conn.execute(QUERIES["release"], _held(held))


def end_stuck_writers(conn: Connection, slot_ids: Sequence[int], lease_s: float) -> int:
    """Ends the writing connections of workers that stand still in a transaction a whole lease after theirs ran out;
    gives how many."""
    return len(conn.execute(QUERIES["end_stuck_writers"], {"slot_ids": list(slot_ids), "lease_s": lease_s}).fetchall())


def describe_left_behind(conn: Connection, slot_ids: Sequence[int]) -> str | None:
    """Whose lease the job waits for, when all that is left of it is held by workers that are gone; None else."""
    row = conn.execute(QUERIES["left_behind"], {"slot_ids": list(slot_ids)}).fetchone()
    if row is None:
        return None
    return f"the lease of a worker that is gone, {row['worker']}: {max(0.0, row['left_s']):.0f} s left"


def _claim(conn: Connection, query: str, claimant: Claimant, **where: object) -> Chunk | None:
    values = {"worker": claimant.name, "backend": claimant.backend, "lease_s": claimant.lease_s}
    row = conn.execute(QUERIES[query], values | where).fetchone()
    if row is None:
        return None
    return Chunk(**(row | {"first_key": _key(row["first_key"]), "last_key": _key(row["last_key"])}))


def _key(array: list[str] | None) -> Key | None:
    return None if array is None else tuple(array)


def _held(chunks: Sequence[Chunk]) -> dict[str, object]:
    return {"ids": [chunk.id for chunk in chunks], "tokens": [chunk.token for chunk in chunks]}
