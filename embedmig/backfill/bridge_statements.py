"""What a bridge sends, composed once: reading ranges of the source, writing them into the target."""

from dataclasses import dataclass

from psycopg import sql

from embedmig.db import Connection, Queries
from embedmig.db import identifiers as ident
from embedmig.types import Collection, Placement, Slot

QUERIES = Queries(__package__, "bridging.sql")

_HASH_BYTES = 16
_SOURCE = "o"
"""The alias of the source's companion, where it has one; the target's is ``s``."""


@dataclass(frozen=True, kw_only=True)
class BridgeStatements:
    """Of one bridge. Ranges are given as ``first`` and ``last``, keys as ``text[]``."""

    source: Slot
    target: Slot
    key_width: int
    cut_ranges: sql.Composed
    read_range: sql.Composed
    """Gives the key columns, the text's hash, the source vector and, where it is asked for, the text."""
    read_at_once: sql.Composed | None
    """Gives the same as one value, ``widths`` bytes a column; None where rows differ in length."""
    widths: tuple[int, ...]
    copy: sql.Composed
    """Takes the key columns, the vector, for a companion the model's id, and the hash."""
    finish: sql.Composed
    """What follows in the same transaction. Its row count: in a companion the rows that lost their vector again, in
    column placement those that got one."""


def compose_statements(
    conn: Connection, collection: Collection, source: Slot, target: Slot, *, reads_texts: bool
) -> BridgeStatements:
    """Composes them. Those of column placement want ``make_stage`` first."""
    parts = _parts(collection, source, target, reads_texts=reads_texts)
    parts["range_rows"] = QUERIES.fill("range_rows", parts)
    named = {"names": [key.name for key in collection.key], "table": ident.table(collection).as_string(conn)}
    keys = conn.execute(QUERIES["key_widths"], named).fetchall()
    at_once = not reads_texts and all(key["bytes"] > 0 for key in keys)
    parts["sent_keys"] = sql.SQL(" || ").join(
        sql.SQL("{}(r.{})").format(sql.SQL(key["sent_by"]), _place(place)) for place, key in enumerate(keys, start=1)
    )
    number_bytes = 2 if source.vector_type == "halfvec" else 4
    companion = target.placement is Placement.COMPANION
    return BridgeStatements(
        source=source,
        target=target,
        key_width=len(collection.key),
        cut_ranges=QUERIES.fill("cut_ranges", parts),
        read_range=QUERIES.fill("read_range", parts),
        read_at_once=QUERIES.fill("read_range_at_once", parts) if at_once else None,
        widths=(*(key["bytes"] for key in keys), _HASH_BYTES, 4 + number_bytes * source.model.dimensions),
        copy=QUERIES.fill("copy_slot" if companion else "copy_stage", parts),
        finish=QUERIES.fill("settle_bridged" if companion else "write_bridged", parts),
    )


def make_stage(conn: Connection, collection: Collection, source: Slot, target: Slot) -> None:
    """The temporary table that rows pass through in column placement; nothing for a companion."""
    if target.placement is Placement.COLUMN:
        conn.execute(QUERIES.fill("make_stage", _parts(collection, source, target, reads_texts=False)))


def _parts(collection: Collection, source: Slot, target: Slot, *, reads_texts: bool) -> dict[str, sql.Composable]:
    key_array_of_k = ident.key_array(collection, "k")
    assert target.model_column is not None
    assert target.hash_column is not None
    return {
        "table": ident.table(collection),
        "slot": ident.slot_table(target),
        "stage": sql.Identifier("pg_temp", f"embedmig_bridge_{target.id}"),
        "keys": ident.keys(collection, "d"),
        "named_keys": ident.comma(
            sql.SQL("{} AS {}").format(ident.dotted("d", key.name), _place(place))
            for place, key in enumerate(collection.key, start=1)
        ),
        "vector_send": sql.SQL({"halfvec": "halfvec_send"}.get(source.vector_type, "vector_send")),
        "key_names": ident.keys(collection),
        "keys_of_d": ident.keys(collection, "d"),
        "keys_of_s": ident.keys(collection, "s"),
        "key_array": ident.key_array(collection, "d"),
        "key_array_of_k": key_array_of_k,
        "bucket_of_k": ident.bucket(key_array_of_k),
        "key_definitions": ident.comma(
            sql.SQL("{} {}").format(sql.Identifier(key.name), ident.type_name(key)) for key in collection.key
        ),
        "first": ident.key_from_array(collection, sql.SQL("%(first)s::text[]")),
        "last": ident.key_from_array(collection, sql.SQL("%(last)s::text[]")),
        "d_is_s": ident.key_match(collection, "d", "s"),
        "d_is_k": ident.key_match(collection, "d", "k"),
        "d_is_held": ident.key_match(collection, "d", "held"),
        "s_is_k": ident.key_match(collection, "s", "k"),
        "join_source": ident.join_slot(collection, source, to=_SOURCE),
        "join_target": ident.join_slot(collection, target),
        "look_up_source": _look_up(collection, source, _SOURCE),
        "look_up_target": _look_up(collection, target, "s"),
        "wants": ident.wants_vector(collection, "d"),
        "text_hash": ident.text_hash(collection, "d"),
        "text": _text(collection, target) if reads_texts else sql.SQL(""),
        "source_vector": ident.vector(source, _SOURCE),
        "source_model": ident.model_id(source, _SOURCE),
        "source_model_id": sql.Literal(source.model.id),
        "source_hash": ident.recorded_hash(source, _SOURCE),
        "target_vector": ident.vector(target),
        "vector_type": sql.SQL("{}({})").format(sql.SQL(target.vector_type), sql.Literal(target.model.dimensions)),
        "vector_column": sql.Identifier(target.vector_column),
        "model_column": sql.Identifier(target.model_column),
        "hash_column": sql.Identifier(target.hash_column),
        "slot_id": sql.Literal(target.id),
        "bridge_id": sql.Literal(target.bridge_model_id),
    }


def _place(place: int) -> sql.Identifier:
    return sql.Identifier(f"c{place}")


def _text(collection: Collection, target: Slot) -> sql.Composed:
    return sql.SQL(", {} AS text").format(ident.text(collection, "d", target.text_separator))


def _look_up(collection: Collection, slot: Slot, alias: str) -> sql.Composable:
    if slot.placement is Placement.COLUMN:
        return sql.SQL("")
    return sql.SQL("LEFT JOIN LATERAL (SELECT * FROM {0} AS {1} WHERE {2} OFFSET 0) AS {1} ON true").format(
        ident.slot_table(slot), sql.Identifier(alias), ident.key_match(collection, alias, "d")
    )
