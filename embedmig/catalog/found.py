"""Rows that searches showed while they were bridged: reported by whoever searches, queued to be embedded first."""

from collections.abc import Mapping

from psycopg.types.json import Jsonb

from embedmig.db import Connection, Queries
from embedmig.types import Key

QUERIES = Queries(__package__, "found.sql")


def report_found(conn: Connection, slot_id: int, impressions: Mapping[Key, int]) -> int:
    """Counts how often each row was shown, and queues those that are not queued; gives how many. Nothing where no
    bridge stands at the slot; no more than the queue is to hold of them."""
    shown = [{"key": list(key), "impressions": times} for key, times in impressions.items()]
    row = conn.execute(QUERIES["report_found"], {"slot_id": slot_id, "shown": Jsonb(shown)}).fetchone()
    assert row is not None
    return int(row["queued"])
