"""What tests of several folders begin from: a user's table with vectors of an old model, registered."""

from collections.abc import Sequence

import numpy as np
from psycopg import sql

from embedmig.catalog import collections, models, routes, slots
from embedmig.db import Connection, Database, identifiers
from embedmig.embedders.hashing import HashingEmbedder
from embedmig.schema.expanding import Expanded, expand
from embedmig.schema.handing_over import hand_over
from embedmig.types import (
    Collection,
    Floats,
    KeyColumn,
    Maintainer,
    Model,
    Placement,
    Slot,
    bridge_model_id,
)

OLD = Model(name="old", revision="1", provider="hashing", dimensions=16, options={"dimensions": 16, "seed": 1})
NEW = Model(name="new", revision="1", provider="hashing", dimensions=24, options={"dimensions": 24, "seed": 2})


def embed(model: Model, texts: Sequence[str]) -> Floats:
    """(n, d): what the model's provider gives."""
    return HashingEmbedder(options=model.options).embed_documents(texts)


def make_docs(
    conn: Connection,
    rows: int = 20,
    *,
    name: str = "docs",
    schema: str = "public",
    table: str = "docs",
    key: Sequence[tuple[str, str]] = (("id", "bigint"),),
    old: Model = OLD,
    new: Model = NEW,
    row_filter: str | None = None,
    filter_columns: Sequence[str] = (),
) -> Collection:
    """A user's table (key, title, body, lang, embedding) of ``rows`` rows embedded by ``old``, registered as collection
    ``name`` with the source slot v1; both models are registered. Further key columns than ``id`` take text forms of
    the row's number. Returns the collection."""
    qualified = sql.Identifier(schema, table)
    conn.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    keys = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(k), sql.SQL(t)) for k, t in key)
    names = sql.SQL(", ").join(sql.Identifier(k) for k, _ in key)
    conn.execute(
        sql.SQL(
            "CREATE TABLE {} ({}, title text, body text, lang text, embedding vector({}), PRIMARY KEY ({}))"
        ).format(qualified, keys, sql.Literal(old.dimensions), names)
    )
    fill_docs(conn, qualified, key, range(1, rows + 1), old)
    models.add_model(conn, old, None)
    models.add_model(conn, new, None)
    routes.ensure_route(conn, name)
    collection = collections.add_collection(
        conn,
        Collection(
            id=0,
            name=name,
            group=name,
            schema=schema,
            table=table,
            key=tuple(KeyColumn(name=k, type=t) for k, t in key),
            text_columns=("title", "body"),
            row_filter=row_filter,
            filter_columns=tuple(filter_columns),
        ),
    )
    slots.add_slot(
        conn,
        Slot(
            id=0,
            collection_id=collection.id,
            name="v1",
            model=old,
            bridge_model_id=None,
            placement=Placement.COLUMN,
            schema=schema,
            table=table,
            vector_column="embedding",
            model_column=None,
            hash_column=None,
            maintained_by=Maintainer.APP,
        ),
    )
    return collection


def text_of(number: int) -> tuple[str, str]:
    """Title and body of the row made from ``number``."""
    return f"Title {number}", f"The body of row {number} speaks of word{number % 7} and thing{number % 11}"


def key_value(number: int, kind: str) -> object:
    """A key of that type made from ``number``, the same each time."""
    if kind == "uuid":
        return f"00000000-0000-4000-8000-{number:012d}"
    if kind in ("smallint", "integer", "bigint"):
        return number
    if kind == "bytea":
        return number.to_bytes(4, "big")
    return f"key {number}" if kind.startswith(("text", "character")) else str(number)


def fill_docs(
    conn: Connection,
    qualified: sql.Identifier,
    key: Sequence[tuple[str, str]],
    numbers: Sequence[int],
    model: Model,
) -> None:
    """Inserts the rows made from ``numbers``, embedded by ``model`` over the joined text."""
    texts = ["\n\n".join(text_of(number)) for number in numbers]
    vectors = embed(model, texts) if texts else np.empty((0, model.dimensions), dtype=np.float32)
    marks = sql.SQL(", ").join([sql.Placeholder()] * (len(key) + 4))
    insert = sql.SQL("INSERT INTO {} VALUES ({})").format(qualified, marks)
    with conn.cursor() as cursor:
        cursor.executemany(
            insert,
            [
                [*(key_value(n, kind) for _, kind in key), *text_of(n), "en" if n % 2 else "de", vector]
                for n, vector in zip(numbers, vectors, strict=True)
            ],
        )


def expand_docs(
    db: Database, placement: Placement = Placement.COLUMN, *, collection: str = "docs", model: Model = NEW
) -> Expanded:
    """Opens a migration of ``collection`` to ``model``."""
    with db.connect() as conn:
        return expand(conn, collections.get_collection(conn, collection), model, placement)


def bridge_id(source: Model = OLD, target: Model = NEW) -> int:
    """The id of vectors of ``source`` mapped into the space of ``target``."""
    return bridge_model_id(source, target)


def fill_slot(conn: Connection, collection: Collection, slot: Slot) -> None:
    """Gives every row with text its vector in ``slot``, of its present text, as our writer does."""
    text = identifiers.text(collection, "d", slot.text_separator)
    query = sql.SQL("SELECT {} AS key, {} AS text, {} AS hash FROM {} AS d WHERE {}").format(
        identifiers.key_array(collection, "d"),
        text,
        identifiers.text_hash(collection, "d"),
        identifiers.table(collection),
        identifiers.wants_vector(collection, "d"),
    )
    rows = conn.execute(query, {}).fetchall()
    vectors = embed(slot.model, [row["text"] for row in rows])
    assert slot.model_column is not None
    assert slot.hash_column is not None
    written = [slot.vector_column, slot.model_column, slot.hash_column]
    key = identifiers.key_from_array(collection, sql.SQL("%(key)s::text[]"))
    if slot.placement is Placement.COMPANION:
        statement = sql.SQL("INSERT INTO {} ({}, {}) VALUES ({}, %(vector)s, %(model)s, %(hash)s)").format(
            identifiers.slot_table(slot), identifiers.keys(collection), identifiers.names(written), key
        )
    else:
        statement = sql.SQL("UPDATE {} SET ({}) = (%(vector)s, %(model)s, %(hash)s) WHERE ({}) = ({})").format(
            identifiers.table(collection), identifiers.names(written), identifiers.keys(collection), key
        )
    with conn.transaction(), conn.cursor() as cursor:
        cursor.execute("SELECT set_config('embedmig.writer', 'on', true)")
        values = [
            {"key": row["key"], "vector": vector, "model": slot.model.id, "hash": row["hash"]}
            for row, vector in zip(rows, vectors, strict=True)
        ]
        cursor.executemany(statement, values)


def switch_docs(conn: Connection, collection: Collection, *, days_ago: float = 8) -> None:
    """Fills the target, hands the source over and sets the route to 100, that many days ago; gates are not asked."""
    target = slots.list_slots(conn, collection)[-1]
    fill_slot(conn, collection, target)
    slots.mark_filled(conn, target)
    hand_over(conn, collection)
    routes.set_share(conn, collection.group, 10_000)
    conn.execute(
        "UPDATE embedmig.route SET full_since = full_since - make_interval(secs => %s) WHERE group_name = %s",
        [days_ago * 86_400, collection.group],
    )
