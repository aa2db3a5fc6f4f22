"""Where the queries of validate and compare come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embedmig.db import Connection
from embedmig.errors import UsageError
from embedmig.validation.pair import Pair
from embedmig.validation.queries import Query, QuerySet, add_judgments, gather_queries
from embedmig.validation.query_files import query_from_fields, read_judgments, read_queries
from embedmig.validation.query_sources import PROXY, queries_by_sql, queries_from_corpus, queries_from_shadow

Queries = Path | str | Sequence[str | Query | Mapping[str, Any]]
"""A file, or the queries themselves: texts, Query objects, or mappings with the fields of a JSON line."""


@dataclass(frozen=True, kw_only=True)
class QuerySource:
    """One place at most, and judgments beside it. Raises UsageError for two places."""

    queries: Queries | None = None
    queries_sql: str | None = None
    """A SELECT with a column ``query``."""
    queries_from_rows: int | None = None
    """So many rows' titles or first sentences."""
    queries_from_shadow: bool = False
    """The texts that searches were shadowed with, where the application keeps them."""
    qrels: Path | str | None = None
    """A file of judgments for queries with ids."""

    def __post_init__(self) -> None:
        places = (self.queries, self.queries_sql, self.queries_from_rows, self.queries_from_shadow or None)
        if sum(place is not None for place in places) > 1:
            raise UsageError(
                "queries come from one place: a file or list, SQL, the shadow log, or the rows of the corpus"
            )


def gather_from(conn: Connection, pair: Pair, source: QuerySource, *, seed: int) -> QuerySet | None:
    """The distinct queries, None where no place was named. Raises UsageError for what cannot be read, RefusedError
    where the place has none."""
    notes: tuple[str, ...] = ()
    if source.queries is not None:
        found, origin = _read(source.queries)
    elif source.queries_sql is not None:
        found, origin = queries_by_sql(conn, source.queries_sql), "SQL"
    elif source.queries_from_rows is not None:
        found = queries_from_corpus(conn, pair, source.queries_from_rows, seed=seed)
        origin, notes = "the corpus", (PROXY,)
    elif source.queries_from_shadow:
        found, origin = queries_from_shadow(conn, pair.collection)
    else:
        return None
    if source.qrels is not None:
        found = add_judgments(found, read_judgments(Path(source.qrels)), str(source.qrels))
    return gather_queries(found, origin, notes)


def _read(queries: Queries) -> tuple[list[Query], str]:
    if isinstance(queries, str | Path):
        return read_queries(Path(queries)), str(queries)
    return [_as_query(query, number) for number, query in enumerate(queries, start=1)], "the list given"


def _as_query(given: str | Query | Mapping[str, Any], number: int) -> Query:
    if isinstance(given, Query):
        return given if given.id else replace(given, id=str(number))
    if isinstance(given, str):
        return Query(text=given, id=str(number))
    return query_from_fields(given, f"query {number}", number)
