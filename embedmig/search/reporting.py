"""Writes down what was served, by the minute, from a thread of its own: no search waits for it or fails by it."""

import logging
import os
import threading

import psycopg
from psycopg import errors as pg
from psycopg.rows import dict_row

from embedmig.catalog.traffic import report_served
from embedmig.db import Connection
from embedmig.search.counting import ServedCounts, as_rows
from embedmig.search.plan import SearchPlan
from embedmig.search.routing import Choice

FLUSH_S = 60.0

_log = logging.getLogger(__name__)


class Reporter:
    """The counts of one searcher. The thread starts with the first of them, in a forked process anew."""

    def __init__(self, url: str, collection: str, *, counts: bool) -> None:
        """``counts``: False where searches are no traffic, such as a look by hand."""
        self._url, self._collection, self._counting = url, collection, counts
        self._served = ServedCounts()
        self._flushing = threading.Lock()
        self._stopped = threading.Event()
        self._running_in: int | None = None
        self._fails = False

    def answered(self, plan: SearchPlan, *, hits: int, embed_s: float, statement_s: float) -> None:
        """A search gave so many hits."""
        if self._counting:
            self._served.answered(
                plan.choice, plan.view.epoch, embed_s=embed_s, statement_s=statement_s, empty=hits == 0
            )
            self._ensure_running()

    def failed(self, choice: Choice, epoch: int) -> None:
        """The database or the model failed a search."""
        if self._counting:
            self._served.failed(choice, epoch)
            self._ensure_running()

    def flush(self) -> None:
        """Writes what was counted; what cannot be written waits for the next time, for a day."""
        with self._flushing:
            taken = self._served.take()
            if not taken:
                return
            try:
                with _connect(self._url) as conn:
                    report_served(conn, as_rows(taken))
            except pg.ReadOnlySqlTransaction:
                self._say("this server is a standby: what it serves is not counted")
            except psycopg.Error as error:
                self._served.put_back(taken)
                self._say(f"what was served is not counted for now: {error}")
            else:
                self._fails = False

    def close(self) -> None:
        """Writes the rest and ends the thread."""
        self._stopped.set()
        self.flush()

    def _ensure_running(self) -> None:
        if self._running_in == os.getpid() or self._stopped.is_set():
            return
        self._running_in = os.getpid()
        threading.Thread(target=self._run, name=f"embedmig-report-{self._collection}", daemon=True).start()

    def _run(self) -> None:
        while not self._stopped.wait(FLUSH_S):
            self.flush()

    def _say(self, what: str) -> None:
        """Once, until it goes well again."""
        if not self._fails:
            _log.warning("%s: %s", self._collection, what)
        self._fails = True


def _connect(url: str) -> Connection:
    conn: Connection = psycopg.connect(
        url, autocommit=True, row_factory=dict_row, application_name="embedmig", connect_timeout=5
    )
    return conn
