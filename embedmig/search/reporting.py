"""Writes down what was served, by the minute, from a thread of its own: no search waits for it or fails by it."""

import logging
import os
import threading
from collections.abc import Sequence
from typing import Any, Protocol

import psycopg
from psycopg import errors as pg
from psycopg.rows import dict_row

from embedmig.db import Connection
from embedmig.search.sampling import AfterFlush

FLUSH_S = 60.0

_log = logging.getLogger(__name__)


class Book(Protocol):
    """Something counted, until it is written down."""

    def take(self) -> Any:
        """All that was counted; nothing is left."""

    def put_back(self, taken: Any) -> None:
        """What was taken and could not be written."""

    def write(self, conn: Connection, taken: Any) -> None:
        """Adds to what the database holds."""


class Reporter:
    """Writes the books of one searcher. The thread starts when there is something, in a forked process anew."""

    def __init__(self, url: str, collection: str, books: Sequence[Book], after_flush: AfterFlush | None = None) -> None:
        self._url, self._collection, self._books, self._after_flush = url, collection, books, after_flush
        self._flushing = threading.Lock()
        self._stopped = threading.Event()
        self._running_in: int | None = None
        self._fails = False
        self._told_of = False

    def ensure_running(self) -> None:
        """Called with everything that is counted."""
        if self._running_in == os.getpid() or self._stopped.is_set():
            return
        self._running_in = os.getpid()
        threading.Thread(target=self._run, name=f"embedmig-report-{self._collection}", daemon=True).start()

    def flush(self) -> None:
        """Writes what was counted; what cannot be written waits for the next time, for a day."""
        with self._flushing:
            taken = [(book, some) for book in self._books if (some := book.take())]
            if not taken:
                return
            try:
                self._write(taken)
            except pg.ReadOnlySqlTransaction:
                self._say("this server is a standby: what it serves is not counted")
            except psycopg.Error as error:
                self._say(f"what was served is not counted for now: {error}")
            else:
                self._fails = False
                self._tell()

    def close(self) -> None:
        """Writes the rest and ends the thread."""
        self._stopped.set()
        self.flush()

    def _write(self, taken: list[tuple[Book, Any]]) -> None:
        try:
            with _connect(self._url) as conn:
                while taken:
                    book, some = taken[-1]
                    book.write(conn, some)
                    taken.pop()
        except pg.ReadOnlySqlTransaction:
            raise
        except psycopg.Error:
            for book, some in taken:
                book.put_back(some)
            raise

    def _tell(self) -> None:
        if self._after_flush is None:
            return
        try:
            self._after_flush(self._url, self._collection)
        except Exception:  # noqa: BLE001  (what the application hangs on here must not end the counting)
            _log.log(
                logging.DEBUG if self._told_of else logging.WARNING,
                "%s: what is to follow the counting failed",
                self._collection,
                exc_info=True,
            )
            self._told_of = True
        else:
            self._told_of = False

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
