"""A few searches on the serving index, again and again: what the application's searches feel while the job runs."""

import time
from collections import deque
from collections.abc import Sequence

from psycopg import sql

from embedmig.db import Connection
from embedmig.db import identifiers as ident
from embedmig.types import Slot

_QUERIES = 16
_ROUNDS_BEFORE = 3
_A_LOOK = 8
_WINDOW = 24
"""The last searches that the p95 of now is taken from."""
_LEAST_MS = 1.0
"""A baseline below this is taken for this: what is added to it is the machine's noise."""


class Canary:
    """Searches for vectors that stand in the slot; the baseline is taken when it is made."""

    def __init__(self, conn: Connection, slot: Slot) -> None:
        self._statement = _nearest(slot)
        self._queries = _sample(conn, slot)
        self._next = 0
        for _ in range(_QUERIES):
            self._search(conn)
        self.before_ms = max(_LEAST_MS, p95([self._search(conn) for _ in range(_ROUNDS_BEFORE * _QUERIES)]))
        """p95 before the run."""
        self._recent: deque[float] = deque(maxlen=_WINDOW)

    def look(self, conn: Connection) -> tuple[float, float]:
        """Searches some more; gives the p95 before the run and that of the last searches, in milliseconds."""
        self._recent.extend(self._search(conn) for _ in range(_A_LOOK))
        return self.before_ms, p95(self._recent)

    def _search(self, conn: Connection) -> float:
        query = self._queries[self._next % len(self._queries)]
        self._next += 1
        began = time.perf_counter()
        conn.execute(self._statement, {"near": query})
        return (time.perf_counter() - began) * 1000


def open_canary(conn: Connection, slot: Slot) -> Canary | None:
    """None where a search would use no index, and read the whole table, or where there are no vectors."""
    near = _sample(conn, slot)[:1]
    if not near:
        return None
    plan = conn.execute(sql.SQL("EXPLAIN ") + _nearest(slot), {"near": near[0]}).fetchall()
    return Canary(conn, slot) if any("Index Scan" in line["QUERY PLAN"] for line in plan) else None


def p95(values: Sequence[float] | deque[float]) -> float:
    """The value that 95 % do not exceed; 0 of none. Pure."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] if ordered else 0.0


def _nearest(slot: Slot) -> sql.Composed:
    return sql.SQL("SELECT count(*) AS n FROM (SELECT FROM {} ORDER BY {} {} %(near)s LIMIT 10) AS t").format(
        ident.slot_table(slot), sql.Identifier(slot.vector_column), sql.SQL(slot.model.distance.operator)
    )


def _sample(conn: Connection, slot: Slot) -> list[object]:
    query = sql.SQL("SELECT {vector} AS vector FROM {table} WHERE {vector} IS NOT NULL LIMIT {count}").format(
        vector=sql.Identifier(slot.vector_column), table=ident.slot_table(slot), count=sql.Literal(_QUERIES)
    )
    return [row["vector"] for row in conn.execute(query)]
