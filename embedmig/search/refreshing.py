"""Rows just written, embedded before the next search: for callers who must find their own writes."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from psycopg import sql

from embedmig.backfill.key_text import keep_key_text
from embedmig.backfill.refreshing import refresh_keys
from embedmig.catalog.collections import get_collection
from embedmig.db import Connection, Database
from embedmig.db.identifiers import type_name
from embedmig.errors import UsageError
from embedmig.search.embedding import load_checked
from embedmig.types import Collection, Key


def refresh_rows(url: str, name: str, keys: Sequence[Any]) -> tuple[Any, ...]:
    """Embeds the rows of ``keys``, for every slot of collection ``name`` that embedmig maintains. A key is given as a
    hit gives it. Gives those left to a worker: someone holds the row, or is at its part of the queue at this moment.

    Raises UsageError for what is no key of the collection, ProviderError when a model is down: the rows stay queued.
    """
    if isinstance(keys, str | bytes):
        raise UsageError(f"keys is a list: refresh([{keys!r}])")
    db = Database(url)

    with db.connect() as conn:
        collection = get_collection(conn, name)
        keep_key_text(conn, collection)
        given = {_key_text(conn, collection, key): key for key in keys}
    refreshed = refresh_keys(db, collection, list(given), load=partial(load_checked, url))
    return tuple(given[key] for key in refreshed.left_to_queue)


def _key_text(conn: Connection, collection: Collection, key: Any) -> Key:
    """The key as the queue holds it: Postgres itself prints it."""
    parts = key if isinstance(key, tuple | list) else (key,)
    if len(parts) != len(collection.key) or any(part is None for part in parts):
        names = ", ".join(column.name for column in collection.key)
        raise UsageError(f"{key!r} is no key of {collection.name}: it has the columns {names}")
    casts = sql.SQL(", ").join(sql.SQL("%s::{}::text").format(type_name(column)) for column in collection.key)
    row = conn.execute(sql.SQL("SELECT ARRAY[{}] AS key").format(casts), list(parts)).fetchone()
    assert row is not None
    return tuple(row["key"])
