"""A group: the rows that are read, embedded and written together, under the lease of one chunk."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

import numpy as np

from embedmig.backfill.chunks import Chunk
from embedmig.backfill.keys import RawKeys
from embedmig.backfill.packing import Raw
from embedmig.backfill.reading import WRITE, Source
from embedmig.types import Floats, Key, Placement

T = TypeVar("T")


@dataclass(kw_only=True, slots=True)
class Lease:
    """A claimed chunk while it is worked on: how many of its groups are still to be written."""

    chunk: Chunk
    groups_left: int
    lost: bool = False
    """Another worker has it: what is left of it is dropped."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def are_last_groups(self, count: int = 1) -> bool:
        """Whether the ``count`` groups about to be written are the last."""
        with self._lock:
            return self.groups_left == count

    def count_written(self, count: int = 1) -> bool:
        """Notes that groups were written; True when none is left."""
        with self._lock:
            self.groups_left -= count
            return self.groups_left == 0


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What the queue knew of each row, one entry a row, so that a row queued again keeps it."""

    settled: list[int]
    origin: list[int]
    queued_us: list[int]

    def of(self, rows: Sequence[int]) -> "Marks":
        """Those of some rows."""
        return Marks(
            settled=[self.settled[row] for row in rows],
            origin=[self.origin[row] for row in rows],
            queued_us=[self.queued_us[row] for row in rows],
        )


@dataclass(frozen=True, kw_only=True)
class Entries:
    """The queue entries a group was read from."""

    keys: list[Key]
    seqs: list[int]
    brought_seqs: list[int]
    truncated: bool
    """Among them one that says that the table was truncated."""
    cut: str
    drained: bool
    """The bucket held nothing more."""


@dataclass(kw_only=True, slots=True)
class Group:
    """Rows with something to do, and, once embedded, their vectors. Without rows it only moves its chunk on."""

    source: Source
    lease: Lease
    keys: RawKeys
    actions: list[bytes]
    texts: list[str | None]
    hashes: list[Raw]
    seen: list[Raw]
    fresh: bool
    """Every row to be written had no vector: a companion takes them by COPY alone."""
    marks: Marks | None = None
    entries: Entries | None = None
    places: Sequence[int] = ()
    """Of each row among the keys of ``entries``; those that need nothing are no rows here."""
    vectors: Floats | None = None
    """(n, d): of the rows ``written``, in their order."""
    written: Sequence[int] = ()
    reasons: dict[int, str] = field(default_factory=dict)
    """Rows that could not be embedded, and why."""
    tokens: int = 0
    count: int = 1
    """How many groups of its chunk it is: several when they were joined to be written together."""

    @property
    def keys_seen_to(self) -> list[Key]:
        """The queued keys that did not fail."""
        failed = {self.places[row] for row in self.reasons} if self.entries else set()
        keys = self.entries.keys if self.entries else []
        return [key for place, key in enumerate(keys) if place not in failed]

    @property
    def to_embed(self) -> list[int]:
        """The rows whose text wants a vector."""
        return [row for row, action in enumerate(self.actions) if action == WRITE]


def may_join(groups: Sequence[Group], more: Group, *, most_bytes: int) -> bool:
    """Whether ``more`` can be written in one transaction with ``groups``: first fills of one chunk of a companion. In
    place no, since a transaction there holds one row of each page. ``most_bytes``: of all their vectors. Pure."""
    whole = (*groups, more)
    first = groups[0]
    return (
        all(group.lease is first.lease and group.fresh and group.entries is None for group in whole)
        and first.source.slot.placement is Placement.COMPANION
        and sum(0 if group.vectors is None else group.vectors.nbytes for group in whole) <= most_bytes
    )


def join_groups(groups: Sequence[Group]) -> Group:
    """Several groups that may be joined as one, their rows one after another. Pure."""
    if len(groups) == 1:
        return groups[0]
    first, starts = groups[0], np.cumsum([0, *(len(group.actions) for group in groups)]).tolist()
    vectors = [group.vectors for group in groups if group.vectors is not None]
    return Group(
        source=first.source,
        lease=first.lease,
        keys=tuple(_chained(group.keys[place] for group in groups) for place in range(len(first.keys))),
        actions=_chained(group.actions for group in groups),
        texts=_chained(group.texts for group in groups),
        hashes=_chained(group.hashes for group in groups),
        seen=_chained(group.seen for group in groups),
        fresh=True,
        vectors=np.concatenate(vectors) if vectors else None,
        written=[start + row for start, group in zip(starts, groups, strict=False) for row in group.written],
        reasons={
            start + row: reason
            for start, group in zip(starts, groups, strict=False)
            for row, reason in group.reasons.items()
        },
        tokens=sum(group.tokens for group in groups),
        count=sum(group.count for group in groups),
    )


def _chained(lists: Iterable[list[T]]) -> list[T]:
    return list(chain.from_iterable(lists))
