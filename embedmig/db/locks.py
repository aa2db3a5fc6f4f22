"""DDL under a short lock_timeout, retried, so that users' queries never queue behind ours for long."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from psycopg import errors as pg
from psycopg import sql

from embedmig.db.connection import Connection, describe_holder
from embedmig.errors import LockedError

T = TypeVar("T")

_HOLDERS = """
SELECT a.pid, coalesce(nullif(a.application_name, ''), a.backend_type) AS name, a.state,
       round(extract(epoch FROM clock_timestamp() - a.xact_start))::int AS xact_s
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.relation = to_regclass(%(relation)s) AND l.granted AND a.pid <> pg_backend_pid()
 ORDER BY a.xact_start LIMIT 3"""


def run_ddl(
    conn: Connection,
    work: Callable[[Connection], T],
    *,
    relation: sql.Identifier,
    lock_timeout_s: float = 2.0,
    attempts: int = 6,
) -> T:
    """Runs ``work(conn)`` in a transaction of its own under ``lock_timeout``; the whole of it again when a lock
    was not to be had (SQLSTATE 55P03), with pauses that grow and jitter. All of it or nothing is done.

    Raises LockedError, naming who holds ``relation``, after ``attempts``.
    """
    for attempt in range(1, attempts + 1):
        try:
            with conn.transaction():
                conn.execute("SELECT set_config('lock_timeout', %s, true)", [f"{int(lock_timeout_s * 1000)}ms"])
                return work(conn)
        except pg.LockNotAvailable as exc:
            if attempt == attempts:
                name = relation.as_string(conn)
                raise LockedError(
                    f"could not lock {name} in {attempts} tries of {lock_timeout_s:g} s: {_holders(conn, name)}."
                    " Nothing was changed; run it again when they are done",
                    sqlstate=exc.sqlstate,
                ) from exc
            # Jitter keeps several clients from meeting again; the pause lets queued queries through.
            time.sleep(min(10.0, 0.25 * 2**attempt) * random.uniform(0.5, 1.5))  # noqa: S311
    raise AssertionError("attempts is at least 1")


def _holders(conn: Connection, relation: str) -> str:
    rows = conn.execute(_HOLDERS, {"relation": relation}).fetchall()
    if not rows:
        return "whoever held it is gone by now"
    return "held by " + ", ".join(describe_holder(row) for row in rows)
