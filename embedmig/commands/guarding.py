"""guard: are the vectors that the application writes the model's that they claim?"""

from dataclasses import dataclass

from embedmig.catalog.collections import get_collection
from embedmig.catalog.suspects import Guarded, SuspectWriter, list_guarded
from embedmig.db import Database
from embedmig.errors import UsageError
from embedmig.rollout import guard as guards
from embedmig.settings import Settings, load_settings


@dataclass(frozen=True, kw_only=True)
class GuardResult:
    """What a look showed, and what stands after it."""

    collection: str
    slots: tuple[str, ...]
    """Those that the application may write beside embedmig."""
    compared: int
    """Fresh rows, in this look."""
    mismatched: int
    cleared: int
    """Rows that were marked and are right by now, gone, or accepted."""
    requeued: int
    writers: tuple[SuspectWriter, ...]
    """Who wrote what is marked; while there is one, no share rises and nothing is contracted."""
    guarded: tuple[Guarded, ...]
    """All looks so far."""


def guard(
    db: Database,
    collection: str,
    *,
    rows: int = 200,
    requeue: bool = False,
    accept: str | None = None,
    settings: Settings | None = None,
) -> GuardResult:
    """Embeds up to ``rows`` of the rows that the application wrote last, for each slot, and marks those whose vector is
    not the model's. ``requeue``: queues the marked rows, for reembed to write them by the model they claim. ``accept``:
    takes the marks off, for a reason that is kept.

    Raises ProviderError when a model cannot be asked, UsageError.
    """
    if requeue and accept is not None:
        raise UsageError("--requeue mends the marked rows, --accept lets them be: one of the two")
    settings = settings or load_settings()
    with db.connect() as conn:
        found = get_collection(conn, collection)
        accepted = 0 if accept is None else guards.accept_suspects(conn, found, accept)
        look = guards.guard_rows(conn, found, rows=rows, cosine=settings.audit_cosine)
        requeued = guards.requeue_suspects(conn, found) if requeue else 0
        return GuardResult(
            collection=found.name,
            slots=tuple(slot.name for slot in guards.guarded_slots(conn, found)),
            compared=look.compared,
            mismatched=look.mismatched,
            cleared=look.cleared + accepted,
            requeued=requeued,
            writers=look.writers,
            guarded=tuple(list_guarded(conn, found)),
        )
