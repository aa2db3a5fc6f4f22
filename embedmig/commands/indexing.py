"""index: builds the target's ANN index."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from embedmig.catalog.collections import get_collection
from embedmig.catalog.migrations import find_migration
from embedmig.catalog.slots import get_slot, list_slots
from embedmig.db import Connection, Database
from embedmig.db.connection import require_server
from embedmig.schema.constraints import validate_checks
from embedmig.schema.index_building import IndexProgress
from embedmig.schema.indexes import IndexBuilt, build_index
from embedmig.schema.matching import environment_of, match_index
from embedmig.settings import Settings, load_settings
from embedmig.types import Collection, Slot


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """What ``index`` did."""

    collection: str
    index: IndexBuilt
    checks_validated: int
    revision: Path | None
    """The matching revision in the user's Alembic environment; here it changes nothing."""


def index(
    db: Database,
    collection: str,
    *,
    slot: str | None = None,
    kind: str | None = None,
    m: int | None = None,
    ef_construction: int | None = None,
    lists: int | None = None,
    maintenance_work_mem: str | None = None,
    parallel_workers: int | None = None,
    on_progress: Callable[[IndexProgress], None] = lambda progress: None,
    settings: Settings | None = None,
) -> Indexed:
    """Builds the index of the open migration's target (or of ``slot``), concurrently, and validates what expand left to
    validate. Repeating it changes nothing; after a crash it drops what is INVALID and builds anew.

    ``kind`` is hnsw or ivfflat; what is left open is as the source's index has it. Raises what build_index raises.
    """
    chosen = settings or load_settings()
    with db.connect(patience=chosen) as conn:
        require_server(conn)
        found = get_collection(conn, collection)
        wanted, source = _choose(conn, found, slot)
        ini = environment_of(chosen, found, wanted)
        checks = validate_checks(conn, found, wanted)
    built = build_index(
        db,
        found,
        wanted,
        source=source,
        kind=kind,
        m=m,
        ef_construction=ef_construction,
        lists=lists,
        maintenance_work_mem=maintenance_work_mem,
        parallel_workers=parallel_workers,
        on_progress=on_progress,
        settings=chosen,
    )
    return Indexed(
        collection=found.name,
        index=built,
        checks_validated=checks,
        revision=None if ini is None else _match(db, ini, found, wanted.name),
    )


def _match(db: Database, ini: Path, collection: Collection, slot: str) -> Path | None:
    with db.connect() as conn:
        revision = match_index(ini, conn, collection, get_slot(conn, collection, slot))
    return None if revision is None else revision.path


def _choose(conn: Connection, collection: Collection, name: str | None) -> tuple[Slot, Slot | None]:
    """The slot to index, and the one whose indexes it takes after."""
    migration = find_migration(conn, collection)
    slots = {slot.id: slot for slot in list_slots(conn, collection)}
    if name is not None:
        wanted = get_slot(conn, collection, name)
    elif migration is not None:
        wanted = slots[migration.target_id]
    else:
        wanted = next(iter(slots.values()))
    is_target = migration is not None and wanted.id == migration.target_id
    return wanted, slots[migration.source_id] if migration is not None and is_target else None
