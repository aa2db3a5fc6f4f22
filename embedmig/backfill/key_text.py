"""Keys as text: the same text in every session, as the queue's triggers write it."""

from typing import Any

import psycopg

from embedmig.types import Collection

_PLAIN = ("smallint", "integer", "bigint", "uuid", "text", "character")
_SETTINGS = {
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "timezone": "UTC",
}


def keep_key_text(conn: psycopg.Connection[Any], collection: Collection) -> None:
    """Makes ``key::text`` on this connection what the triggers of the queue make of it. Only keys of types that a
    session's settings print one way or another (dates, floats, bytea) need it; nothing is sent for the others."""
    if all(column.type.startswith(_PLAIN) for column in collection.key):
        return
    for name, value in _SETTINGS.items():
        conn.execute("SELECT set_config(%s, %s, false)", [name, value])
