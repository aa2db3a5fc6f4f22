"""What this process answered from which slot, counted until it is written down."""

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from embedmig.catalog.traffic import report_served
from embedmig.db import Connection
from embedmig.search.latency import as_counts, bucket_of
from embedmig.search.routing import Choice

MINUTES_KEPT = 24 * 60
"""What could not be written for a day is forgotten."""
_NOTED_AT_MOST = 256
"""To add up many at once takes a third of what each by itself does: between two searches everything is out of the
processor's cache."""


class ServedKey(NamedTuple):
    """What is counted apart. ``minute`` is of this process's monotonic clock."""

    minute: int
    slot_id: int
    epoch: int
    chosen_by: str


@dataclass(kw_only=True)
class Served:
    """The counts under one key."""

    requests: int = 0
    errors: int = 0
    empty: int = 0
    embed_us: int = 0
    hits: int = 0
    bridged_hits: int = 0
    latency: Counter[int] = field(default_factory=Counter)

    def add(self, other: "Served") -> None:
        """Adds what another counted."""
        self.requests += other.requests
        self.errors += other.errors
        self.empty += other.empty
        self.embed_us += other.embed_us
        self.hits += other.hits
        self.bridged_hits += other.bridged_hits
        self.latency.update(other.latency)


def chosen_by(choice: Choice) -> str:
    """What decided on the slot: ``pin``, the routing ``key``, or the ``share`` alone."""
    if choice.pin is not None:
        return "pin"
    return "share" if choice.bucket is None else "key"


class ServedCounts:
    """Counts from any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[ServedKey, Served] = {}
        self._noted: deque[tuple[float, Choice, int, float, float, bool, int, int]] = deque()

    def answered(
        self,
        choice: Choice,
        epoch: int,
        embed_s: float,
        statement_s: float,
        *,
        empty: bool,
        hits: int = 0,
        bridged_hits: int = 0,
    ) -> None:
        """A search that gave hits, or none. ``hits`` are counted while the slot may hold bridged rows."""
        self._noted.append((time.monotonic(), choice, epoch, embed_s, statement_s, empty, hits, bridged_hits))
        if len(self._noted) >= _NOTED_AT_MOST:
            self._add_up()

    def failed(self, choice: Choice, epoch: int) -> None:
        """A search that the database or the model failed."""
        key = _key(minute_now(), choice, epoch)
        with self._lock:
            count = self._counts.setdefault(key, Served())
            count.requests += 1
            count.errors += 1

    def take(self) -> dict[ServedKey, Served]:
        """All that was counted; nothing is left."""
        self._add_up()
        with self._lock:
            taken, self._counts = self._counts, {}
        return taken

    def _add_up(self) -> None:
        # Under the lock nobody else takes any; more may come meanwhile.
        with self._lock:
            while self._noted:
                at_s, choice, epoch, embed_s, statement_s, empty, hits, bridged_hits = self._noted.popleft()
                key = _key(_minute(at_s), choice, epoch)
                count = self._counts.get(key) or self._counts.setdefault(key, Served())
                count.requests += 1
                count.empty += empty
                count.embed_us += int(embed_s * 1e6)
                count.hits += hits
                count.bridged_hits += bridged_hits
                count.latency[bucket_of(statement_s)] += 1

    def put_back(self, taken: dict[ServedKey, Served]) -> None:
        """What was taken and could not be written."""
        oldest = minute_now() - MINUTES_KEPT
        with self._lock:
            for key, served in taken.items():
                if key.minute >= oldest:
                    self._counts.setdefault(key, Served()).add(served)

    def write(self, conn: Connection, taken: dict[ServedKey, Served]) -> None:
        """Adds to what the database holds."""
        report_served(conn, [_as_row(key, served) for key, served in taken.items()])


def minute_now() -> int:
    """Of this process's monotonic clock."""
    return _minute(time.monotonic())


def _minute(at_s: float) -> int:
    return int(at_s // 60)


def minutes_ago_s(minute: int, now_s: float) -> float:
    """How long ago the middle of a minute was. Ages and not times are written: only the server's clock counts."""
    return max(0.0, now_s - (minute + 0.5) * 60)


def _as_row(key: ServedKey, served: Served) -> dict[str, Any]:
    return {
        "age_s": minutes_ago_s(key.minute, time.monotonic()),
        "slot_id": key.slot_id,
        "epoch": key.epoch,
        "chosen_by": key.chosen_by,
        "requests": served.requests,
        "errors": served.errors,
        "empty": served.empty,
        "embed_us": served.embed_us,
        "hits": served.hits,
        "bridged_hits": served.bridged_hits,
        "latency": as_counts(served.latency),
    }


def _key(minute: int, choice: Choice, epoch: int) -> ServedKey:
    return ServedKey(minute, choice.slot.id, epoch, chosen_by(choice))
