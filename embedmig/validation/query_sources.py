"""Queries out of the database: by the user's SQL, from the shadow log, from the corpus, or the stored vectors."""

import re
from typing import Any

from psycopg import errors as pg
from psycopg import sql

from embedmig.catalog.traffic import list_shadow_queries
from embedmig.db import Connection
from embedmig.db import identifiers as ident
from embedmig.errors import RefusedError, UsageError
from embedmig.types import Collection, Key
from embedmig.validation.pair import Pair, sample_rows
from embedmig.validation.queries import Query
from embedmig.validation.query_files import query_from_fields
from embedmig.validation.snapshot import one_snapshot

PROXY = (
    "the queries are titles or first sentences of rows, a proxy for what people ask: it flatters both sides alike,"
    " and the row itself is among its results"
)

_LONGEST = 300
_MOST_SHADOWED = 10_000


def queries_by_sql(conn: Connection, statement: str) -> list[Query]:
    """What a SELECT of the user's gives, columns named as the fields of a queries file; it runs read-only.

    Raises UsageError when it is no such SELECT, saying why.
    """
    try:
        with one_snapshot(conn):
            # Without parameters a % means itself; what is prepared is one statement, and cannot leave the transaction.
            rows = conn.execute(sql.SQL(statement), prepare=True).fetchall()
    except (pg.ProgrammingError, pg.DataError, pg.ReadOnlySqlTransaction) as exc:
        raise UsageError(f"the SQL for queries does not run: {exc.diag.message_primary or exc}") from exc
    return [query_from_fields(_plain(row), f"row {number} of the SQL", number) for number, row in enumerate(rows, 1)]


def queries_from_shadow(conn: Connection, collection: Collection) -> tuple[list[Query], str]:
    """The texts that searches were shadowed with, the most frequent ones where there are very many, each weighing as
    often as it was asked; and what they are, for people. Raises RefusedError where none were kept."""
    kept = list_shadow_queries(conn, collection, limit=_MOST_SHADOWED)
    if not kept:
        raise RefusedError(
            f"no text of a shadowed query is kept for {collection.name}: searches keep them only where the application"
            " says so, Searcher.connect(.., shadow=ShadowOptions(keep_texts=True)). Until then give queries, --queries"
        )
    queries = [
        Query(text=one.text, id=str(number), label=one.label or None, weight=one.times)
        for number, one in enumerate(kept, start=1)
    ]
    most = "the most frequent of " if len(kept) == _MOST_SHADOWED else ""
    return queries, f"{most}the shadow log, {sum(one.times for one in kept):,} searches"


def queries_from_corpus(conn: Connection, pair: Pair, count: int, *, seed: int) -> list[Query]:
    """``count`` rows' own words as queries: the first text column where there are several (a title), else the first
    sentence. See PROXY. Raises RefusedError when no row can be judged."""
    collection = pair.collection
    text = sql.SQL("coalesce({}::text, '')").format(ident.dotted("d", collection.text_columns[0]))
    rows = sample_rows(conn, pair, {"text": text}, limit=count, seed=seed)
    has_title = len(collection.text_columns) > 1
    texts = [row["text"] if has_title else first_sentence(row["text"]) for row in rows]
    queries = [Query(text=text[:_LONGEST], id=str(number)) for number, text in enumerate(texts, 1) if text.strip()]
    if not queries:
        raise RefusedError(f"no row of {collection.name} that both slots hold has a text to make a query of")
    return queries


def first_sentence(text: str) -> str:
    """Up to the first full stop, question or exclamation mark before a blank, or the first empty line."""
    return re.split(r"(?<=[.!?])\s|\n\s*\n", text.strip(), maxsplit=1)[0]


def row_query(key: Key) -> Query:
    """A stored row that stands for a query."""
    return Query(text=f"row {', '.join(key)}", id=", ".join(key))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}
