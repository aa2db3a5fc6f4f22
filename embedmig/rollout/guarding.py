"""Keeps the guard looking, beside something else that runs for long."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from embedmig.catalog import collections
from embedmig.db import Connection, Database
from embedmig.errors import EmbedmigError, ProviderError
from embedmig.rollout.guard import guard_rows
from embedmig.settings import Settings
from embedmig.types import Collection

EVERY_S = 60.0

_log = logging.getLogger(__name__)


@contextmanager
def guarding(db: Database, collection: Collection, settings: Settings, *, every_s: float = EVERY_S) -> Iterator[None]:
    """Looks at what the application writes, each minute in a thread, for as long as the block runs. What a look fails
    with is said once, and ends nothing."""
    stop = threading.Event()
    thread = threading.Thread(
        target=_keep_guarding, args=(db, collection, settings, every_s, stop), name="embedmig-guard", daemon=True
    )
    if settings.guard_rows:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if settings.guard_rows:
            thread.join()


def guard_group(conn: Connection, collection: Collection, settings: Settings) -> str | None:
    """One look at every member of the group; why it could not be taken, or None."""
    if not settings.guard_rows:
        return None
    try:
        for member in collections.list_group(conn, collection.group):
            guard_rows(conn, member, rows=settings.guard_rows, cosine=settings.audit_cosine)
    except ProviderError as error:
        return str(error)
    return None


def _keep_guarding(
    db: Database, collection: Collection, settings: Settings, every_s: float, stop: threading.Event
) -> None:
    said: str | None = None
    while True:
        try:
            with db.connect() as conn:
                guard_rows(conn, collection, rows=settings.guard_rows, cosine=settings.audit_cosine)
            said = None
        except EmbedmigError as error:
            if said != str(error):
                _log.warning("%s: the guard cannot look: %s", collection.name, error)
            said = str(error)
        if stop.wait(every_s):
            return
