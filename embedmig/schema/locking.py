"""Changes of a collection's table and of what the catalog knows of it: one short transaction, tried again."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from embedmig.db import Connection, identifiers, run_ddl
from embedmig.db.connection import translated_errors
from embedmig.settings import Settings, load_settings
from embedmig.types import Collection

T = TypeVar("T")


def under_lock(
    conn: Connection, collection: Collection, work: Callable[[Connection], T], settings: Settings | None = None
) -> T:
    """Runs ``work`` in a transaction under a short lock_timeout, the whole of it again when a lock was not to be had.

    Raises LockedError after the last try, naming who holds the user's table; RefusedError where the catalog says no.
    """
    chosen = settings or load_settings()
    with translated_errors():
        return run_ddl(
            conn,
            work,
            relation=identifiers.table(collection),
            lock_timeout_s=chosen.lock_timeout_s,
            attempts=chosen.lock_attempts,
        )


def run_statements(
    conn: Connection, collection: Collection, statements: Iterable[str], settings: Settings | None = None
) -> None:
    """Runs an operation's statements the same way."""

    def work(inner: Connection) -> None:
        for statement in statements:
            inner.execute(statement)

    under_lock(conn, collection, work, settings)
