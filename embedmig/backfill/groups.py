"""A group: the rows that are read, embedded and written together, under the lease of one chunk."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from embedmig.backfill.chunks import Chunk
from embedmig.backfill.keys import RawKeys
from embedmig.backfill.packing import Raw
from embedmig.backfill.reading import WRITE, Source
from embedmig.types import Floats, Key


@dataclass(kw_only=True, slots=True)
class Lease:
    """A claimed chunk while it is worked on: how many of its groups are still to be written."""

    chunk: Chunk
    groups_left: int
    lost: bool = False
    """Another worker has it: what is left of it is dropped."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_last_group(self) -> bool:
        """Whether the group about to be written is the last."""
        with self._lock:
            return self.groups_left == 1

    def count_written(self) -> bool:
        """Notes that a group was written; True when it was the last."""
        with self._lock:
            self.groups_left -= 1
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
