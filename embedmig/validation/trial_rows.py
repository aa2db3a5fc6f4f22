"""The rows that candidates are tried on: a sample of the table's, with every row that a query's judgments name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedmig.db import Connection
from embedmig.db import identifiers as ident
from embedmig.errors import RefusedError, UnsupportedError
from embedmig.types import Collection, Floats, Key, Slot
from embedmig.validation.answers import place_judgments
from embedmig.validation.pair import Pair, read_rows, sample_rows, vector_columns
from embedmig.validation.queries import Query
from embedmig.validation.snapshot import one_snapshot


@dataclass(frozen=True, kw_only=True)
class TrialRows:
    """Rows, and the queries with their judgments as the rows' keys name them."""

    keys: tuple[Key, ...]
    texts: tuple[str, ...]
    vectors: Floats
    """(n, d): what the present slot holds of them."""
    queries: tuple[Query, ...]
    judged_rows: int
    """How many of the rows are there because a judgment names them."""
    unknown_judgments: int


def present_pair(collection: Collection, slot: Slot) -> Pair:
    """The present slot beside itself: its rows are those that it holds. Raises UnsupportedError for bits."""
    if slot.vector_type not in ("vector", "halfvec"):
        raise UnsupportedError(f"slot {slot.name} holds {slot.vector_type}: nothing can be compared with it exactly")
    return Pair(collection=collection, source=slot, target=slot)


def take_rows(conn: Connection, pair: Pair, queries: Sequence[Query], size: int, *, seed: int) -> TrialRows:
    """``size`` rows with text, more where judgments name more; the same for the same seed. Raises RefusedError when
    the present slot holds none."""
    columns = {"text": ident.text(pair.collection, "d"), "vector": vector_columns(pair)["source"]}
    with one_snapshot(conn):
        placed, unknown = place_judgments(conn, pair, None, queries)
        named = dict.fromkeys(key for query in placed for key, grade in (query.relevant or {}).items() if grade > 0)
        judged = [row for row in read_rows(conn, pair, columns, named) if _has_text(row)]
        others = sample_rows(conn, pair, columns, limit=size, seed=seed)
    rows = {row["key"]: row for row in judged}
    for row in others:
        if len(rows) < size and _has_text(row):
            rows.setdefault(row["key"], row)
    if not rows:
        raise RefusedError(
            f"no row of {pair.collection.name} has text and a vector in {pair.source.name}: there is nothing to try on"
        )
    ordered = [rows[key] for key in sorted(rows)]
    return TrialRows(
        keys=tuple(row["key"] for row in ordered),
        texts=tuple(row["text"] for row in ordered),
        vectors=np.stack([row["vector"].to_numpy().astype(np.float32) for row in ordered]),
        queries=tuple(placed),
        judged_rows=len(judged),
        unknown_judgments=len(unknown),
    )


def _has_text(row: dict[str, Any]) -> bool:
    return bool(row["text"] and row["text"].strip())
