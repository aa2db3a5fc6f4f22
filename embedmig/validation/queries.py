"""What is asked: queries with their judgments, labels and weights, each text once. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from embedmig.errors import UsageError
from embedmig.types import Key


@dataclass(frozen=True, kw_only=True)
class Query:
    """One query. Judgments name rows by key, as Postgres prints it."""

    text: str
    id: str = ""
    """What judgments in a file of their own call it."""
    relevant: Mapping[Key, int] | None = None
    """Grade by key, 1 and more is relevant; None: nobody judged it."""
    label: str | None = None
    """Its stratum: a kind, a language, a tenant."""
    weight: float = 1.0
    """How often it is asked, relative to the others."""


@dataclass(frozen=True, kw_only=True)
class QuerySet:
    """Distinct queries, and what was left out."""

    queries: tuple[Query, ...]
    origin: str
    """Where they come from, for people."""
    given: int
    repeated: int = 0
    empty: int = 0
    notes: tuple[str, ...] = field(default=())
    """What to know when reading the results."""

    @property
    def judged(self) -> int:
        """How many have judgments."""
        return sum(query.relevant is not None for query in self.queries)


@dataclass(frozen=True, kw_only=True)
class QueryCounts:
    """What was asked."""

    origin: str
    given: int
    distinct: int
    repeated: int
    empty: int
    judged: int
    """Distinct queries with at least one relevant row among those judged."""
    unknown_judgments: int
    """Judgments of rows that are not there: left out."""
    notes: tuple[str, ...]


def count_queries(query_set: QuerySet, judgments: Iterable[Mapping[Any, int]], unknown_judgments: int) -> QueryCounts:
    """``judgments``: each query's, of rows that are there."""
    return QueryCounts(
        origin=query_set.origin,
        given=query_set.given,
        distinct=len(query_set.queries),
        repeated=query_set.repeated,
        empty=query_set.empty,
        judged=sum(any(grade > 0 for grade in grades.values()) for grades in judgments),
        unknown_judgments=unknown_judgments,
        notes=query_set.notes,
    )


def gather_queries(queries: Iterable[Query], origin: str, notes: Sequence[str] = ()) -> QuerySet:
    """Leaves out empty texts and takes repeated ones together: weights add up, judgments unite (the higher grade).

    Texts that differ by blanks alone are the same query; under two labels they stay two. Raises UsageError for a
    weight that is not positive, for a NUL in a text, or when nothing is left.
    """
    given = empty = 0
    distinct: dict[tuple[str, str | None], Query] = {}
    for query in queries:
        given += 1
        text = re.sub(r"\s+", " ", query.text).strip()
        if not query.weight > 0 or query.weight == float("inf"):
            raise UsageError(f"query {query.text!r} has weight {query.weight}: a weight is a positive number")
        if "\0" in text:
            raise UsageError(
                f"query {text[:60]!r} holds the character NUL, which no text in Postgres does: take it out"
            )
        if not text:
            empty += 1
            continue
        place = (text, query.label)
        distinct[place] = _unite(distinct[place], query) if place in distinct else replace(query, text=text)
    if not distinct:
        raise UsageError(f"there are no queries in {origin}" + (f": all {empty} are empty" if empty else ""))
    return QuerySet(
        queries=tuple(distinct.values()),
        origin=origin,
        given=given,
        repeated=given - empty - len(distinct),
        empty=empty,
        notes=tuple(notes),
    )


def add_judgments(queries: Sequence[Query], judgments: Mapping[str, Mapping[Key, int]], origin: str) -> list[Query]:
    """Gives each query the judgments under its id, over those it has. Raises UsageError when no id fits."""
    if not any(query.id in judgments for query in queries):
        raise UsageError(
            f"no query has an id that {origin} judges: the ids there are like {next(iter(judgments), 'none')!r},"
            f" the queries' are like {queries[0].id!r}"
        )
    return [
        replace(query, relevant={**(query.relevant or {}), **judgments[query.id]}) if query.id in judgments else query
        for query in queries
    ]


def _unite(one: Query, other: Query) -> Query:
    return replace(one, weight=one.weight + other.weight, relevant=_unite_judgments(one.relevant, other.relevant))


def _unite_judgments(one: Mapping[Key, int] | None, other: Mapping[Key, int] | None) -> Mapping[Key, int] | None:
    if one is None or other is None:
        return other if one is None else one
    return {key: max(one.get(key, 0), other.get(key, 0)) for key in {**one, **other}}
