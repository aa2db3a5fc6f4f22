"""One index after the other, on a table or on every partition of it, watched while the server works."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from psycopg import sql

from embedmig.db import Connection, Queries, run_ddl
from embedmig.errors import ConflictError, RefusedError
from embedmig.schema.build_memory import Memory
from embedmig.schema.index_design import IndexDesign, IndexOptions
from embedmig.schema.inspection import AnnIndex, TableName, find_ann_indexes
from embedmig.settings import Settings
from embedmig.types import Slot

QUERIES = Queries(__package__, "indexes.sql")

_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class IndexProgress:
    """How far a build is."""

    index: str
    phase: str
    """In Postgres's and pgvector's own words, such as ``building index: loading tuples``."""
    share: float | None
    """Of this phase, 0 to 1; None where the server does not say."""
    waits_for_pid: int | None
    """A session whose transaction is older than the build, which CONCURRENTLY waits for."""
    seconds: float


@dataclass(kw_only=True)
class Build:
    """One run: its two connections, and what it has done so far."""

    builder: Connection
    watcher: Connection
    settings: Settings
    vector_schema: str
    memory: Memory
    on_progress: Callable[[IndexProgress], None]
    notes: list[str]
    built: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self.started


def provide_index(build: Build, slot: Slot, design: IndexDesign, oid: int, *, asked: IndexOptions) -> str:
    """The name of a valid index as designed: the one there is, or one built now, on every partition.

    Raises ConflictError when the one there is was asked to be another, or the name is taken; RefusedError when someone
    else builds it.
    """
    there = find_usable(build.builder, slot, design)
    if there is not None:
        _require_as_asked(there, design, asked)
        return there.name
    tree = build.builder.execute(QUERIES["partition_tree"], {"oid": oid}).fetchall()
    for node in tree:
        name = TableName(node["schema"], node["table"])
        if node["partitioned"]:
            _provide_over_partitions(build, design, name, tree)
        else:
            _provide_on(build, design, name)
    return design.name


def find_usable(conn: Connection, slot: Slot, design: IndexDesign) -> AnnIndex | None:
    """A valid index on the slot's table that does what the design is for, whoever made it."""
    for index in find_ann_indexes(conn, slot.schema, slot.table, slot.vector_column):
        here = index.valid and (index.schema, index.table) == (slot.schema, slot.table)
        over_signs = index.expression is not None
        same = (index.opclass, index.predicate) == (design.opclass, design.predicate)
        if here and same and over_signs == (design.quantised_dimensions is not None):
            return index
    return None


def find_index(conn: Connection, name: TableName, index: str) -> dict[str, Any] | None:
    """What stands under the name ``index`` in the table's schema: valid, same_table, kind, building_pid."""
    return conn.execute(
        QUERIES["find_index"],
        {"schema": name.schema, "name": index, "table": name.identifier.as_string(conn)},
    ).fetchone()


def _require_as_asked(there: AnnIndex, design: IndexDesign, asked: IndexOptions) -> None:
    differs = [
        f"{name} = {there.options.get(name, 'the default')}"
        for name, value in design.options
        if name in asked.given() and there.options.get(name) != str(value)
    ]
    if asked.asked_kind not in (None, there.kind):
        differs.insert(0, there.kind)
    if differs:
        raise ConflictError(
            f"{there.name} is there and valid, with {', '.join(differs)}: drop it first if you want another,"
            f" DROP INDEX CONCURRENTLY {there.schema}.{there.name}"
        )


def _provide_on(build: Build, design: IndexDesign, name: TableName) -> None:
    index = design.on(name.table)
    found = find_index(build.builder, name, index)
    if found is not None:
        if not found["same_table"]:
            raise ConflictError(f"the name {name.schema}.{index} is taken by something else: rename or drop that")
        if found["valid"]:
            return
        _drop_invalid(build, name, index, found["building_pid"])
    statement = design.statement(name.identifier, name=index, vector_schema=build.vector_schema)
    _create(build, statement, name, index)
    build.built.append(index)


def _drop_invalid(build: Build, name: TableName, index: str, building_pid: int | None) -> None:
    if building_pid is not None:
        raise RefusedError(
            f"{index} is being built by pid {building_pid}: wait for it, or end it,"
            f" SELECT pg_cancel_backend({building_pid})"
        )
    _report(build, index, "dropping what an earlier build left INVALID")
    build.builder.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(name.schema, index)))
    build.dropped.append(index)


def _create(build: Build, statement: sql.Composed, name: TableName, index: str) -> None:
    try:
        try:
            _run_watched(build, statement, index)
        except psycopg.errors.DiskFull as exc:
            if "shared memory" not in str(exc) or build.memory.parallel_workers == 0:
                raise
            # /dev/shm could not be seen beforehand, and has less room than the build's memory.
            build.notes.append("the server's /dev/shm has no room for parallel workers: built without them")
            build.memory = replace(build.memory, parallel_workers=0)
            _drop_invalid(build, name, index, None)
            _run_watched(build, statement, index)
    except BaseException:
        _drop_half_made(build, name, index)
        raise
    build.statements.append(statement.as_string(build.builder))


def _run_watched(build: Build, statement: sql.Composed, index: str) -> None:
    """Runs the statement in a thread of its own, and reports on it from this one until it ends."""
    memory_kb = build.memory.maintenance_work_mem_bytes // 1024
    build.builder.execute(
        QUERIES["set_for_the_session"], {"memory": f"{memory_kb}kB", "workers": str(build.memory.parallel_workers)}
    )
    with ThreadPoolExecutor(1, thread_name_prefix="index-build") as pool:
        running = pool.submit(build.builder.execute, statement)
        try:
            while not _ended(running):
                _report(build, index, None)
        except BaseException:
            build.builder.cancel_safe(timeout=5.0)
            raise
        running.result()


def _ended(running: "Future[Any]") -> bool:
    try:
        running.exception(timeout=_POLL_S)
    except NotYet:
        return False
    return True


def _drop_half_made(build: Build, name: TableName, index: str) -> None:
    """An INVALID index costs every write and serves no search, so it goes at once, if that needs no long wait."""
    try:
        found = find_index(build.builder, name, index)
        if found is None or found["valid"]:
            return
        build.builder.execute(QUERIES["set_lock_timeout"], {"timeout": "2s"})
        build.builder.execute(
            sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(name.schema, index))
        )
    except psycopg.Error:
        # It stays INVALID, and the next run drops it; what made us come here is what is to be raised.
        return


def _provide_over_partitions(
    build: Build, design: IndexDesign, name: TableName, tree: Sequence[dict[str, Any]]
) -> None:
    """The parent's own index: ON ONLY, then each partition's attached; valid when the last one is."""
    index = design.on(name.table)
    children = [
        sql.Identifier(node["schema"], design.on(node["table"]))
        for node in tree
        if (node["parent_schema"], node["parent_table"]) == (name.schema, name.table)
    ]
    parent = sql.Identifier(name.schema, index)

    def attach(conn: Connection) -> None:
        if find_index(conn, name, index) is None:
            conn.execute(
                design.statement(
                    name.identifier, name=index, vector_schema=build.vector_schema, concurrently=False, only=True
                )
            )
        for child in children:
            if not _is_attached(conn, child, parent):
                conn.execute(sql.SQL("ALTER INDEX {} ATTACH PARTITION {}").format(parent, child))

    _report(build, index, "attaching the partitions' indexes")
    run_ddl(
        build.builder,
        attach,
        relation=name.identifier,
        lock_timeout_s=build.settings.lock_timeout_s,
        attempts=build.settings.lock_attempts,
    )
    build.built.append(index)


def _is_attached(conn: Connection, child: sql.Identifier, parent: sql.Identifier) -> bool:
    row = conn.execute(
        QUERIES["is_attached"], {"child": child.as_string(conn), "parent": parent.as_string(conn)}
    ).fetchone()
    return row is not None and bool(row["attached"])


def _report(build: Build, index: str, doing: str | None) -> None:
    if doing is not None:
        progress = IndexProgress(index=index, phase=doing, share=None, waits_for_pid=None, seconds=build.seconds)
        build.on_progress(progress)
        return
    row = build.watcher.execute(QUERIES["progress"], {"pid": build.builder.info.backend_pid}).fetchone()
    if row is None:
        _report_waiting(build, index)
    else:
        build.on_progress(
            IndexProgress(
                index=index,
                phase=row["phase"],
                share=_share(row),
                waits_for_pid=row["waits_for_pid"],
                seconds=build.seconds,
            )
        )


def _report_waiting(build: Build, index: str) -> None:
    """Before the server counts a build as begun it may wait for its table."""
    row = build.watcher.execute(QUERIES["who_blocks"], {"pid": build.builder.info.backend_pid}).fetchone()
    if row is not None:
        waits = IndexProgress(
            index=index,
            phase=f"waiting for its table, which {row['name']} has locked",
            share=None,
            waits_for_pid=row["pid"],
            seconds=build.seconds,
        )
        build.on_progress(waits)


def _share(row: dict[str, int]) -> float | None:
    for what in ("lockers", "tuples", "blocks"):
        if row[f"{what}_total"]:
            return min(1.0, row[f"{what}_done"] / row[f"{what}_total"])
    return None
