"""A migration whose slots are filled by plain SQL, as much of them as a test wants."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from embedmig.catalog.collections import get_collection
from embedmig.catalog.slots import list_slots
from embedmig.db import Connection, Database, identifiers
from embedmig.types import Collection, Floats, Model, Placement, Slot
from embedmig.validation.pair import Pair
from tests.browser import Browser
from tests.support import NEW, embed, expand_docs, make_docs


def texts_of(conn: Connection, collection: Collection, where: str = "true") -> list[dict[str, Any]]:
    """Key, text and text hash of the rows that ``where`` names, by key."""
    return conn.execute(
        sql.SQL("SELECT {} AS key, {} AS text, {} AS hash FROM {} AS d WHERE {} ORDER BY {}").format(
            identifiers.key_array(collection, "d"),
            identifiers.text(collection, "d"),
            identifiers.text_hash(collection, "d"),
            identifiers.table(collection),
            sql.SQL(where),
            identifiers.keys(collection, "d"),
        )
    ).fetchall()


def fill(
    conn: Connection, collection: Collection, slot: Slot, where: str = "true", *, model: Model | None = None
) -> list[list[str]]:
    """Embeds the rows that ``where`` names by the slot's model (``model``: by another, unsaid) and gives their keys."""
    rows = texts_of(conn, collection, where)
    write(conn, collection, slot, rows, embed(model or slot.model, [row["text"] for row in rows]))
    return [row["key"] for row in rows]


def write(
    conn: Connection, collection: Collection, slot: Slot, rows: Sequence[dict[str, Any]], vectors: Floats
) -> None:
    """Puts ``vectors`` into the slot, as the writer would."""
    columns = [column for column in (slot.vector_column, slot.model_column, slot.hash_column) if column]
    key = identifiers.key_from_array(collection, sql.SQL("%s::text[]"))
    if slot.placement is Placement.COLUMN:
        statement = sql.SQL("UPDATE {} AS d SET {} WHERE ({}) = ({})").format(
            identifiers.table(collection),
            sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(column)) for column in columns),
            identifiers.keys(collection, "d"),
            key,
        )
    else:
        statement = sql.SQL("INSERT INTO {} ({}, {}) SELECT {}, {}").format(
            identifiers.slot_table(slot),
            identifiers.names(columns),
            identifiers.keys(collection),
            sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
            key,
        )
    with conn.transaction(), conn.cursor() as cursor:
        cursor.execute("SELECT set_config('embedmig.writer', 'on', true)")
        cursor.executemany(
            statement,
            [
                [*[vector, slot.model.id, row["hash"]][: len(columns)], *[row["key"]] * len(collection.key)]
                for row, vector in zip(rows, vectors, strict=True)
            ],
        )


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A headless Chromium; for tests that are skipped where none is installed."""
    opened = Browser(tmp_path / "profile")
    yield opened
    opened.close()


Migrated = Callable[..., Pair]


def pair_of(conn: Connection, name: str = "docs") -> Pair:
    """The slots v1 and v2 of a collection, as the catalog has them now."""
    collection = get_collection(conn, name)
    source, target = list_slots(conn, collection)
    return Pair(collection=collection, source=source, target=target)


@pytest.fixture
def migrated(db: Database, conn: Connection) -> Callable[..., Pair]:
    """``migrated(rows, placement, ...)``: ``docs`` with an open migration, v2 filled unless ``filled=False``."""

    def make(
        rows: int = 60,
        placement: Placement = Placement.COLUMN,
        *,
        filled: bool = True,
        model: Model = NEW,
        **options: Any,
    ) -> Pair:
        make_docs(conn, rows, new=model, **options)
        expand_docs(db, placement, model=model)
        pair = pair_of(conn)
        if filled:
            fill(conn, pair.collection, pair.target)
        return pair

    return make
