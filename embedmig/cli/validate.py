"""embedmig validate"""

from pathlib import Path

import click

from embedmig.cli.context import Context, collection_argument, common_options
from embedmig.cli.steps import show_steps

_FILE = click.Path(path_type=Path, dir_okay=False)
_THERE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command()
@collection_argument
@click.option("--queries", type=_FILE, help="JSON lines, CSV, TSV, or one query a line. See below.")
@click.option(
    "--queries-sql", metavar="SELECT", help="Queries from a table: columns query, label, weight, relevant, id."
)
@click.option(
    "--queries-from-rows", type=click.IntRange(1), metavar="N", help="N rows' titles or first sentences: a proxy."
)
@click.option(
    "--queries-from-shadow", is_flag=True, help="The texts of shadowed searches, where the application keeps them."
)
@click.option("--qrels", type=_FILE, help="Judgments in a file of their own: TREC's, or a table of query, key, grade.")
@click.option(
    "--rows-as-queries", type=click.IntRange(1), metavar="N",
    help="N stored rows serve as queries, by their vectors: needs no model, and happens of itself when one is gone.",
)  # fmt: skip
@click.option("--by-document", metavar="COLUMN", help="Rows that are equal in COLUMN count as one result.")
@click.option(
    "--cutoff",
    type=float,
    multiple=True,
    help="A similarity (l2: distance) your application cuts off at: translate it.",
)
@click.option("-k", "ks", type=click.IntRange(1, 1000), multiple=True, help="Depths to show.  [1, 5, 10, 20, 100]")
@click.option("--check-indexes/--no-check-indexes", default=True, help="Also ask both slots' own indexes.")
@click.option("--report", "page", type=_FILE, help="Also write the report as one HTML page.")
@click.option("--no-texts", is_flag=True, help="Leave texts and keys out of the page: it may leave the house.")
@click.option(
    "--pipeline", metavar="MODULE:FUNCTION", help="Your own search too: called with query and slot, gives keys."
)
@click.option(
    "--pipeline-sql",
    type=_THERE,
    help="The same as SQL in a file: %(query)s, %(embedding)s, %(k)s, {slot_table}, {vector}.",
)
@click.option("--until-decided", is_flag=True, help="Ask in blocks, in random order, and stop when the verdict stands.")
@click.option("--worst", default=5, show_default=True, type=click.IntRange(0), help="How many changed queries to show.")
@common_options
def validate(
    ctx: Context, collection: str, queries: Path | None, queries_sql: str | None, queries_from_rows: int | None,
    queries_from_shadow: bool, qrels: Path | None, rows_as_queries: int | None, by_document: str | None,
    cutoff: tuple[float, ...], ks: tuple[int, ...], check_indexes: bool, page: Path | None, no_texts: bool,
    pipeline: str | None, pipeline_sql: Path | None, until_decided: bool, worst: int,
) -> int:  # fmt: skip
    """May the new index serve? Compare both slots exactly, over the same rows, and say so in one sentence.

    Exits 0 for a pass, 1 for anything else. The report is kept, and opens a ramp when it passed.

    \b
    A line of a .jsonl file; all but the query may be left out:
      {"query": "parse json", "relevant": {"json.loads": 2, "json.load": 1},
       "label": "how-to", "weight": 3, "id": "q1"}
    Keys are written as Postgres prints them, those of several columns as
    lists: "relevant": [["de", "17"]].
    """
    from embedmig.cli.validation_page import describe_plan, render_report
    from embedmig.commands import report_page
    from embedmig.commands import validate as compare
    from embedmig.validation.options import KS, Options

    options = Options(
        ks=ks or KS,
        by_document=by_document,
        cutoffs=cutoff,
        check_indexes=check_indexes,
        rows_as_queries=rows_as_queries,
        until_decided=until_decided,
        pipeline=pipeline,
        pipeline_sql=None if pipeline_sql is None else _read_sql(pipeline_sql),
    )
    if page is not None and not page.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {page.absolute().parent}", param_hint="--report")
    with show_steps(ctx) as on_progress:
        report = compare(
            ctx.db,
            collection,
            queries=queries,
            queries_sql=queries_sql,
            queries_from_rows=queries_from_rows,
            queries_from_shadow=queries_from_shadow,
            qrels=qrels,
            options=options,
            settings=ctx.settings,
            on_progress=on_progress,
            on_plan=lambda detectable, queries: ctx.say(describe_plan(detectable, queries)),
        )
    if page is not None:
        report_page(ctx.db, collection, page, report_id=report.id, texts=not no_texts)
    ctx.show(report, lambda shown: render_report(shown, worst))
    if page is not None:
        ctx.say(f"the page: {page}")
    return 0 if report.passed else 1


def _read_sql(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise click.BadParameter(f"{path} cannot be read as UTF-8 text: {exc}", param_hint="--pipeline-sql") from exc
