"""The append-only log of every change of state: who, when, from, to, why."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from embedmig.db import Connection, Queries

QUERIES = Queries(__package__, "events.sql")


@dataclass(frozen=True, kw_only=True)
class Event:
    """One change of state."""

    at: datetime
    actor: str
    collection: str | None
    verb: str
    was: str | None
    became: str | None
    why: str | None
    details: Mapping[str, Any]


def log_event(
    conn: Connection,
    verb: str,
    collection: str | None = None,
    *,
    was: str | None = None,
    became: str | None = None,
    why: str | None = None,
    **details: Any,
) -> None:
    """Appends an event, in the transaction of the change it tells of. Details never hold a user's text or a secret."""
    conn.execute(
        QUERIES["insert_event"],
        {
            "collection": collection,
            "verb": verb,
            "was": was,
            "became": became,
            "why": why,
            "details": Jsonb(details),
        },
    )


def list_events(conn: Connection, collection: str | None = None, *, limit: int = 50) -> list[Event]:
    """The newest events first."""
    return [Event(**row) for row in conn.execute(QUERIES["list_events"], {"collection": collection, "limit": limit})]
