"""What a run is asked for, and what it says at its end."""

from collections.abc import Callable
from dataclasses import dataclass, field

from embedmig.backfill.census import Census
from embedmig.backfill.pipeline import WorkerOptions
from embedmig.backfill.progress import ReembedProgress
from embedmig.backfill.worker import Loader
from embedmig.embedders import load_embedder

OnProgress = Callable[[ReembedProgress], object]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run goes."""

    follow: bool = False
    until: float | None = None
    """Stop when this share (0 to 1) of the rows is done."""
    workers: int = 1
    worker: WorkerOptions = field(default_factory=WorkerOptions)
    load: Loader = load_embedder
    """Gives a model's embedder; workers in processes of their own load it themselves."""


@dataclass(frozen=True, kw_only=True)
class SlotOutcome:
    """Where a slot stands at the end of a run."""

    slot: str
    model: str
    census: Census
    filled: bool
    """Every row has had a vector once: the slot may be served."""


@dataclass(frozen=True, kw_only=True)
class ReembedResult:
    """What a run did."""

    collection: str
    outcome: str
    """done; part: as much as was asked for; unfinished: rows kept turning up; interrupted, cancelled. All but the first
    are gone on with by running it again."""
    slots: tuple[SlotOutcome, ...]
    """Empty when interrupted: counting would have taken its time."""
    rows: int
    """Vectors written in this run, by all workers."""
    tokens: int
    """About: by samples and lengths."""
    seconds: float
    rows_per_s: float
    """Over the whole run, planning and checking included."""
    failures: int
    queued: int
    """Entries left in the queue."""
    truncated: int
    """Texts longer than the model takes: embedded by their beginning."""
    repeated_texts: int
    """Rows that needed no model call, because another row had the same text."""
    hot_share: float | None
    """Of the in-place updates, as far as they were watched: 0 to 1."""
