"""Rows that hold a vector of the old model, to be paired with the new model's of the same texts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import errors as pg
from psycopg import sql
from psycopg.types.json import Jsonb

from embedmig.db import Connection, Queries
from embedmig.db import identifiers as ident
from embedmig.errors import UnsupportedError, UsageError
from embedmig.types import Collection, Floats, Key, Model, Slot

QUERIES = Queries(__package__, "pairing.sql")

_OLD, _NEW = "old", "new"


@dataclass(frozen=True, kw_only=True)
class PairSource:
    """Where pairs come from: the slot of the old model, the new model, and its slot where there is one."""

    collection: Collection
    old: Slot
    new_model: Model
    new: Slot | None


@dataclass(frozen=True, eq=False, kw_only=True)
class HalfPairs:
    """Rows with their old vectors, and with the new ones where they are stored. n rows."""

    keys: list[Key]
    texts: list[str]
    old: Floats
    """(n, d_old)"""
    new: Floats
    """(n, d_new): zeros where it is not stored."""
    has_new: npt.NDArray[np.bool_]
    """(n,)"""
    last_place: int | None
    """Where the sample ends in the order of its seed; None: it has every row that can be paired."""

    def __len__(self) -> int:
        return len(self.keys)

    def at(self, rows: npt.NDArray[np.int64]) -> "HalfPairs":
        """Those rows of them."""
        return HalfPairs(
            keys=[self.keys[row] for row in rows.tolist()],
            texts=[self.texts[row] for row in rows.tolist()],
            old=self.old[rows],
            new=self.new[rows],
            has_new=self.has_new[rows],
            last_place=self.last_place,
        )

    def joined(self, others: "HalfPairs") -> "HalfPairs":
        """These, then those of ``others`` that are not among them."""
        there = set(self.keys)
        others = others.at(np.array([n for n, key in enumerate(others.keys) if key not in there], dtype=np.int64))
        return HalfPairs(
            keys=self.keys + others.keys,
            texts=self.texts + others.texts,
            old=np.concatenate([self.old, others.old]),
            new=np.concatenate([self.new, others.new]),
            has_new=np.concatenate([self.has_new, others.has_new]),
            last_place=self.last_place,
        )


def sample_pairs(conn: Connection, source: PairSource, *, limit: int, seed: int, after: int | None = None) -> HalfPairs:
    """Up to ``limit`` rows at random, the same for the same seed; ``after``: only rows behind that place, which no
    sample that ended there had. Rows without a true, present old vector, or with one of zeros, are left out.

    Raises UnsupportedError for a slot that keeps the signs of its vectors only.
    """
    _require_numbers(source.old)
    query = QUERIES.fill("sample_pairs", _parts(source))
    rows = conn.execute(query, {"limit": limit, "seed": seed, "after": after}).fetchall()
    return _from_rows(rows, source, last_place=rows[-1]["place"] if len(rows) == limit else None)


def pairs_of_keys(conn: Connection, source: PairSource, keys: Iterable[Key], *, seed: int) -> HalfPairs:
    """Those of ``keys`` that can be paired. Raises UsageError when one cannot be a key of this table."""
    given = [list(key) for key in dict.fromkeys(keys)]
    width = len(source.collection.key)
    if wrong := next((key for key in given if len(key) != width), None):
        raise UsageError(f"the key of {source.collection.qualified} has {width} parts, {wrong} has {len(wrong)}")
    query = QUERIES.fill("pairs_of_keys", _parts(source))
    try:
        rows = conn.execute(query, {"given": Jsonb(given), "seed": seed}).fetchall()
    except pg.DataError as exc:
        raise UsageError(
            f"a judged key is no key of {source.collection.qualified}: {exc.diag.message_primary}"
        ) from exc
    return _from_rows(rows, source, last_place=None)


def _parts(source: PairSource) -> dict[str, sql.Composable]:
    collection, old, new = source.collection, source.old, source.new
    nothing = sql.SQL("")
    return {
        "table": ident.table(collection),
        "keys": ident.keys(collection, "d"),
        "key": ident.key_array(collection, "d"),
        "typed": ident.key_columns_from_array(collection, sql.Identifier("embedmig_given")),
        "match": ident.key_match(collection, "k", "d"),
        "text": ident.text(collection, "d", old.text_separator),
        "wants": ident.wants_vector(collection, "d"),
        "join_old": ident.join_slot(collection, old, to=_OLD),
        "join_new": nothing if new is None else ident.join_slot(collection, new, to=_NEW),
        "old": ident.vector(old, _OLD),
        "old_is_true": _is_true(collection, old, _OLD),
        "new": sql.SQL("NULL") if new is None else _if_true(collection, new),
    }


def _is_true(collection: Collection, slot: Slot, alias: str) -> sql.Composed:
    return sql.SQL("({} IS NOT NULL AND {} IS NOT DISTINCT FROM {} AND NOT {})").format(
        ident.vector(slot, alias),
        ident.model_id(slot, alias),
        sql.Literal(slot.model.id),
        ident.is_stale(collection, slot, alias),
    )


def _if_true(collection: Collection, slot: Slot) -> sql.Composed:
    return sql.SQL("CASE WHEN {} THEN {} END").format(_is_true(collection, slot, _NEW), ident.vector(slot, _NEW))


def _require_numbers(slot: Slot) -> None:
    if slot.vector_type == "bit":
        raise UnsupportedError(
            f"slot {slot.name} keeps the signs of its vectors only, so that nothing can be fitted on them: re-embed"
        )


def _from_rows(rows: Sequence[dict[str, Any]], source: PairSource, *, last_place: int | None) -> HalfPairs:
    rows = [row for row in rows if row["old"].to_numpy().any()]
    stored = source.new is not None and source.new.vector_type != "bit"
    new = np.zeros((len(rows), source.new_model.dimensions), dtype=np.float32)
    has_new = np.array([stored and row["new"] is not None for row in rows], dtype=bool)
    for place in np.flatnonzero(has_new).tolist():
        new[place] = rows[place]["new"].to_numpy()
    has_new &= new.any(axis=1)
    old = [row["old"].to_numpy() for row in rows]
    empty = np.empty((0, source.old.model.dimensions), dtype=np.float32)
    return HalfPairs(
        keys=[tuple(row["key"]) for row in rows],
        texts=[row["text"] for row in rows],
        old=np.stack(old).astype(np.float32) if old else empty,
        new=new,
        has_new=has_new,
        last_place=last_place,
    )
