"""What shadow reads showed, counted until it is written down."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from embedmig.catalog.traffic import report_queries, report_shadows
from embedmig.db import Connection
from embedmig.search.counting import MINUTES_KEPT, minute_now, minutes_ago_s
from embedmig.search.latency import as_counts, bucket_of

OVERLAP_AT = 10
TEXTS_KEPT = 1000
"""So many different texts between two writings."""

NEITHER, SOURCE_ONLY, TARGET_ONLY, BOTH = range(4)


class ShadowKey(NamedTuple):
    """What is counted apart. ``minute`` is of this process's monotonic clock."""

    minute: int
    source_id: int
    target_id: int
    epoch: int
    label: str
    drawn: bool


class TextKey(NamedTuple):
    """A text under one label."""

    collection_id: int
    text: str
    label: str


class Answer(NamedTuple):
    """What one slot gave: ``keys`` of its first ten hits, None when it failed."""

    keys: tuple[Any, ...] | None
    embed_s: float = 0.0
    statement_s: float = 0.0


@dataclass(kw_only=True)
class Pairs:
    """The counts under one key; ``errors`` and ``empty`` are those of neither, the source, the target, both."""

    overlap: list[int] = field(default_factory=lambda: [0] * (OVERLAP_AT + 1))
    errors: list[int] = field(default_factory=lambda: [0] * 4)
    empty: list[int] = field(default_factory=lambda: [0] * 4)
    source_embed_us: int = 0
    target_embed_us: int = 0
    source_latency: Counter[int] = field(default_factory=Counter)
    target_latency: Counter[int] = field(default_factory=Counter)
    dropped_queue: int = 0
    dropped_epoch: int = 0
    not_shadowed: int = 0

    def pair(self, source: Answer, target: Answer) -> None:
        """One request that both slots were asked."""
        self.errors[_which(source.keys is None, target.keys is None)] += 1
        if source.keys is not None and target.keys is not None:
            self.empty[_which(not source.keys, not target.keys)] += 1
            self.overlap[overlap_tenths(source.keys, target.keys)] += 1
        if source.keys is not None:
            self.source_embed_us += int(source.embed_s * 1e6)
            self.source_latency[bucket_of(source.statement_s)] += 1
        if target.keys is not None:
            self.target_embed_us += int(target.embed_s * 1e6)
            self.target_latency[bucket_of(target.statement_s)] += 1

    def add(self, other: "Pairs") -> None:
        """Adds what another counted."""
        for name in ("overlap", "errors", "empty"):
            setattr(self, name, [a + b for a, b in zip(getattr(self, name), getattr(other, name), strict=True)])
        for name in ("source_embed_us", "target_embed_us", "dropped_queue", "dropped_epoch", "not_shadowed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.source_latency.update(other.source_latency)
        self.target_latency.update(other.target_latency)


def overlap_tenths(one: tuple[Any, ...], other: tuple[Any, ...]) -> int:
    """Of the first ten hits, how many tenths are the same, 0 to 10, rounded where fewer were found; two empty answers
    agree."""
    wanted = max(len(one), len(other))
    return round(10 * len(set(one) & set(other)) / wanted) if wanted else 10


def _which(source: bool, target: bool) -> int:
    return BOTH if source and target else SOURCE_ONLY if source else TARGET_ONLY if target else NEITHER


class ShadowCounts:
    """Counts from any number of threads, and the texts where they are to be kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pairs: dict[ShadowKey, Pairs] = {}

    def pair(self, key: ShadowKey, source: Answer, target: Answer) -> None:
        """One request that both slots were asked."""
        with self._lock:
            self._pairs.setdefault(key, Pairs()).pair(source, target)

    def miss(self, key: ShadowKey, why: str) -> None:
        """One that gave no pair: ``dropped_queue``, ``dropped_epoch`` or ``not_shadowed``."""
        with self._lock:
            pairs = self._pairs.setdefault(key, Pairs())
            setattr(pairs, why, getattr(pairs, why) + 1)

    def take(self) -> dict[ShadowKey, Pairs]:
        """All that was counted; nothing is left."""
        with self._lock:
            taken, self._pairs = self._pairs, {}
        return taken

    def put_back(self, taken: dict[ShadowKey, Pairs]) -> None:
        """What was taken and could not be written."""
        oldest = minute_now() - MINUTES_KEPT
        with self._lock:
            for key, pairs in taken.items():
                if key.minute >= oldest:
                    self._pairs.setdefault(key, Pairs()).add(pairs)

    def write(self, conn: Connection, taken: dict[ShadowKey, Pairs]) -> None:
        """Adds to what the database holds."""
        report_shadows(conn, [_as_row(key, pairs) for key, pairs in taken.items()])


class ShadowTexts:
    """Texts of shadowed queries, with their labels."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: Counter[TextKey] = Counter()

    def keep(self, key: TextKey) -> None:
        """Counts one; new ones are left out while too many wait."""
        with self._lock:
            if len(self._times) < TEXTS_KEPT or key in self._times:
                self._times[key] += 1

    def take(self) -> Counter[TextKey]:
        """All there are; nothing is left."""
        with self._lock:
            taken, self._times = self._times, Counter()
        return taken

    def put_back(self, taken: Counter[TextKey]) -> None:
        """What was taken and could not be written."""
        with self._lock:
            self._times.update(taken)

    def write(self, conn: Connection, taken: Counter[TextKey]) -> None:
        """Adds to what the database holds."""
        for collection_id in {key.collection_id for key in taken}:
            rows = [
                {"text": key.text, "label": key.label, "times": times}
                for key, times in taken.items()
                if key.collection_id == collection_id
            ]
            report_queries(conn, collection_id, rows)


def _as_row(key: ShadowKey, pairs: Pairs) -> dict[str, Any]:
    return {
        "age_s": minutes_ago_s(key.minute, time.monotonic()),
        "source_id": key.source_id,
        "target_id": key.target_id,
        "epoch": key.epoch,
        "label": key.label,
        "drawn": key.drawn,
        "overlap": pairs.overlap,
        "errors": pairs.errors,
        "empty": pairs.empty,
        "source_embed_us": pairs.source_embed_us,
        "target_embed_us": pairs.target_embed_us,
        "source_latency": as_counts(pairs.source_latency),
        "target_latency": as_counts(pairs.target_latency),
        "dropped_queue": pairs.dropped_queue,
        "dropped_epoch": pairs.dropped_epoch,
        "not_shadowed": pairs.not_shadowed,
    }
