"""The two slots that are compared, and the rows that both hold, as SQL."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import errors as pg
from psycopg import sql
from psycopg.types.json import Jsonb

from embedmig.db import Connection, Queries
from embedmig.db import identifiers as ident
from embedmig.errors import UsageError
from embedmig.types import Collection, Key, Placement, Slot

QUERIES = Queries(__package__, "pair.sql")

_KEYS_AT_ONCE = 5_000
_OLD, _NEW = "old", "new"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Source and target of a migration. A row is judged when both slots hold a vector of theirs for it, so that both
    sides answer from the same rows."""

    collection: Collection
    source: Slot
    target: Slot

    @property
    def slots(self) -> tuple[Slot, Slot]:
        """Source, then target."""
        return self.source, self.target

    @property
    def in_one_table(self) -> bool:
        """Whether one scan reads both vectors."""
        return all(slot.placement is Placement.COLUMN for slot in self.slots)


@dataclass(frozen=True, kw_only=True)
class PairCounts:
    """Rows by what the two slots hold of them."""

    judged: int
    """In both."""
    only_source: int
    """With text and an old vector, still without a new one."""
    only_target: int
    source_bridged: int
    """Of the judged ones: mapped from another model's vectors."""
    target_bridged: int

    @property
    def bridged_share(self) -> float:
        """0 to 1, of the target's judged rows."""
        return self.target_bridged / self.judged if self.judged else 0.0

    @property
    def mixes_scales(self) -> bool:
        """Whether a side holds true and bridged vectors together: its distances then come from two scales."""
        return any(0.01 * self.judged <= n <= 0.99 * self.judged for n in (self.source_bridged, self.target_bridged))


def count_pair(conn: Connection, pair: Pair) -> PairCounts:
    """Reads the whole table once."""
    query = QUERIES["count_pair"].format(
        wants=ident.wants_vector(pair.collection, "d"),
        in_scope=ident.in_scope(pair.collection, "d"),
        source_held=_held(pair.source, _OLD),
        target_held=_held(pair.target, _NEW),
        source_bridged=ident.is_bridged(pair.source, _OLD),
        target_bridged=ident.is_bridged(pair.target, _NEW),
        rows=_rows(pair),
    )
    row = conn.execute(query, {}).fetchone()
    assert row is not None
    return PairCounts(**row)


def count_ignored(conn: Connection, slot: Slot) -> int:
    """Rows whose failure a person ignored: they will never have a vector."""
    row = conn.execute(QUERIES["count_ignored"], {"slot_id": slot.id}).fetchone()
    assert row is not None
    return int(row["ignored"])


def select_vectors(pair: Pair, slots: Sequence[Slot]) -> sql.Composed:
    """The vectors of ``slots`` and the key of every judged row, as ``stream_blocks`` takes it."""
    return QUERIES["stream"].format(
        vectors=ident.comma(_vector(pair, slot) for slot in slots),
        key=ident.key_array(pair.collection, "d"),
        rows=_rows(pair),
        judged=_judged(pair),
    )


def sample_rows(
    conn: Connection, pair: Pair, columns: Mapping[str, sql.Composable], *, limit: int, seed: int
) -> list[dict[str, Any]]:
    """``limit`` judged rows: ``key`` and ``columns``, which are SQL over the row ``d``; the same for the same seed."""
    query = QUERIES["sample_rows"].format(
        key=ident.key_array(pair.collection, "d"),
        columns=_named(columns),
        rows=_rows(pair),
        judged=_judged(pair),
        keys=ident.keys(pair.collection, "d"),
    )
    rows = conn.execute(query, {"limit": limit, "seed": seed}).fetchall()
    return [row | {"key": tuple(row["key"])} for row in rows]


def read_rows(
    conn: Connection, pair: Pair, columns: Mapping[str, sql.Composable], keys: Iterable[Key]
) -> list[dict[str, Any]]:
    """``key`` and ``columns``, as of ``sample_rows``, of those of ``keys`` that are judged rows."""
    query = QUERIES["read_rows"].format(
        typed=ident.key_columns_from_array(pair.collection, sql.Identifier("embedmig_given")),
        key=ident.key_array(pair.collection, "d"),
        columns=_named(columns),
        rows=_rows(pair),
        match=ident.key_match(pair.collection, "k", "d"),
        judged=_judged(pair),
    )
    return [
        row | {"key": tuple(row["key"])}
        for some in _in_batches(keys)
        for row in conn.execute(query, {"given": Jsonb(some)})
    ]


def vector_columns(pair: Pair) -> dict[str, sql.Composable]:
    """For ``sample_rows``: both vectors, as ``source`` and ``target``."""
    return {"source": _vector(pair, pair.source), "target": _vector(pair, pair.target)}


def find_keys(conn: Connection, pair: Pair, keys: Iterable[Key]) -> dict[Key, Key]:
    """Which of ``keys`` are judged rows, each as given to the same as Postgres prints it (``007`` to ``7``).

    Raises UsageError when one cannot be a key of this table.
    """
    query = QUERIES["find_keys"].format(
        typed=ident.key_columns_from_array(pair.collection, sql.Identifier("embedmig_given")),
        key=ident.key_array(pair.collection, "d"),
        rows=_rows(pair),
        match=ident.key_match(pair.collection, "k", "d"),
        judged=_judged(pair),
    )
    found: dict[Key, Key] = {}
    for some in _in_batches(keys):
        _require_parts(pair.collection, some)
        try:
            rows = conn.execute(query, {"given": Jsonb(some)}).fetchall()
        except pg.DataError as exc:
            raise UsageError(
                f"a judged key is no key of {pair.collection.qualified} ({_key_types(pair.collection)}):"
                f" {exc.diag.message_primary}"
            ) from exc
        found.update((tuple(row["given"]), tuple(row["key"])) for row in rows)
    return found


def find_documents(conn: Connection, pair: Pair, document: sql.Composable, given: Iterable[Key]) -> dict[Key, Key]:
    """Which of the ``given`` documents have a judged row, to themselves. ``document``: text over the row ``d``."""
    query = QUERIES["find_documents"].format(document=document, rows=_rows(pair), judged=_judged(pair))
    rows = conn.execute(query, {"given": ["\x1f".join(key) for key in given]}).fetchall()
    return {(row["document"],): (row["document"],) for row in rows}


def read_column(conn: Connection, collection: Collection, value: sql.Composable, keys: Iterable[Key]) -> dict[Key, Any]:
    """``value``, SQL over the row ``d``, for each of ``keys`` whose row is there."""
    query = QUERIES["read_column"].format(
        typed=ident.key_columns_from_array(collection, sql.Identifier("embedmig_given")),
        key=ident.key_array(collection, "d"),
        value=value,
        table=ident.table(collection),
        match=ident.key_match(collection, "k", "d"),
    )
    return {
        tuple(row["key"]): row["value"]
        for some in _in_batches(keys)
        for row in conn.execute(query, {"given": Jsonb(some)})
    }


def _rows(pair: Pair) -> sql.Composed:
    return sql.SQL("{} AS d {} {}").format(
        ident.table(pair.collection),
        ident.join_slot(pair.collection, pair.source, to=_OLD),
        ident.join_slot(pair.collection, pair.target, to=_NEW),
    )


def _judged(pair: Pair) -> sql.Composed:
    return ident.conjunction([ident.in_scope(pair.collection, "d"), _held(pair.source, _OLD), _held(pair.target, _NEW)])


def _held(slot: Slot, alias: str) -> sql.Composed:
    """A vector by the slot's model or mapped into its space: what a search would find."""
    there = sql.SQL("{} IS NOT NULL").format(ident.vector(slot, alias))
    if slot.model_column is None:
        return sql.SQL("({})").format(there)
    ids = [slot.model.id] + ([] if slot.bridge_model_id is None else [slot.bridge_model_id])
    return sql.SQL("({} AND {} IN ({}))").format(there, ident.model_id(slot, alias), ident.comma(map(sql.Literal, ids)))


def _named(columns: Mapping[str, sql.Composable]) -> sql.Composed:
    return ident.comma(sql.SQL("{} AS {}").format(value, sql.Identifier(name)) for name, value in columns.items())


def _vector(pair: Pair, slot: Slot) -> sql.Composable:
    return ident.vector(slot, _OLD if slot.id == pair.source.id else _NEW)


def _in_batches(keys: Iterable[Key]) -> Iterator[list[list[str]]]:
    every = [list(key) for key in dict.fromkeys(keys)]
    for start in range(0, len(every), _KEYS_AT_ONCE):
        yield every[start : start + _KEYS_AT_ONCE]


def _require_parts(collection: Collection, keys: list[list[str]]) -> None:
    width = len(collection.key)
    for key in keys:
        if len(key) != width:
            raise UsageError(
                f"the key of {collection.qualified} is {_key_types(collection)}, {key} has {len(key)} parts:"
                " write a key of several columns as a list of texts"
            )


def _key_types(collection: Collection) -> str:
    return ", ".join(f"{column.name} {column.type}" for column in collection.key)
