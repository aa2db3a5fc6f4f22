"""validate: may the new index serve?"""

from dataclasses import replace
from pathlib import Path

from embedmig.catalog.events import log_event
from embedmig.catalog.migrations import get_migration
from embedmig.catalog.reports import add_report
from embedmig.catalog.serving import Serving, read_serving
from embedmig.commands.asking import Queries, QuerySource, gather_from
from embedmig.db import Connection, Database
from embedmig.settings import Settings, load_settings
from embedmig.types import Migration
from embedmig.validation.comparing import OnPlan, StepProgress, compare_slots
from embedmig.validation.options import Options
from embedmig.validation.pair import Pair
from embedmig.validation.report import ValidationReport


def validate(
    db: Database,
    collection: str,
    *,
    queries: Queries | None = None,
    queries_sql: str | None = None,
    queries_from_rows: int | None = None,
    queries_from_shadow: bool = False,
    qrels: Path | str | None = None,
    options: Options | None = None,
    settings: Settings | None = None,
    on_progress: StepProgress | None = None,
    on_plan: OnPlan = lambda detectable, queries: None,
) -> ValidationReport:
    """Compares both slots of the open migration, keeps the report, and gives it.

    Queries come from one of four: ``queries`` (a file, or a list), ``queries_sql`` (a SELECT with a column
    ``query``), ``queries_from_shadow`` (what searches were shadowed with, where texts are kept), or
    ``queries_from_rows`` (so many rows' titles or first sentences). ``qrels`` is a file of judgments for queries with
    ids. ``options.rows_as_queries`` needs none of them.
    ``on_plan`` is told, before the first query is asked, what so many queries can show.

    Raises RefusedError when no migration is open, no row has a vector in both slots or the shadow log has no text,
    UsageError for queries that cannot be read; nothing is kept then.
    """
    settings, options = settings or load_settings(), options or Options()
    source = QuerySource(
        queries=queries,
        queries_sql=queries_sql,
        queries_from_rows=queries_from_rows,
        queries_from_shadow=queries_from_shadow,
        qrels=qrels,
    )
    with db.connect(patience=settings) as conn:
        serving = read_serving(conn, collection)
        migration = get_migration(conn, serving.collection)
        pair = _pair(serving)
        query_set = gather_from(conn, pair, source, seed=options.seed)
        report = compare_slots(
            db, conn, serving, pair, query_set, options, settings, on_progress=on_progress, on_plan=on_plan
        )
        return _keep(conn, migration, report)


def _pair(serving: Serving) -> Pair:
    assert serving.target is not None
    return Pair(collection=serving.collection, source=serving.source, target=serving.target)


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
