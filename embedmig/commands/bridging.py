"""bridge: every row mapped into the new model's space, without a call of any model."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedmig.adapters import StoredAdapter, TextBridge, apply_adapter
from embedmig.adapters.keeping import open_adapter
from embedmig.backfill.bridging import BridgeProgress, Map, bridge_rows
from embedmig.backfill.census import Census, count_rows
from embedmig.backfill.closing import note_filled
from embedmig.backfill.key_text import keep_key_text
from embedmig.backfill.sweep import queue_missing
from embedmig.catalog.adapters import KeptAdapter, get_adapter, list_adapters, mark_used, read_body, used_adapter
from embedmig.catalog.collections import get_collection
from embedmig.catalog.events import log_event
from embedmig.catalog.migrations import get_migration
from embedmig.catalog.routes import lock_route
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError, UnsupportedError
from embedmig.rollout.facts import slots_of
from embedmig.schema.constraints import validate_checks
from embedmig.schema.indexes import index_state
from embedmig.settings import Settings, load_settings
from embedmig.types import Collection, Floats, Slot

TEXT = "text"
"""The kind of bridge that reads the rows' texts."""


@dataclass(frozen=True, kw_only=True)
class BridgeResult:
    """What a bridge did."""

    collection: str
    slot: str
    adapter: str
    kind: str
    outcome: str
    """done, or interrupted: run again, it goes on."""
    rows_planned: int
    rows_written: int
    seconds: float
    rows_per_s: float
    queued: int
    """Rows that could not be bridged, queued to be embedded: without a source vector, or with one of another text."""
    filled: bool
    """Every row has a vector but for a small tail: the slot may be indexed, validated and served."""
    index: str | None
    """The index that the slot had already: it took every row in one by one."""
    census: Census | None
    """None when interrupted."""


def bridge(
    db: Database,
    collection: str,
    *,
    adapter: str | None = None,
    with_text: bool = False,
    settings: Settings | None = None,
    on_progress: Callable[[BridgeProgress], object] | None = None,
    on_fit: Callable[[str], object] | None = None,
    stop: threading.Event | None = None,
) -> BridgeResult:
    """Maps the source's stored vectors into the target and writes them there, labelled as bridged.

    ``adapter``: by name; else the bridge that the slot was begun with, or the newest that fits, or one that is fitted
    now (``on_fit`` is told the command that stands for it). ``with_text``: one that reads the rows' texts. True vectors
    are never overwritten, and rows that an edit queued are left to ``reembed``. Interrupted, it keeps what is written.

    Raises RefusedError when no bridge is good enough, or the slot was begun with another; AdapterUnusableError when a
    model's fingerprint has changed since the fit.
    """
    settings = settings or load_settings()
    with db.connect() as conn:
        known, source, target = _ends(conn, collection)
        kept = _choose(conn, known, source, target, adapter, with_text=with_text)
    if kept is None:
        kept = _fit(db, known, with_text=with_text, on_fit=on_fit)
    with db.connect() as conn:
        stored = open_adapter(read_body(conn, kept))
        index = index_state(conn, target).name
        with conn.transaction():
            # Another bridge may have begun, or this one have been dropped, since it was chosen.
            lock_route(conn, known.group)
            _require_begun_with(used_adapter(conn, known, target, "bridge"), kept, known, target)
            mark_used(conn, kept, target)
            log_event(conn, "bridge", collection, became="running", slot=target.name, adapter=kept.name)
    reads_texts = isinstance(stored.adapter, TextBridge)
    done = bridge_rows(
        db, known, source, target, _map_by(stored), reads_texts=reads_texts, on_progress=on_progress, stop=stop
    )
    with db.connect() as conn:
        keep_key_text(conn, known)
        census, queued = None, 0
        if not done.interrupted:
            census, queued = _close(conn, known, target, settings)
        outcome = "interrupted" if done.interrupted else "done"
        log_event(
            conn, "bridge", collection, was="running", became=outcome, slot=target.name, adapter=kept.name,
            rows=done.rows_written, seconds=round(done.seconds, 1), queued=queued,
        )  # fmt: skip
        filled = _ends(conn, collection)[2].filled_at is not None
    return BridgeResult(
        collection=collection,
        slot=target.name,
        adapter=kept.name,
        kind=kept.kind,
        outcome=outcome,
        rows_planned=done.rows_planned,
        rows_written=done.rows_written,
        seconds=done.seconds,
        rows_per_s=done.rows_written / done.seconds if done.seconds else 0.0,
        queued=queued,
        filled=filled,
        index=index,
        census=census,
    )


def _ends(conn: Connection, name: str) -> tuple[Collection, Slot, Slot]:
    """The collection, and both slots of its open migration."""
    known = get_collection(conn, name)
    source, target = slots_of(conn, known, get_migration(conn, known))
    assert target is not None
    if source.vector_type == "bit":
        raise UnsupportedError(f"{name} {source.name} keeps one bit a dimension: too little to be mapped from")
    if target.bridge_model_id is None:
        raise RefusedError(f"{name} {target.name} admits no bridged vectors: open the migration anew, embedmig expand")
    return known, source, target


def _choose(
    conn: Connection, collection: Collection, source: Slot, target: Slot, name: str | None, *, with_text: bool
) -> KeptAdapter | None:
    """None: one is to be fitted first."""
    used = used_adapter(conn, collection, target, "bridge")
    if used is not None and (name not in (None, used.name) or (with_text and used.kind != TEXT)):
        raise _mixed(used, collection, target)
    if used is not None:
        return used
    fitting = [one for one in list_adapters(conn, collection) if _fits(one, source, target)]
    if name is not None:
        chosen = get_adapter(conn, collection, name)
        if chosen not in fitting:
            raise RefusedError(
                f"adapter {name} is a {chosen.direction} adapter from {chosen.from_model} to {chosen.to_model}: wanted"
                f" is a bridge from {source.model.key} to {target.model.key}"
            )
        return chosen
    usable = [one for one in fitting if not (one.from_changed or one.to_changed)]
    return next((one for one in usable if not with_text or one.kind == TEXT), None)


def _require_begun_with(used: KeptAdapter | None, kept: KeptAdapter, collection: Collection, target: Slot) -> None:
    if used is not None and used.id != kept.id:
        raise _mixed(used, collection, target)


def _mixed(used: KeptAdapter, collection: Collection, target: Slot) -> RefusedError:
    return RefusedError(
        f"{collection.name} {target.name} was begun with bridge {used.name} ({used.kind}), and vectors of two bridges"
        f" are not to be mixed: go on with it, embedmig bridge {collection.name}, or begin anew, embedmig expand"
        f" {collection.name} --undo"
    )


def _fits(one: KeptAdapter, source: Slot, target: Slot) -> bool:
    ends = (one.direction, one.from_model, one.to_model)
    return ends == ("bridge", source.model.key, target.model.key)


def _fit(
    db: Database, collection: Collection, *, with_text: bool, on_fit: Callable[[str], object] | None
) -> KeptAdapter:
    from embedmig.commands import adapter_fit

    kind = TEXT if with_text else "auto"
    if on_fit is not None:
        on_fit(f"embedmig adapter fit {collection.name} --direction bridge --kind {kind}")
    fitted = adapter_fit(db, collection.name, direction="bridge", kind=kind)
    if fitted.adapter is None:
        raise RefusedError(f"{collection.name}: no bridge is good enough: {fitted.reason}")
    kept: KeptAdapter = fitted.adapter
    return kept


def _map_by(stored: StoredAdapter) -> Map:
    def mapped(vectors: Floats, texts: Sequence[str] | None) -> Floats:
        return apply_adapter(stored.adapter, vectors, texts)

    return mapped


def _close(conn: Connection, collection: Collection, target: Slot, settings: Settings) -> tuple[Census, int]:
    """Queues what could not be bridged, and notes that the slot is filled."""
    queued = queue_missing(conn, collection, target)
    validate_checks(conn, collection, target)
    census = count_rows(conn, collection, target)
    with conn.transaction():
        note_filled(conn, collection, target, census, settings, "bridge")
    return census, queued
