"""Builds a slot's indexes without blocking anyone, and says how far it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psycopg import sql

from embedmig.catalog.events import log_event
from embedmig.catalog.routes import raise_epoch
from embedmig.catalog.slots import set_index
from embedmig.db import Connection, Database, Queries, run_ddl
from embedmig.db.identifiers import slot_table, table, wants_vector
from embedmig.errors import DatabaseError, RefusedError
from embedmig.schema.build_memory import plan_memory
from embedmig.schema.index_building import Build, IndexProgress, find_index, provide_index
from embedmig.schema.index_design import IndexOptions, design_indexes, index_of
from embedmig.schema.inspection import TableName, describe_table, find_ann_indexes
from embedmig.settings import Settings, load_settings
from embedmig.types import Collection, Slot

QUERIES = Queries(__package__, "indexes.sql")

_ADVISORY_CLASS = 0x656D6978
"""Any number, so long as it is ours alone."""


@dataclass(frozen=True, kw_only=True)
class IndexBuilt:
    """What ``index`` left behind."""

    slot: str
    names: tuple[str, ...]
    """The slot's indexes; searches over all rows use the first."""
    built: tuple[str, ...]
    """Those that were built now; the others were there and valid."""
    dropped_invalid: tuple[str, ...]
    statements: tuple[str, ...]
    size_bytes: int
    seconds: float
    maintenance_work_mem_bytes: int
    parallel_workers: int
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class IndexState:
    """A slot's index as it is now."""

    name: str | None
    valid: bool
    size_bytes: int
    building_pid: int | None
    """The backend that builds it at this moment."""


def build_index(
    db: Database,
    collection: Collection,
    slot: Slot,
    *,
    source: Slot | None = None,
    kind: str | None = None,
    m: int | None = None,
    ef_construction: int | None = None,
    lists: int | None = None,
    maintenance_work_mem: str | None = None,
    parallel_workers: int | None = None,
    on_progress: Callable[[IndexProgress], None] = lambda progress: None,
    settings: Settings | None = None,
) -> IndexBuilt:
    """Builds the slot's ANN indexes CONCURRENTLY, and writes in the catalog that they are there. What is left open is
    as the indexes of ``source`` have it. A valid index is left as it is; an INVALID one of ours is dropped and built
    anew. Memory and workers are set for the session only; where /dev/shm is too small, it builds without workers.

    An interrupt cancels the build in the server and drops what was half made. Raises RefusedError when the slot has no
    vectors yet or someone else builds, ConflictError when the name is taken, UsageError for options that cannot be.
    """
    options = IndexOptions(kind=kind, m=m, ef_construction=ef_construction, lists=lists)
    options.check()
    chosen = settings or load_settings()
    with db.connect() as watcher, db.connect(patience=chosen) as builder:
        _hold(builder, collection, slot)
        require_vectors(builder, collection, slot)
        facts = describe_table(builder, slot.schema, slot.table)
        found = [] if source is None else find_ann_indexes(builder, source.schema, source.table, source.vector_column)
        designs, notes = design_indexes(slot, rows=facts.rows, options=options, source=source, source_indexes=found)
        memory = plan_memory(
            builder, slot, designs[0], rows=facts.rows, asked=maintenance_work_mem, workers=parallel_workers
        )
        build = Build(
            builder=builder,
            watcher=watcher,
            settings=chosen,
            vector_schema=_vector_schema(builder),
            memory=memory,
            on_progress=on_progress,
            notes=[*notes, *memory.notes],
        )
        names = [provide_index(build, slot, design, facts.oid, asked=options) for design in designs]
        _record(build, collection, slot, names)
        return _result(build, slot, names)


def index_state(conn: Connection, slot: Slot) -> IndexState:
    """The slot's index as the server has it; ``valid`` False where there is none."""
    if slot.index_name is None:
        building = find_index(
            conn, TableName(slot.schema, slot.table), index_of(slot.table, slot.vector_column, "hnsw")
        )
        pid = None if building is None else building["building_pid"]
        return IndexState(name=None, valid=False, size_bytes=0, building_pid=pid)
    found = find_index(conn, TableName(slot.schema, slot.table), slot.index_name)
    valid = found is not None and bool(found["valid"]) and bool(found["same_table"])
    return IndexState(
        name=slot.index_name,
        valid=valid,
        size_bytes=_size(conn, slot.schema, slot.index_name),
        building_pid=None if found is None else found["building_pid"],
    )


def drop_index_statement(conn: Connection, slot: Slot, *, name: str | None = None) -> sql.Composed:
    """What drops the slot's index (or that of ``name``) and nothing else; CONCURRENTLY where Postgres can."""
    index = name or slot.index_name
    assert index is not None, f"slot {slot.name} has no index"
    found = find_index(conn, TableName(slot.schema, slot.table), index)
    concurrently = found is None or found["kind"] != "I"
    return sql.SQL("DROP INDEX {}IF EXISTS {}").format(
        sql.SQL("CONCURRENTLY " if concurrently else ""), sql.Identifier(slot.schema, index)
    )


def drop_index(conn: Connection, slot: Slot, *, name: str | None = None, settings: Settings | None = None) -> None:
    """Drops the slot's index (or that of ``name``), outside a transaction; nothing where it is gone. The catalog's row
    is the caller's. Raises LockedError when an index of a partitioned table cannot be locked."""
    statement = drop_index_statement(conn, slot, name=name)
    if b"CONCURRENTLY" in statement.as_bytes(conn):
        conn.execute(statement)
        return
    chosen = settings or load_settings()
    run_ddl(
        conn,
        lambda inner: inner.execute(statement),
        relation=slot_table(slot),
        lock_timeout_s=chosen.lock_timeout_s,
        attempts=chosen.lock_attempts,
    )


def require_vectors(conn: Connection, collection: Collection, slot: Slot) -> None:
    """Raises RefusedError when rows want vectors and the slot has none at all: an index over nothing would be built
    for nothing, and an IVFFlat one would stay bad."""
    has_any = conn.execute(
        sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NOT NULL) AS found").format(
            slot_table(slot), sql.Identifier(slot.vector_column)
        )
    ).fetchone()
    wanted = conn.execute(
        sql.SQL("SELECT EXISTS (SELECT FROM {} AS d WHERE {}) AS found").format(
            table(collection), wants_vector(collection, "d")
        ),
        {},
    ).fetchone()
    assert has_any is not None
    assert wanted is not None
    if wanted["found"] and not has_any["found"]:
        raise RefusedError(
            f"slot {slot.name} of {collection.name} has no vectors yet: fill it first,"
            f" embedmig reembed {collection.name}"
        )


def _hold(conn: Connection, collection: Collection, slot: Slot) -> None:
    names = {"class_id": _ADVISORY_CLASS, "slot_id": slot.id}
    row = conn.execute(QUERIES["hold"], names).fetchone()
    assert row is not None
    if row["held"]:
        return
    holder = conn.execute(QUERIES["who_holds"], names).fetchone()
    who = "someone else" if holder is None else f"pid {holder['pid']} ({holder['application_name']}) has"
    since = "" if holder is None else f" for {holder['seconds']} s"
    raise RefusedError(
        f"the index of slot {slot.name} of {collection.name} is being built: {who} been at it{since}. Wait for it, or"
        " cancel it there, and run this again"
    )


def _vector_schema(conn: Connection) -> str:
    row = conn.execute(QUERIES["vector_schema"]).fetchone()
    if row is None:
        raise DatabaseError("pgvector is not installed: run CREATE EXTENSION vector")
    return str(row["schema"])


def _record(build: Build, collection: Collection, slot: Slot, names: Sequence[str]) -> None:
    """Writes the index into the slot. The new epoch makes searches planned without it be planned again."""
    if slot.index_name == names[0] and not build.built:
        return
    with build.builder.transaction():
        set_index(build.builder, slot, names[0])
        raise_epoch(build.builder, collection.group)
        log_event(
            build.builder,
            "index",
            collection.name,
            was=slot.index_name,
            became=names[0],
            slot=slot.name,
            built=build.built,
            seconds=round(build.seconds, 1),
        )


def _result(build: Build, slot: Slot, names: Sequence[str]) -> IndexBuilt:
    return IndexBuilt(
        slot=slot.name,
        names=tuple(names),
        built=tuple(build.built),
        dropped_invalid=tuple(build.dropped),
        statements=tuple(build.statements),
        size_bytes=sum(_size(build.builder, slot.schema, name) for name in names),
        seconds=build.seconds,
        maintenance_work_mem_bytes=build.memory.maintenance_work_mem_bytes,
        parallel_workers=build.memory.parallel_workers,
        notes=tuple(dict.fromkeys(build.notes)),
    )


def _size(conn: Connection, schema: str, index: str) -> int:
    row = conn.execute(QUERIES["index_size"], {"index": sql.Identifier(schema, index).as_string(conn)}).fetchone()
    return 0 if row is None or row["bytes"] is None else int(row["bytes"])
