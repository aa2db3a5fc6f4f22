"""The registered tables."""

from collections.abc import Mapping
from typing import Any

from embedmig.db import Connection, Queries
from embedmig.errors import ConflictError, NotFoundError
from embedmig.types import Collection, KeyColumn

QUERIES = Queries(__package__, "collections.sql")


def add_collection(conn: Connection, collection: Collection) -> Collection:
    """Registers a table (its ``id`` is given here). The group's route must exist: see ``routes.ensure_route``.

    Raises ConflictError when the name is taken.
    """
    row = conn.execute(
        QUERIES["insert_collection"],
        {
            "name": collection.name,
            "group_name": collection.group,
            "table_schema": collection.schema,
            "table_name": collection.table,
            "key_columns": [column.name for column in collection.key],
            "key_types": [column.type for column in collection.key],
            "text_columns": list(collection.text_columns),
            "text_separator": collection.text_separator,
            "row_filter": collection.row_filter,
            "filter_columns": list(collection.filter_columns),
            "hide_stale": collection.hide_stale,
        },
    ).fetchone()
    if row is None:
        raise ConflictError(
            f"collection {collection.name} exists: choose another --name, or see embedmig collection show"
        )
    return get_collection(conn, collection.name)


def get_collection(conn: Connection, name: str) -> Collection:
    """The collection of that name. Raises NotFoundError that lists those there are."""
    row = conn.execute(QUERIES["find_collection"], {"name": name}).fetchone()
    if row is None:
        known = [collection.name for collection in list_collections(conn)]
        raise NotFoundError("collection", name, known=known, hint=f"register it, embedmig collection add {name}")
    return collection_from_row(row)


def list_collections(conn: Connection) -> list[Collection]:
    """All collections by name."""
    return [collection_from_row(row) for row in conn.execute(QUERIES["list_collections"])]


def list_group(conn: Connection, group: str) -> list[Collection]:
    """The members of a group by name."""
    return [collection_from_row(row) for row in conn.execute(QUERIES["list_group"], {"group_name": group})]


def delete_collection(conn: Connection, collection: Collection) -> None:
    """Forgets a collection and all that the catalog knows of it. Touches nothing of the user's."""
    conn.execute(QUERIES["delete_collection"], {"id": collection.id})
    conn.execute(QUERIES["delete_empty_route"], {"group_name": collection.group})


def collection_from_row(row: Mapping[str, Any]) -> Collection:
    """A Collection from a row of its table."""
    return Collection(
        id=row["id"],
        name=row["name"],
        group=row["group_name"],
        schema=row["table_schema"],
        table=row["table_name"],
        key=tuple(
            KeyColumn(name=name, type=kind) for name, kind in zip(row["key_columns"], row["key_types"], strict=True)
        ),
        text_columns=tuple(row["text_columns"]),
        text_separator=row["text_separator"],
        row_filter=row["row_filter"],
        filter_columns=tuple(row["filter_columns"]),
        hide_stale=row["hide_stale"],
    )
