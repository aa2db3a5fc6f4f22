"""validate: may the new index serve?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedmig.catalog.events import log_event
from embedmig.catalog.migrations import get_migration
from embedmig.catalog.reports import add_report
from embedmig.catalog.serving import Serving, read_serving
from embedmig.db import Connection, Database
from embedmig.errors import UsageError
from embedmig.settings import Settings, load_settings
from embedmig.types import Migration
from embedmig.validation.comparing import OnPlan, StepProgress, compare_slots
from embedmig.validation.options import Options
from embedmig.validation.pair import Pair
from embedmig.validation.queries import Query, QuerySet, add_judgments, gather_queries
from embedmig.validation.query_files import query_from_fields, read_judgments, read_queries
from embedmig.validation.query_sources import PROXY, queries_by_sql, queries_from_corpus
from embedmig.validation.report import ValidationReport

Queries = Path | str | Sequence[str | Query | Mapping[str, Any]]
"""A file, or the queries themselves: texts, Query objects, or mappings with the fields of a JSON line."""


def validate(
    db: Database,
    collection: str,
    *,
    queries: Queries | None = None,
    queries_sql: str | None = None,
    queries_from_rows: int | None = None,
    qrels: Path | str | None = None,
    options: Options | None = None,
    settings: Settings | None = None,
    on_progress: StepProgress | None = None,
    on_plan: OnPlan = lambda detectable, queries: None,
) -> ValidationReport:
    """Compares both slots of the open migration, keeps the report, and gives it.

    Queries come from one of three: ``queries`` (a file, or a list), ``queries_sql`` (a SELECT with a column
    ``query``), or ``queries_from_rows`` (so many rows' titles or first sentences). ``qrels`` is a file of judgments
    for queries with ids. ``options.rows_as_queries`` needs none of them.
    ``on_plan`` is told, before the first query is asked, what so many queries can show.

    Raises RefusedError when no migration is open or no row has a vector in both slots, UsageError for queries that
    cannot be read; nothing is kept then.
    """
    settings, options = settings or load_settings(), options or Options()
    _require_one(queries, queries_sql, queries_from_rows)
    with db.connect() as conn:
        serving = read_serving(conn, collection)
        migration = get_migration(conn, serving.collection)
        pair = _pair(serving)
        query_set = _gather(conn, pair, queries, queries_sql, queries_from_rows, qrels, seed=options.seed)
        report = compare_slots(
            conn, serving, pair, query_set, options, settings, on_progress=on_progress, on_plan=on_plan
        )
        return _keep(conn, migration, report)


def _pair(serving: Serving) -> Pair:
    assert serving.target is not None
    return Pair(collection=serving.collection, source=serving.source, target=serving.target)


def _require_one(*sources: object) -> None:
    if sum(source is not None for source in sources) > 1:
        raise UsageError("queries come from one place: a file or list, SQL, or the rows of the corpus")


def _gather(
    conn: Connection,
    pair: Pair,
    queries: Queries | None,
    queries_sql: str | None,
    queries_from_rows: int | None,
    qrels: Path | str | None,
    *,
    seed: int,
) -> QuerySet | None:
    notes: tuple[str, ...] = ()
    if queries is not None:
        found, origin = _read(queries)
    elif queries_sql is not None:
        found, origin = queries_by_sql(conn, queries_sql), "SQL"
    elif queries_from_rows is not None:
        found = queries_from_corpus(conn, pair, queries_from_rows, seed=seed)
        origin, notes = "the corpus", (PROXY,)
    else:
        return None
    if qrels is not None:
        found = add_judgments(found, read_judgments(Path(qrels)), str(qrels))
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


def _keep(conn: Connection, migration: Migration, report: ValidationReport) -> ValidationReport:
    with conn.transaction():
        stored = add_report(
            conn,
            migration,
            verdict=report.verdict.outcome.value,
            body=report.to_body(),
            bridged_share=report.rows.bridged_share,
            part=report.rows.part,
        )
        log_event(
            conn,
            "validate",
            report.collection,
            became=report.verdict.outcome.value,
            why=report.verdict.sentence,
            report=stored.id,
            queries=report.queries.distinct,
            rows=report.rows.judged,
            part=report.rows.part,
        )
    return replace(report, id=stored.id)
