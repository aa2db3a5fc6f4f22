"""audit, verify and doctor: what is so, without changing it."""

from collections.abc import Callable

from embedmig.catalog.events import log_event
from embedmig.catalog.serving import read_serving
from embedmig.catalog.slots import get_slot
from embedmig.db import Database
from embedmig.settings import Settings, load_settings
from embedmig.validation.audit import Audit, audit_slot


def audit(
    db: Database,
    collection: str,
    *,
    slot: str | None = None,
    sample: int = 200,
    seed: int = 0,
    settings: Settings | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Audit:
    """Embeds ``sample`` rows again with the declared model and compares with the stored vectors.

    ``slot``: the open migration's source, or the only slot, when not named. The result is logged as an event, as a
    share that stands beside what is declared. Raises RefusedError when the model is gone.
    """
    settings = settings or load_settings()
    with db.connect() as conn:
        serving = read_serving(conn, collection)
        found = serving.source if slot is None else get_slot(conn, serving.collection, slot)
        result = audit_slot(
            conn,
            serving.collection,
            found,
            sample=sample,
            cosine=settings.audit_cosine,
            confidence=settings.confidence,
            seed=seed,
            on_progress=on_progress,
        )
        log_event(
            conn,
            "audit",
            collection,
            became="clean" if result.is_clean else "mismatches",
            slot=found.name,
            model=found.model.key,
            compared=result.compared,
            matching=result.matching,
            low=result.low,
            high=result.high,
            seed=seed,
        )
        return result
