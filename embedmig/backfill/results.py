"""What a run is asked for, and what it says at its end."""

from collections.abc import Callable
from dataclasses import dataclass, field

from embedmig.backfill.budget import Budget, Spent
from embedmig.backfill.census import Census
from embedmig.backfill.job_models import Loader
from embedmig.backfill.pipeline import WorkerOptions
from embedmig.backfill.progress import ReembedProgress
from embedmig.embedders import load_embedder

OnProgress = Callable[[ReembedProgress], object]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run goes."""

    follow: bool = False
    until: float | None = None
    """Stop when this share (0 to 1) of the rows is done."""
    budget: Budget = field(default_factory=Budget)
    """What the job may take over all its runs; what is said here changes what was said before."""
    throttle: bool = False
    """Watch the database's health, and wait between batches while it suffers."""
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
    """done; part: as much as was asked for; unfinished: rows kept turning up; budget: what it may take is taken;
    interrupted, cancelled. All but the first are gone on with by running it again."""
    slots: tuple[SlotOutcome, ...]
    """Empty when interrupted: counting would have taken its time."""
    rows: int
    """Vectors written in this run, by all workers."""
    tokens: int
    """Of this run, by all workers; about, by samples and lengths, unless ``tokens_are_billed``."""
    tokens_are_billed: bool
    """The provider counted them."""
    cost: float | None
    """Of this run, in the currency of the models' prices; None without one."""
    requests: int
    retries: int
    """Requests that this run's own workers sent to a provider, and those of them sent because another failed."""
    budget_reached: str | None
    """Which limit of the job's budget ended the run."""
    spent: Spent
    """By the open jobs over all runs; zeros once they are done."""
    not_watched: tuple[str, ...]
    """Health indicators of the throttle that could not be read, and why."""
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
