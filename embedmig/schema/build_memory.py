"""How much memory and how many workers an index build gets: what it wants, against what the server has."""

import os
from dataclasses import dataclass

import psycopg

from embedmig.db import Connection, Queries
from embedmig.errors import UsageError
from embedmig.schema.estimates import hnsw_memory_bytes
from embedmig.schema.index_design import IndexDesign, M
from embedmig.types import Slot

QUERIES = Queries(__package__, "indexes.sql")

_MIB = 1 << 20
SHM = "/dev/shm"  # noqa: S108


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the build's session sets."""

    maintenance_work_mem_bytes: int
    parallel_workers: int
    wanted_bytes: int
    """What the whole graph takes; 0 for a kind that needs no such memory."""
    shared_memory_bytes: int | None
    """Room in the server's /dev/shm; None where it cannot be seen."""
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MemorySettings:
    """What the server has set."""

    maintenance_work_mem_bytes: int
    shared_buffers_bytes: int
    parallel_workers: int
    """``max_parallel_maintenance_workers``."""
    shares_by_posix: bool
    """Whether parallel workers meet in /dev/shm."""


def memory_settings(conn: Connection) -> MemorySettings:
    """The server's settings as this role and database see them."""
    row = conn.execute(QUERIES["memory_settings"]).fetchone()
    assert row is not None
    return MemorySettings(**row)


def plan_memory(
    conn: Connection,
    slot: Slot,
    design: IndexDesign,
    *,
    rows: int,
    asked: str | None = None,
    workers: int | None = None,
) -> Memory:
    """The settings of the build. Unless ``asked``, memory grows from the server's own setting to what the graph takes,
    but not past shared_buffers: what the server was sized for. Raises UsageError when ``asked`` is no size."""
    server = memory_settings(conn)
    dimensions, vector_type = (
        (slot.model.dimensions, slot.vector_type)
        if design.quantised_dimensions is None
        else (design.quantised_dimensions, "bit")
    )
    m = dict(design.options).get("m", M)
    wanted = hnsw_memory_bytes(rows, dimensions, vector_type, m) if design.kind == "hnsw" else 0
    memory = _memory_bytes(conn, asked, wanted, server)
    return decide(
        wanted=wanted,
        memory=memory,
        workers=server.parallel_workers if workers is None else workers,
        room=shared_memory_bytes(conn) if server.shares_by_posix else None,
    )


def decide(*, wanted: int, memory: int, workers: int, room: int | None) -> Memory:
    """Workers share the graph through /dev/shm, which pgvector fills to maintenance_work_mem at the start: without
    that much room the build fails, so it goes without them."""
    notes = []
    if workers and room is not None and room < memory:
        notes.append(
            f"the server's {SHM} has {room // _MIB} MiB, parallel workers want {memory // _MIB}: built without them."
            " With Docker: --shm-size"
        )
        workers = 0
    if memory < wanted:
        notes.append(
            f"the graph wants {wanted // _MIB} MiB and gets {memory // _MIB}: it goes on from disk when that is full,"
            f" several times slower. Give more, if the server has it: --maintenance-work-mem {-(-wanted // _MIB)}MB"
        )
    return Memory(
        maintenance_work_mem_bytes=memory,
        parallel_workers=workers,
        wanted_bytes=wanted,
        shared_memory_bytes=room,
        notes=tuple(notes),
    )


def _memory_bytes(conn: Connection, asked: str | None, wanted: int, server: MemorySettings) -> int:
    if asked is None:
        return max(server.maintenance_work_mem_bytes, min(wanted + wanted // 10, server.shared_buffers_bytes))
    try:
        row = conn.execute(QUERIES["read_size"], {"text": asked}).fetchone()
    except psycopg.errors.DataError as exc:
        raise UsageError(f"{asked!r} is no size: write 512MB or 2GB") from exc
    assert row is not None
    if not _MIB <= row["bytes"] < 2048 * 1024 * _MIB:
        raise UsageError(f"maintenance_work_mem goes from 1MB to 2TB, not {asked}")
    return int(row["bytes"])


def shared_memory_bytes(conn: Connection) -> int | None:
    """Room in the server's /dev/shm: seen here when the server is on this machine (a socket), else read from its own
    list of mounts where the role may; None where neither can be."""
    if (conn.info.host or "").startswith("/"):
        try:
            stat = os.statvfs(SHM)
        except OSError:
            return None
        return stat.f_bavail * stat.f_frsize
    try:
        row = conn.execute(QUERIES["read_mounts"]).fetchone()
    except psycopg.Error:
        return None
    return None if row is None else read_shm_size(row["mounts"], row["meminfo"])


def read_shm_size(mounts: str, meminfo: str) -> int | None:
    """The size of /dev/shm out of /proc/mounts; where no size stands there, half of the memory, as Linux has it."""
    for line in mounts.splitlines():
        parts = line.split()
        if len(parts) < 4 or parts[1] != SHM:
            continue
        for option in parts[3].split(","):
            name, _, value = option.partition("=")
            if name == "size":
                return _read_size(value)
        for entry in meminfo.splitlines():
            if entry.startswith("MemTotal:"):
                return int(entry.split()[1]) * 1024 // 2
    return None


def _read_size(text: str) -> int | None:
    units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
    number, unit = (text[:-1], units.get(text[-1:].lower())) if text[-1:].isalpha() else (text, 1)
    return int(number) * unit if unit and number.isdigit() else None
