"""Watches how many of our in-place updates leave the indexes alone (HOT), and slows down when none does."""

from embedmig.backfill.writing import Written
from embedmig.db import Connection, Queries
from embedmig.types import Collection

QUERIES = Queries(__package__, "hot.sql")

_WINDOW = 2000
"""Updates that a judgement rests on."""
_COLLAPSED = 0.1


class HotWatch:
    """The share of HOT updates over the last few thousand rows."""

    def __init__(self, *, guarded: bool) -> None:
        """``guarded``: the table has an ANN index, so that an update that is not HOT costs a search in it."""
        self.share: float | None = None
        """0 to 1; None until enough rows were updated."""
        self._guarded = guarded
        self._updated, self._hot = 0, 0

    @property
    def collapsed(self) -> bool:
        """Nearly every update goes into the serving index once more."""
        return self._guarded and self.share is not None and self.share < _COLLAPSED

    def note(self, written: Written) -> None:
        """Takes in a transaction."""
        self._updated += written.updated
        self._hot += written.hot
        if self._updated >= _WINDOW:
            self.share = self._hot / self._updated
            self._updated, self._hot = 0, 0

    def pause_s(self, write_s: float) -> float:
        """How long to wait after a write that took ``write_s``: as long again while updates are not HOT."""
        return min(write_s, 5.0) if self.collapsed else 0.0


def has_ann_index(conn: Connection, collection: Collection) -> bool:
    """Whether an HNSW or IVFFlat index stands on the user's table."""
    values = {"schema": collection.schema, "table": collection.table}
    row = conn.execute(QUERIES["has_ann_index"], values).fetchone()
    return row is not None
