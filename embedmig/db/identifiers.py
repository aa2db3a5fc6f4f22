"""The user's names and expressions as SQL fragments: the one place where they enter a statement.

Aliases: ``d`` is the row of the user's table, ``s`` the row of the companion; a column slot's own columns are on ``d``.
"""

from collections.abc import Iterable, Sequence

from psycopg import sql

from embedmig.types import Collection, KeyColumn, Placement, Slot


def dotted(alias: str | None, name: str) -> sql.Composable:
    """``alias.name``, or ``name`` alone."""
    return sql.Identifier(alias, name) if alias else sql.Identifier(name)


def table(collection: Collection) -> sql.Identifier:
    """The user's table."""
    return sql.Identifier(collection.schema, collection.table)


def slot_table(slot: Slot) -> sql.Identifier:
    """The table that the slot's vectors stand in: the user's, or the companion."""
    return sql.Identifier(slot.schema, slot.table)


def row_alias(slot: Slot, companion: str = "s") -> str:
    """``s`` for a companion (two in one statement want other names), ``d`` for a column slot."""
    return companion if slot.placement is Placement.COMPANION else "d"


def comma(parts: Iterable[sql.Composable]) -> sql.Composed:
    """Parts joined by commas."""
    return sql.SQL(", ").join(parts)


def conjunction(parts: Iterable[sql.Composable]) -> sql.Composed:
    """Parts joined by AND."""
    return sql.SQL(" AND ").join(parts)


def keys(collection: Collection, alias: str | None = None) -> sql.Composed:
    """The key columns, for SELECT, ORDER BY and row comparison."""
    return comma(dotted(alias, column.name) for column in collection.key)


def key_array(collection: Collection, alias: str | None = None) -> sql.Composed:
    """The key as ``text[]``: how keys of any type travel and are queued."""
    return sql.SQL("ARRAY[{}]::text[]").format(
        comma(sql.SQL("{}::text").format(dotted(alias, column.name)) for column in collection.key)
    )


def bucket(array: sql.Composable) -> sql.Composed:
    """The queue bucket, 0 to 7, of a key given as ``text[]``: the function that the triggers call too."""
    return sql.SQL("embedmig.bucket_v1({})").format(array)


def key_match(collection: Collection, left: str, right: str) -> sql.Composed:
    """``left.k1 = right.k1 AND ...``: key columns are never NULL."""
    return conjunction(
        sql.SQL("{} = {}").format(dotted(left, column.name), dotted(right, column.name)) for column in collection.key
    )


def key_from_array(collection: Collection, array: sql.Composable) -> sql.Composed:
    """``(array)[1]::bigint, (array)[2]::text``: the typed key out of a ``text[]`` expression, unnamed."""
    return comma(
        sql.SQL("({})[{}]::{}").format(array, sql.Literal(place), type_name(column))
        for place, column in enumerate(collection.key, start=1)
    )


def key_columns_from_array(collection: Collection, array: sql.Composable) -> sql.Composed:
    """The same, named as the key columns, for a SELECT list."""
    return comma(
        sql.SQL("({})[{}]::{} AS {}").format(array, sql.Literal(place), type_name(column), sql.Identifier(column.name))
        for place, column in enumerate(collection.key, start=1)
    )


def type_name(column: KeyColumn) -> sql.SQL:
    """The column's type. Postgres itself printed it (``format_type``), quoted where that is needed."""
    return sql.SQL(column.type)


def text(collection: Collection, alias: str, separator: str | None = None) -> sql.Composed:
    """What is embedded: the text columns joined, those that are NULL or empty left out; '' when none has any."""
    return sql.SQL("concat_ws({}, {})").format(
        sql.Literal(collection.text_separator if separator is None else separator),
        comma(sql.SQL("nullif({}::text, '')").format(dotted(alias, name)) for name in collection.text_columns),
    )


def has_text(collection: Collection, alias: str) -> sql.Composed:
    """Whether the row has anything to embed. NULL and empty text have no vector, by design. By length, which Postgres
    knows of a long text without fetching it."""
    return sql.SQL("({} > 0)").format(text_bytes(collection, alias))


def text_bytes(collection: Collection, alias: str) -> sql.Composed:
    """How long the text columns are together."""
    return sql.SQL(" + ").join(
        sql.SQL("coalesce(octet_length({}::text), 0)").format(dotted(alias, name)) for name in collection.text_columns
    )


def text_hash(collection: Collection, alias: str) -> sql.Composed:
    """md5 as uuid over a length-prefixed join, so that ('ab', 'c') is not ('a', 'bc') and NULL is not empty."""
    return sql.SQL("md5({})::uuid").format(
        sql.SQL(" || ").join(
            sql.SQL("coalesce(octet_length({0}::text)::text || ':' || {0}::text, 'N')").format(dotted(alias, name))
            for name in collection.text_columns
        )
    )


def in_scope(collection: Collection, alias: str) -> sql.Composable:
    """The user's row filter, evaluated on the row ``alias``. A sub-select makes its bare column names mean that row
    whatever else the statement joins."""
    if collection.row_filter is None:
        return sql.SQL("true")
    return sql.SQL("EXISTS (SELECT FROM (SELECT {}.*) AS scoped WHERE {})").format(
        sql.Identifier(alias), sql.SQL(escape_percent(collection.row_filter))
    )


def wants_vector(collection: Collection, alias: str) -> sql.Composed:
    """In the row filter, and with text."""
    return sql.SQL("({} AND {})").format(in_scope(collection, alias), has_text(collection, alias))


def join_slot(collection: Collection, slot: Slot, *, row: str = "d", to: str = "s") -> sql.Composable:
    """``LEFT JOIN companion AS s ON ...``; nothing for a column slot."""
    if slot.placement is Placement.COLUMN:
        return sql.SQL("")
    return sql.SQL("LEFT JOIN {} AS {} ON {}").format(
        slot_table(slot), sql.Identifier(to), key_match(collection, row, to)
    )


def vector(slot: Slot, companion: str = "s") -> sql.Composable:
    """The slot's vector on its row alias."""
    return dotted(row_alias(slot, companion), slot.vector_column)


def model_id(slot: Slot, companion: str = "s") -> sql.Composable:
    """The id of the model that made the vector; the slot's own where the label is in the catalog only."""
    if slot.model_column is None:
        return sql.SQL("CASE WHEN {} IS NOT NULL THEN {} END").format(
            vector(slot, companion), sql.Literal(slot.model.id)
        )
    return dotted(row_alias(slot, companion), slot.model_column)


def recorded_hash(slot: Slot, companion: str = "s") -> sql.Composable:
    """The hash of the text the vector was made from; NULL where none is recorded."""
    if slot.hash_column is None:
        return sql.SQL("NULL::uuid")
    return dotted(row_alias(slot, companion), slot.hash_column)


def is_missing(slot: Slot) -> sql.Composed:
    """No vector. Says nothing of whether the row wants one: see ``wants_vector``."""
    return sql.SQL("({} IS NULL)").format(vector(slot))


def is_stale(collection: Collection, slot: Slot, companion: str = "s") -> sql.Composed:
    """A vector of another text than the row has now. Never true where the text is not recorded."""
    recorded = recorded_hash(slot, companion)
    return sql.SQL("({} IS NOT NULL AND {} IS NOT NULL AND {} IS DISTINCT FROM {})").format(
        vector(slot, companion), recorded, recorded, text_hash(collection, "d")
    )


def is_bridged(slot: Slot, companion: str = "s") -> sql.Composable:
    """A vector mapped from another model's."""
    if slot.bridge_model_id is None:
        return sql.SQL("false")
    return sql.SQL("({} IS NOT DISTINCT FROM {})").format(model_id(slot, companion), sql.Literal(slot.bridge_model_id))


def escape_percent(condition: str) -> str:
    """A user's own SQL inside a statement with parameters: psycopg would read its % as one."""
    return condition.replace("%", "%%")


def names(columns: Sequence[str], alias: str | None = None) -> sql.Composed:
    """Plain column names."""
    return comma(dotted(alias, name) for name in columns)
