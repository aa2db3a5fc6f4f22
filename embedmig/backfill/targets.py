"""A slot as the writer sees it: its stage, and its statements prepared once per connection."""

from dataclasses import dataclass

from psycopg import sql

from embedmig.backfill import fragments
from embedmig.backfill.reading import Source
from embedmig.db import Connection, Queries
from embedmig.db import identifiers as ident
from embedmig.types import Collection, Placement, Slot

QUERIES = Queries(__package__, "writing.sql")

_COLUMN = ("write_column", "unrecord", "settle_column", "settle_unrecorded")
_COLUMN_WITHOUT_HASH = ("write_unrecorded",)
_COMPANION = ("take_back", "upsert", "delete_orphans", "settle_companion", "queue_orphans")
_ALWAYS = ("fail",)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the writer needs of a slot on one connection."""

    source: Source
    statements: dict[str, sql.Composed]
    """``EXECUTE ...`` of each prepared statement, by its name in writing.sql."""
    copy_stage: sql.Composed
    copy_slot: sql.Composed | None
    """COPY straight into a companion."""
    relation: sql.Composable
    """The user's table as a literal, for its counters."""

    @property
    def slot(self) -> Slot:
        """The slot itself."""
        return self.source.slot


def open_target(conn: Connection, source: Source) -> Target:
    """Makes the stage and prepares the statements on ``conn``; they are gone with it."""
    collection, slot = source.collection, source.slot
    parts = _parts(collection, slot)
    conn.execute(QUERIES.fill("make_stage", parts))
    return Target(
        source=source,
        statements={name: _prepare(conn, slot, name, parts) for name in _statements_of(slot)},
        copy_stage=QUERIES["copy_stage"].format(stage=parts["stage"]),
        copy_slot=QUERIES.fill("copy_slot", parts) if slot.placement is Placement.COMPANION else None,
        relation=sql.Literal(ident.table(collection).as_string(conn)),
    )


def _statements_of(slot: Slot) -> tuple[str, ...]:
    if slot.placement is Placement.COMPANION:
        return _COMPANION + _ALWAYS
    return (_COLUMN if slot.hash_column else _COLUMN_WITHOUT_HASH) + _ALWAYS


def _prepare(conn: Connection, slot: Slot, name: str, parts: dict[str, sql.Composable]) -> sql.Composed:
    prepared = sql.Identifier(f"embedmig_{name}_{slot.id}")
    statement = QUERIES.fill(name, parts)
    # Executed with (empty) parameters, so that a doubled % of the user's filter becomes one again.
    conn.execute(sql.SQL("PREPARE {} AS {}").format(prepared, statement), ())
    return sql.SQL("EXECUTE {}").format(prepared)


def _parts(collection: Collection, slot: Slot) -> dict[str, sql.Composable]:
    key_array = ident.key_array(collection, "k")
    parts: dict[str, sql.Composable] = {
        "stage": sql.Identifier("pg_temp", f"embedmig_stage_{slot.id}"),
        "table": ident.table(collection),
        "slot": ident.slot_table(slot),
        "slot_id": sql.Literal(slot.id),
        "model_id": sql.Literal(slot.model.id),
        "key_definitions": ident.comma(
            sql.SQL("{} {}").format(sql.Identifier(key.name), ident.type_name(key)) for key in collection.key
        ),
        "vector_type": sql.SQL("{}({})").format(sql.SQL(slot.vector_type), sql.Literal(slot.model.dimensions)),
        "key_names": ident.keys(collection),
        "keys_of_d": ident.keys(collection, "d"),
        "keys_of_k": ident.keys(collection, "k"),
        "key_array_of_k": key_array,
        "d_is_k": ident.key_match(collection, "d", "k"),
        "d_is_held": ident.key_match(collection, "d", "held"),
        "s_is_k": ident.key_match(collection, "s", "k"),
        "wants": ident.wants_vector(collection, "d"),
        "text_hash": ident.text_hash(collection, "d"),
        "lacking": fragments.lacks_vector(slot),
        "vector": ident.vector(slot),
        "hash": ident.recorded_hash(slot),
        "seen": fragments.vector_identity(slot),
        "gone": fragments.vectors_without_row(collection, slot),
        "assignments": _assignments(slot),
        "again": _queued_again(slot, key_array),
        "vector_column": sql.Identifier(slot.vector_column),
    }
    for name, column in (("model_column", slot.model_column), ("hash_column", slot.hash_column)):
        if column is not None:
            parts[name] = sql.Identifier(column)
    return parts


def _assignments(slot: Slot) -> sql.Composable:
    """The slot's columns and nothing else. A row that is cleared loses vector and hash and keeps the label: an
    application that brings a vector to it later knows of no label, and the table's CHECK wants one."""
    pairs = [sql.SQL("{} = held.embedmig_vector").format(sql.Identifier(slot.vector_column))]
    if slot.hash_column is not None:
        pairs.append(sql.SQL("{} = held.embedmig_hash").format(sql.Identifier(slot.hash_column)))
    if slot.model_column is not None:
        pairs.append(sql.SQL("{} = {}").format(sql.Identifier(slot.model_column), sql.Literal(slot.model.id)))
    return ident.comma(pairs)


def _queued_again(slot: Slot, key_array: sql.Composable) -> sql.Composed:
    return sql.SQL(
        "{slot_id}, {bucket}, {key},"
        " clock_timestamp() + least(interval '200 ms' * power(2, least(coalesce(k.embedmig_settled, 0), 20)), '60 s'),"
        " least(coalesce(k.embedmig_settled, 0) + 1, 1000), coalesce(k.embedmig_origin, 0),"
        " coalesce(k.embedmig_queued, clock_timestamp())"
    ).format(slot_id=sql.Literal(slot.id), bucket=ident.bucket(key_array), key=key_array)
