"""The processes that run a collection's re-embedding, as they report themselves."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from embedmig.backfill.budget import note_use
from embedmig.backfill.progress import ReembedProgress
from embedmig.backfill.worker import WorkerStats
from embedmig.db import Connection, Queries
from embedmig.types import Collection, Slot

QUERIES = Queries(__package__, "runs.sql")

REPORT_EVERY_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """A process that runs ``reembed``, as of its last report."""

    host: str
    pid: int
    workers: int
    follow: bool
    phase: str
    held_back: str | None
    rows_per_s: float
    tokens_per_s: float
    eta_s: float | None
    began_at: datetime
    silent_s: float
    """Since its last report, by the server's clock."""


class RunReport:
    """One run's own report: where it stands, and what it took since it last said so."""

    def __init__(self, collection: Collection, *, workers: int, follow: bool) -> None:
        self._collection, self._workers, self._follow = collection, workers, follow
        self._id: int | None = None
        self._said_s = -REPORT_EVERY_S
        self._news: tuple[str, str | None] = ("", None)
        self._seconds, self._requests, self._retries = 0.0, 0, 0

    def say(
        self,
        conn: Connection,
        slots: Sequence[Slot],
        step: ReembedProgress,
        stats: Sequence[WorkerStats],
        *,
        worked: bool,
        at_once: bool = False,
    ) -> None:
        """Writes the report if the last is old enough, or the phase or what holds the run back has changed. ``worked``:
        the time since then counts as running."""
        news = (step.phase, step.held_back)
        if step.seconds - self._said_s < REPORT_EVERY_S and news == self._news and not at_once:
            return
        self._news = news
        self._report(conn, step)
        seconds = step.seconds - self._seconds if worked else 0.0
        self._note(conn, slots, stats, seconds)
        self._said_s = self._seconds = step.seconds

    def end(self, conn: Connection) -> None:
        """Takes the report away."""
        conn.execute(QUERIES["end_run"], {"id": self._id})

    def _report(self, conn: Connection, step: ReembedProgress) -> None:
        if self._id is None:
            self._id = self._open(conn)
        values = {
            "id": self._id,
            "phase": step.phase,
            "held_back": step.held_back,
            "rows_per_s": step.rows_per_s,
            "tokens_per_s": step.tokens_per_s,
            "eta_s": step.eta_s,
        }
        conn.execute(QUERIES["report_run"], values)

    def _open(self, conn: Connection) -> int:
        values = {
            "collection_id": self._collection.id,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "workers": self._workers,
            "follow": self._follow,
        }
        row = conn.execute(QUERIES["open_run"], values).fetchone()
        assert row is not None
        return int(row["id"])

    def _note(self, conn: Connection, slots: Sequence[Slot], stats: Sequence[WorkerStats], seconds: float) -> None:
        requests, retries = sum(stat.requests for stat in stats), sum(stat.retries for stat in stats)
        note_use(
            conn,
            slots,
            seconds=seconds,
            requests=requests - self._requests,
            retries=retries - self._retries,
            billed=all(stat.billed for stat in stats if stat.groups),
        )
        self._requests, self._retries = requests, retries


def list_runs(conn: Connection, collection: Collection) -> list[Run]:
    """The processes that reported themselves in the last minute, the oldest first."""
    return [Run(**row) for row in conn.execute(QUERIES["list_runs"], {"collection_id": collection.id})]
