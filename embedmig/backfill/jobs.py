"""The job of a slot: its chunks, cut when rows need work, joined when others are at it already."""

import math
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from embedmig.backfill import fragments
from embedmig.db import Connection, Queries
from embedmig.db import identifiers as ident
from embedmig.types import Collection, Placement, Slot

QUERIES = Queries(__package__, "jobs.sql")

_MOST_ROWS, _FEWEST_ROWS = 8192, 256
_FEWEST_ROWS_OF_A_PART = 16
_CHUNKS_OF_A_PART = 200
"""So many chunks make the part that is embedded first a fair sample."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """An open job as it stands."""

    id: int
    slot_id: int
    state: str
    rows_planned: int
    limit_rows: int | None
    """Chunks are claimed until so many rows are done; None: all of them."""
    opened_at: datetime
    rows_done: int
    """Rows of the chunks that are done."""
    open: int
    """Chunks that are not done."""
    held: int
    """Those of them that a live worker holds."""

    @property
    def at_limit(self) -> bool:
        """The part that was asked for is done."""
        return self.limit_rows is not None and self.rows_done >= self.limit_rows

    @property
    def finished(self) -> bool:
        """Nothing is left to be claimed or to be waited for."""
        return self.open == 0 or (self.at_limit and self.held == 0)


def find_job(conn: Connection, slot: Slot) -> Job | None:
    """The slot's open job, if there is one."""
    row = conn.execute(QUERIES["find_open"], {"slot_id": slot.id}).fetchone()
    return None if row is None else Job(**row)


def plan_job(
    conn: Connection, collection: Collection, slot: Slot, *, chunk_rows: int, more_rows: int | None = None
) -> Job | None:
    """Cuts chunks for the rows that lack a vector; None when none does and no job is open. A job that others are at is
    joined as it is. ``more_rows``: stop when so many rows more are done.
    """
    with conn.transaction():
        conn.execute(QUERIES["lock_planning"], {"slot_id": slot.id})
        job = find_job(conn, slot)
        if job is not None and (job.held or job.state != "running"):
            return job
        job_id = job.id if job is not None else _open_job(conn, slot)
        conn.execute(QUERIES["drop_open_chunks"], {"job_id": job_id})
        _cut_chunks(conn, collection, slot, job_id, chunk_rows)
        done = 0 if job is None else job.rows_done
        limit = None if more_rows is None else done + more_rows
        planned = conn.execute(QUERIES["set_planned"], {"job_id": job_id, "limit_rows": limit}).fetchone()
        if job is None and planned is not None and not planned["rows_planned"]:
            conn.execute(QUERIES["drop_job"], {"job_id": job_id})
        return find_job(conn, slot)


def end_job(conn: Connection, job: Job) -> bool:
    """Closes a job whose chunks are all done; False when another closed it first, or it is not done."""
    with conn.transaction():
        if conn.execute(QUERIES["end_job"], {"job_id": job.id}).fetchone() is None:
            return False
        conn.execute(QUERIES["fold_chunks"], {"job_id": job.id})
        return True


def choose_chunk_rows(
    slot: Slot, *, rows: int, tuples_per_page: float, group_rows: int, workers: int, part_rows: int | None = None
) -> int:
    """How many rows a chunk has. In column placement at least a group times the rows of a page, so that a group finds
    a page for each of its rows; small ones where only a part is embedded first. Pure."""
    if part_rows is not None:
        return max(_FEWEST_ROWS_OF_A_PART, min(_MOST_ROWS, part_rows // _CHUNKS_OF_A_PART))
    if slot.placement is Placement.COLUMN:
        return max(_MOST_ROWS, math.ceil(group_rows * tuples_per_page))
    share = math.ceil(rows / (8 * workers))
    return max(_FEWEST_ROWS, min(_MOST_ROWS, share))


def estimate_tuples_per_page(conn: Connection, collection: Collection) -> float:
    """How many rows stand on a page of the user's table, by its statistics; 1 when there are none."""
    row = conn.execute(QUERIES["table_shape"], {"schema": collection.schema, "table": collection.table}).fetchone()
    if row is None or not row["pages"] or not row["rows"]:
        return 1.0
    return max(1.0, float(row["rows"] / row["pages"]))


def estimate_rows(conn: Connection, collection: Collection) -> int:
    """Rows of the user's table by its statistics; 0 when there are none."""
    row = conn.execute(QUERIES["table_shape"], {"schema": collection.schema, "table": collection.table}).fetchone()
    return 0 if row is None else int(row["rows"])


def _open_job(conn: Connection, slot: Slot) -> int:
    row = conn.execute(QUERIES["open_job"], {"slot_id": slot.id}).fetchone()
    assert row is not None
    return int(row["id"])


def _cut_chunks(conn: Connection, collection: Collection, slot: Slot, job_id: int, chunk_rows: int) -> None:
    parts: dict[str, sql.Composable] = {
        "table": ident.table(collection),
        "keys": ident.keys(collection, "d"),
        "key_array": ident.key_array(collection, "d"),
        "join_slot": ident.join_slot(collection, slot),
        "wants": ident.wants_vector(collection, "d"),
        "lacking": fragments.lacks_vector(slot),
        "missing": ident.is_missing(slot),
    }
    values = {"slot_id": slot.id, "job_id": job_id, "chunk_rows": chunk_rows}
    conn.execute(QUERIES["cut_chunks"].format(**parts), values)
