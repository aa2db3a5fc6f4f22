"""status and events: what is, and what was done."""

from embedmig.catalog.events import Event, list_events
from embedmig.db import Database


def events(db: Database, collection: str | None = None, *, limit: int = 50) -> list[Event]:
    """The append-only log, newest first."""
    with db.connect() as conn:
        return list_events(conn, collection, limit=limit)
