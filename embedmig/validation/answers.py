"""What both slots answer: exact rankings of the same rows, with judgments and documents as the rankings name them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from psycopg import sql

from embedmig.db import Connection
from embedmig.db import identifiers as ident
from embedmig.errors import RefusedError
from embedmig.schema.inspection import describe_table
from embedmig.types import Floats, Key
from embedmig.validation.analysis import Judged
from embedmig.validation.documents import leave_out, take_documents
from embedmig.validation.exact import Progress, exact_top_k
from embedmig.validation.pair import (
    Pair,
    PairCounts,
    count_pair,
    find_documents,
    find_keys,
    read_column,
    sample_rows,
    vector_columns,
)
from embedmig.validation.queries import Query
from embedmig.validation.query_sources import row_query
from embedmig.validation.running_top_k import Ranking
from embedmig.validation.snapshot import one_snapshot

_ROWS_A_DOCUMENT = 5
"""So many times deeper the rows are searched where documents are taken together."""

Vectors = tuple[Floats | None, Floats | None]


@dataclass(frozen=True, kw_only=True)
class Search:
    """How to answer."""

    pair: Pair
    depth: int
    by_document: str | None
    """A column of the user's table: rows that are equal in it are one item."""
    memory_mb: int
    on_total: Progress | None = None
    """Called with how many rows will be read, before any is."""
    on_progress: Progress | None = None


@dataclass(frozen=True, kw_only=True)
class Answers:
    """All in one snapshot."""

    judged: Judged
    row_rankings: tuple[list[Ranking], list[Ranking]]
    """Before rows of a document were taken together."""
    counts: PairCounts
    unknown: frozenset[Key]
    """What judgments name and is not there."""

    @property
    def unknown_judgments(self) -> int:
        """How many that are."""
        return len(self.unknown)


def require_column(conn: Connection, pair: Pair, column: str) -> None:
    """Raises NotFoundError, with the near ones, when the user's table has no such column."""
    describe_table(conn, pair.collection.schema, pair.collection.table).column(column)


def answer_queries(conn: Connection, search: Search, queries: Sequence[Query], vectors: Vectors) -> Answers:
    """``vectors``: (q, d) of each side, None for a side whose model cannot embed them: its rankings are empty.

    Raises RefusedError when no row can be judged.
    """
    with one_snapshot(conn):
        counts = _count(conn, search.pair)
        placed, unknown = place_judgments(conn, search.pair, search.by_document, queries)
        depth = search.depth * (_ROWS_A_DOCUMENT if search.by_document else 1)
        rankings = _exact(conn, search, counts, vectors, depth)
        items = to_items(conn, search, rankings)
    return Answers(
        judged=Judged(queries=tuple(placed), source=items[0], target=items[1]),
        row_rankings=rankings,
        counts=counts,
        unknown=unknown,
    )


def answer_rows(conn: Connection, search: Search, count: int, *, seed: int) -> Answers:
    """``count`` stored rows serve as queries, each by its own vector in either slot, and do not find themselves.

    Raises RefusedError when no row can be judged.
    """
    with one_snapshot(conn):
        counts = _count(conn, search.pair)
        rows = sample_rows(conn, search.pair, vector_columns(search.pair), limit=count, seed=seed)
        vectors = (
            np.stack([row["source"].to_numpy().astype(np.float32) for row in rows]),
            np.stack([row["target"].to_numpy().astype(np.float32) for row in rows]),
        )
        depth = search.depth * (_ROWS_A_DOCUMENT if search.by_document else 1)
        found = _exact(conn, search, counts, vectors, depth + 1)
        source, target = (
            [leave_out(ranking, row["key"], depth) for ranking, row in zip(side, rows, strict=True)] for side in found
        )
        items = to_items(conn, search, (source, target))
    queries = tuple(row_query(row["key"]) for row in rows)
    return Answers(
        judged=Judged(queries=queries, source=items[0], target=items[1]),
        row_rankings=(source, target),
        counts=counts,
        unknown=frozenset(),
    )


def _count(conn: Connection, pair: Pair) -> PairCounts:
    counts = count_pair(conn, pair)
    if not counts.judged:
        name = pair.collection.name
        raise RefusedError(
            f"no row of {name} has a vector in both {pair.source.name} and {pair.target.name}: fill {pair.target.name}"
            f" first, embedmig reembed {name}"
        )
    return counts


def _exact(
    conn: Connection, search: Search, counts: PairCounts, vectors: Vectors, depth: int
) -> tuple[list[Ranking], list[Ranking]]:
    if search.on_total is not None:
        scans = 1 if search.pair.in_one_table else sum(side is not None for side in vectors)
        search.on_total(scans * counts.judged)
    return exact_top_k(conn, search.pair, vectors, depth, memory_mb=search.memory_mb, on_progress=search.on_progress)


def place_judgments(
    conn: Connection, pair: Pair, by_document: str | None, queries: Sequence[Query]
) -> tuple[list[Query], frozenset[Key]]:
    """The queries with their judgments as rankings name the items, and what they name that is not there."""
    given = list(dict.fromkeys(key for query in queries for key in query.relevant or ()))
    if not given:
        return list(queries), frozenset()
    known = (
        find_keys(conn, pair, given)
        if by_document is None
        else find_documents(conn, pair, _document(by_document), given)
    )
    placed = [
        query if query.relevant is None else replace(query, relevant=_renamed(query.relevant, known))
        for query in queries
    ]
    return placed, frozenset(given).difference(known)


def _renamed(relevant: Mapping[Key, int], known: dict[Key, Key]) -> dict[Key, int]:
    renamed: dict[Key, int] = {}
    for key, grade in relevant.items():
        if key in known:
            renamed[known[key]] = max(grade, renamed.get(known[key], 0))
    return renamed


def to_items(
    conn: Connection, search: Search, rankings: tuple[list[Ranking], list[Ranking]]
) -> tuple[tuple[Ranking, ...], tuple[Ranking, ...]]:
    """Rankings of rows as rankings of what is compared: the rows themselves, or their documents."""
    if search.by_document is None:
        return tuple(rankings[0]), tuple(rankings[1])
    keys = dict.fromkeys(key for side in rankings for ranking in side for key in ranking.keys)
    document_of = read_column(conn, search.pair.collection, _document(search.by_document), keys)
    source, target = (
        tuple(_cut(take_documents(ranking, document_of), search.depth) for ranking in side) for side in rankings
    )
    return source, target


def _cut(ranking: Ranking, depth: int) -> Ranking:
    return Ranking(keys=ranking.keys[:depth], distances=ranking.distances[:depth])


def _document(column: str) -> sql.Composed:
    return sql.SQL("{}::text").format(ident.dotted("d", column))
