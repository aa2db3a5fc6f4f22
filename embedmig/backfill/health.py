"""One watcher a process: asks the health indicators every few seconds on a connection of its own."""

import socket
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import psycopg
from psycopg import errors as pg

from embedmig.backfill.canary import open_canary
from embedmig.backfill.throttle import CHECKS, QUERIES, Check, Watched
from embedmig.catalog.migrations import find_migration
from embedmig.catalog.routes import get_route
from embedmig.catalog.slots import list_slots
from embedmig.db import Connection, Database
from embedmig.errors import DatabaseError
from embedmig.settings import Settings
from embedmig.types import Collection, Slot

_TIMEOUT_MS = 2000
_HALF_BP = 5000


class HealthWatch:
    """``reason``: why the job should wait, None while all is well. Use it in ``with``; it has asked once by then."""

    def __init__(self, db: Database, collection: Collection, settings: Settings) -> None:
        self.reason: str | None = None
        self.not_watched: tuple[str, ...] = ()
        """Indicators that cannot be read, and why."""
        self._db, self._collection, self._settings = db, collection, settings
        self._over = threading.Event()
        self._opened = ExitStack()
        self._conn: Connection | None = None
        self._watched: Watched | None = None
        self._thread = threading.Thread(target=self._watch, name="embedmig health", daemon=True)

    def __enter__(self) -> Self:
        self.ask()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self._opened.close()

    def ask(self) -> None:
        """Asks every indicator until one says slow."""
        try:
            self.reason = self._first_reason(self._connected())
        except (psycopg.OperationalError, DatabaseError) as error:
            self.reason = f"the database does not answer the health checks ({type(error).__name__})"
            self._conn = None
            self._opened.close()

    @property
    def baseline_ms(self) -> float | None:
        """What the canary's searches took (p95) before the job began; None without a canary."""
        canary = None if self._watched is None else self._watched.canary
        return None if canary is None else canary.before_ms

    def agree_on_baseline(self, conn: Connection, slots: Sequence[Slot]) -> None:
        """Takes the canary's baseline that the job's first process on this machine measured, or leaves ours to later
        ones, which would measure searches beside us. Machines keep their own: a network is part of what they measure.
        """
        watched = self._watched
        if watched is None or watched.canary is None:
            return
        place = f"{socket.gethostname()} {watched.serving.name}"
        values = {"slot_ids": [slot.id for slot in slots], "place": place, "ms": watched.canary.before_ms}
        agreed = [row["ms"] for row in conn.execute(QUERIES["agree_on_baseline"], values)]
        watched.canary.before_ms = min(agreed, default=watched.canary.before_ms)

    def _watch(self) -> None:
        while not self._over.wait(self._settings.throttle_every_s):
            self.ask()

    def _connected(self) -> Connection:
        if self._conn is None:
            self._conn = self._opened.enter_context(
                Database(self._db.url, application_name="embedmig health").connect()
            )
            self._conn.execute("SET default_transaction_read_only = on")
            self._conn.execute("SELECT set_config('statement_timeout', %s, false)", [f"{_TIMEOUT_MS}ms"])
        return self._conn

    def _first_reason(self, conn: Connection) -> str | None:
        watched = self._watched = self._watched or open_watched(conn, self._collection)
        blind = [] if watched.canary is not None else ["canary: the serving slot has no index, or no vectors"]
        reasons = []
        for name, check in CHECKS:
            reason, problem = self._look(conn, name, check, watched)
            reasons += [f"{name}: {reason}"] if reason else []
            blind += [f"{name}: {problem}"] if problem else []
        self.not_watched = tuple(blind)
        return reasons[0] if reasons else None

    def _look(self, conn: Connection, name: str, check: Check, watched: Watched) -> tuple[str | None, str | None]:
        """What it says, or why it cannot say anything."""
        try:
            return check(conn, watched, self._settings), None
        except pg.QueryCanceled:
            return f"no answer within {_TIMEOUT_MS / 1000:g} s", None
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            return None, error.diag.message_primary or type(error).__name__


def open_watched(conn: Connection, collection: Collection) -> Watched:
    """The collection's slots, the one that serves, and a canary on it."""
    slots = tuple(list_slots(conn, collection))
    serving = _serving_slot(conn, collection, slots)
    return Watched(collection=collection, slots=slots, serving=serving, canary=open_canary(conn, serving))


def _serving_slot(conn: Connection, collection: Collection, slots: tuple[Slot, ...]) -> Slot:
    migration = find_migration(conn, collection)
    if migration is None:
        return slots[-1]
    to_target = get_route(conn, collection.group).share_bp > _HALF_BP
    serving_id = migration.target_id if to_target else migration.source_id
    return next(slot for slot in slots if slot.id == serving_id)
