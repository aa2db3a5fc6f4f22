"""What of a server is good, doubtful or wrong for a migration, each with what to do about it. Reads only."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from embedmig.catalog.install import known_revisions
from embedmig.db import Connection, Queries
from embedmig.db.connection import MIN_PGVECTOR, MIN_SERVER
from embedmig.schema.build_memory import SHM, memory_settings, shared_memory_bytes

QUERIES = Queries(__package__, "diagnosis.sql")

_MIB = 1 << 20
_RETAINED_TOO_MUCH = 1 << 30


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    check: str
    level: Level
    said: str
    what_to_do: str = ""


def ok(check: str, said: str) -> Finding:
    """Nothing to do."""
    return Finding(check=check, level=Level.OK, said=said)


def warn(check: str, said: str, what_to_do: str) -> Finding:
    """It works, and may hurt."""
    return Finding(check=check, level=Level.WARN, said=said, what_to_do=what_to_do)


def fail(check: str, said: str, what_to_do: str) -> Finding:
    """A migration would fail, or lose something."""
    return Finding(check=check, level=Level.FAIL, said=said, what_to_do=what_to_do)


def diagnose_server(conn: Connection) -> list[Finding]:
    """The server, the extension, the control schema, and what of the settings matters."""
    server = conn.execute(QUERIES["server"]).fetchone()
    assert server is not None
    return [
        _connection(server),
        _version(server),
        _pgvector(server),
        *_control_schema(conn, server),
        *_sessions(conn),
        *_replication(conn, server),
        *_build_settings(conn),
        ok("autovacuum", "on")
        if server["autovacuum"]
        else warn("autovacuum", "off", "turn it on: dead versions of in-place writes stay, and cut the recall of HNSW"),
    ]


def is_installed(findings: Iterable[Finding]) -> bool:
    """Whether the control schema can be read, as far as the findings tell."""
    return all(finding.level is not Level.FAIL for finding in findings if finding.check == "control schema")


def _connection(server: dict[str, Any]) -> Finding:
    said = f"to database {server['database']} as {server['role']}"
    if server["standby"]:
        return fail("connection", f"{said}, a standby", "connect to the primary: everything but searching writes")
    return ok("connection", said)


def _version(server: dict[str, Any]) -> Finding:
    if server["version_num"] < MIN_SERVER:
        return fail("Postgres", server["version"], "upgrade to 15 or later")
    return ok("Postgres", server["version"])


def _pgvector(server: dict[str, Any]) -> Finding:
    version = server["pgvector"]
    if version is None:
        return fail("pgvector", "not installed in this database", "CREATE EXTENSION vector")
    if tuple(int(part) for part in version.split(".")[:2]) < MIN_PGVECTOR:
        return fail("pgvector", version, "0.8 or later is needed: ALTER EXTENSION vector UPDATE")
    return ok("pgvector", version)


def _control_schema(conn: Connection, server: dict[str, Any]) -> list[Finding]:
    if not server["installed"]:
        missing = fail("control schema", "not installed", "embedmig init")
        if server["may_create_schema"]:
            return [missing]
        grant = f"GRANT CREATE ON DATABASE {server['database']} TO {server['role']}"
        return [missing, fail("privileges", f"{server['role']} may not create a schema here", grant)]
    rights = conn.execute(QUERIES["control_rights"]).fetchone()
    assert rights is not None
    if not rights["usage"]:
        grant = (
            f"connect as {rights['owner']}; or, only to search: GRANT USAGE ON SCHEMA embedmig TO {server['role']},"
            " and embedmig doctor tells the rest"
        )
        return [fail("control schema", f"{server['role']} may not use schema embedmig", grant)]
    return [_revision(conn, server), *_ownership(rights, server)]


def _revision(conn: Connection, server: dict[str, Any]) -> Finding:
    known = known_revisions()
    row = conn.execute(QUERIES["revision"]).fetchone() if server["may_read_revision"] else None
    if row is None:
        return ok("control schema", f"there; {server['role']} may not see its revision")
    installed = row["revision"]
    if installed == known[-1]:
        return ok("control schema", f"revision {installed}")
    if installed in known:
        return fail(
            "control schema", f"revision {installed}, this embedmig has {known[-1]}", "embedmig init upgrades it"
        )
    said = f"revision {installed}, which this embedmig does not know"
    return fail("control schema", said, "upgrade embedmig here: a newer one has been at this database")


def _ownership(rights: dict[str, Any], server: dict[str, Any]) -> list[Finding]:
    if rights["owns"]:
        return []
    said = f"{server['role']} does not own schema embedmig"
    return [warn("privileges", said, f"to change anything, connect as {rights['owner']} or a member of it")]


def _sessions(conn: Connection) -> list[Finding]:
    found = [
        warn(
            "old transactions",
            f"pid {row['pid']} ({row['name']}, {row['role']}) is {row['state']} for {row['seconds']} s",
            f"end it: it keeps updates from being HOT, and a concurrent build from ending;"
            f" SELECT pg_terminate_backend({row['pid']})",
        )
        for row in conn.execute(QUERIES["old_sessions"])
    ]
    found += [
        warn(
            "old transactions",
            f"prepared transaction {row['gid']} is open for {row['seconds']} s",
            f"COMMIT PREPARED or ROLLBACK PREPARED '{row['gid']}'",
        )
        for row in conn.execute(QUERIES["prepared_transactions"])
    ]
    return found or [ok("old transactions", "none older than a minute")]


def _replication(conn: Connection, server: dict[str, Any]) -> list[Finding]:
    slots = conn.execute(QUERIES["replication_slots"]).fetchall()
    found = []
    for slot in slots:
        retained = slot["retained_bytes"] or 0
        if not slot["active"] or retained > _RETAINED_TOO_MUCH:
            state = "active" if slot["active"] else "inactive"
            found.append(
                warn(
                    "replication",
                    f"slot {slot['name']} is {state} and keeps {retained // _MIB:,} MiB of WAL"
                    + (", and the xmin horizon with it" if slot["holds_horizon"] else ""),
                    "a backfill writes much WAL: see that its consumer catches up, or drop the slot",
                )
            )
    if found:
        return found
    return [ok("replication", f"wal_level {server['wal_level']}, {len(slots)} replication slots")]


def _build_settings(conn: Connection) -> list[Finding]:
    settings = memory_settings(conn)
    memory, workers = settings.maintenance_work_mem_bytes, settings.parallel_workers
    found = [ok("index memory", f"maintenance_work_mem {memory // _MIB:,} MiB")]
    if workers == 0:
        said = "max_parallel_maintenance_workers is 0"
        found.append(warn("index workers", said, "an index is built on one core: raise it, or --parallel-workers"))
    else:
        found.append(ok("index workers", f"max_parallel_maintenance_workers {workers}"))
    room = shared_memory_bytes(conn) if settings.shares_by_posix else None
    if room is None:
        found.append(ok("shared memory", "cannot be seen from here; a build that finds none goes on without workers"))
    elif workers and room < memory:
        said = f"{SHM} has room for {room // _MIB:,} MiB, less than maintenance_work_mem"
        found.append(warn("shared memory", said, "indexes are built without workers; with Docker, --shm-size"))
    else:
        found.append(ok("shared memory", f"{SHM} has room for {room // _MIB:,} MiB"))
    return found
