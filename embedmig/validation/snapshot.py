"""One view of the data for several statements, and nothing written."""

from collections.abc import Iterator
from contextlib import contextmanager

from embedmig.db import Connection

_WORK_MEM = "128MB"
"""A join of keys with keys stays in memory for some millions of rows; by default it would go to disk."""


@contextmanager
def one_snapshot(conn: Connection) -> Iterator[None]:
    """A read-only transaction whose statements all see the same rows. No model may compute in it: it holds back
    vacuum as long as it is open."""
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        conn.execute("SELECT set_config('work_mem', %s, true)", [_WORK_MEM])
        yield
