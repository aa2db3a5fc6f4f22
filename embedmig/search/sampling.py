"""Which requests are shadowed: a share of all by plain chance, and some of every label, so that rare kinds show up."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from embedmig.errors import UsageError

LABELS_KEPT = 50
OTHER = "(other)"
"""Stands for every label beyond the first 50: a label is a kind of request, not a user's id."""

AfterFlush = Callable[[str, str], None]


@dataclass(frozen=True, kw_only=True)
class ShadowOptions:
    """What a searcher does beside its answers: ask the other slot too, and compare. Raises UsageError for what cannot
    be."""

    share: float = 0.1
    """Of the requests, 0 to 1: taken by chance, whatever their label."""
    per_label_a_minute: int = 5
    """And so many of each label a minute and process, where chance takes fewer. They count for their label only."""
    queue: int = 100
    """So many may wait; more are dropped, and the drops counted."""
    timeout_s: float = 10.0
    """A shadow that takes longer has failed."""
    keep_texts: bool = False
    """Keep the texts of shadowed queries in the database, to validate by them. They are your users' words."""
    after_flush: AfterFlush | None = None
    """Called with the database's URL and the collection's name, from a thread beside, each time counts were written:
    ``embedmig.roll_back_on_breach`` looks at the rollback triggers. It needs a role that may change the route."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise UsageError(f"a share of requests to shadow is from 0 to 1, not {self.share}")
        if self.per_label_a_minute < 0 or self.queue < 1 or self.timeout_s <= 0:
            raise UsageError("per_label_a_minute is 0 or more, queue 1 or more, timeout_s more than 0")


class Sampler:
    """Decides for one process, from any number of threads."""

    def __init__(
        self, options: ShadowOptions, chance: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ):
        self._options, self._chance, self._clock = options, chance, clock
        self._lock = threading.Lock()
        self._labels: set[str] = set()
        self._minute = -1
        self._taken: dict[str, int] = {}

    def name(self, label: str | None) -> str:
        """The label that a request is counted under; '' where the caller gave none."""
        if label is None or label in self._labels:
            return label or ""
        with self._lock:
            if len(self._labels) >= LABELS_KEPT:
                return OTHER
            self._labels.add(label)
        return label

    def draw(self, label: str) -> bool | None:
        """True: taken by chance; False: taken for its label's sake; None: not taken."""
        if self._chance() < self._options.share:
            self._note(label)
            return True
        return False if label and self._note(label) <= self._options.per_label_a_minute else None

    def _note(self, label: str) -> int:
        """Which one of its label this is, within the minute."""
        minute = int(self._clock() // 60)
        with self._lock:
            if minute != self._minute:
                self._minute, self._taken = minute, {}
            self._taken[label] = self._taken.get(label, 0) + 1
            return self._taken[label]
