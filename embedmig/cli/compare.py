"""embedmig compare"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options
from embedmig.cli.steps import show_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from embedmig.validation.candidate_vectors import Needed
    from embedmig.validation.candidates import CandidatesReport
    from embedmig.validation.intervals import Estimate

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@collection_argument
@click.option(
    "--model", "models", multiple=True, required=True, metavar="NAME@REVISION", help="A candidate; repeat it."
)
@click.option("--queries", type=_FILE, help="JSON lines, CSV, TSV, or one query a line, as for validate.")
@click.option("--queries-sql", metavar="SELECT", help="Queries from a table: columns as the fields of a JSON line.")
@click.option(
    "--queries-from-rows", type=click.IntRange(1), metavar="N", help="N rows' titles or first sentences: a proxy."
)
@click.option(
    "--queries-from-shadow", is_flag=True, help="The texts of shadowed searches, where the application keeps them."
)
@click.option("--qrels", type=_FILE, help="Judgments in a file of their own: TREC's, or a table of query, key, grade.")
@click.option("--sample", type=click.IntRange(1), default=2000, show_default=True, help="How many rows to try them on.")
@click.option(
    "--shortened-to", type=click.IntRange(1), multiple=True, metavar="N",
    help="Also vectors cut to N dimensions.  [a half and a quarter]",
)  # fmt: skip
@click.option("--report", "page", type=_FILE, help="Also write it as one HTML page.")
@common_options
def compare(
    ctx: Context, collection: str, models: tuple[str, ...], queries: Path | None, queries_sql: str | None,
    queries_from_rows: int | None, queries_from_shadow: bool, qrels: Path | None, sample: int,
    shortened_to: tuple[int, ...], page: Path | None,
) -> None:  # fmt: skip
    """Which model would serve better, and stored how? Tried on a sample of your rows, before any column exists.

    The present model is always among them. Each is also tried shortened, in half precision and as bits, which
    costs no call. The table is only read; vectors are kept in the cache folder, so a run that was cut short
    goes on where it stopped.
    """
    from embedmig.commands import candidates_page
    from embedmig.commands import compare as try_candidates

    with show_steps(ctx) as on_progress:
        report = try_candidates(
            ctx.db,
            collection,
            models,
            queries=queries,
            queries_sql=queries_sql,
            queries_from_rows=queries_from_rows,
            queries_from_shadow=queries_from_shadow,
            qrels=qrels,
            sample=sample,
            shortened_to=shortened_to,
            settings=ctx.settings,
            on_progress=on_progress,
            on_plan=lambda needed: ctx.say(_describe_plan(needed)),
        )
    if page is not None:
        candidates_page(report, page)
    ctx.show(report, _render)
    if page is not None:
        ctx.say(f"the page: {page}")


def _describe_plan(needed: "Sequence[Needed]") -> str:
    parts = [
        f"{one.model} is asked for {one.forecast.texts:,} texts, about {one.forecast.tokens:,} tokens"
        + ("" if one.forecast.cost is None else f", {one.forecast.cost:.4f} in its price's currency")
        for one in needed
        if one.forecast.texts
    ]
    return "; ".join(parts) or "all vectors are kept from earlier runs"


def _render(report: "CandidatesReport") -> "RenderableType":
    from rich.console import Group
    from rich.markup import escape

    from embedmig.cli.validation_page import describe_queries

    lines = [
        f"[bold]{escape(report.sentence)}[/]",
        *(f"  {escape(reason)}" for reason in report.reasons),
        "",
        escape(
            f"exact results over {report.rows:,} rows ({report.judged_rows:,} of them named by judgments);"
            f" {describe_queries(report.queries)}"
        ),
        *(escape(note) for note in (*report.notes, *report.queries.notes)),
        "",
    ]
    return Group(*lines, _models(report), "", _variants(report), f"{sum(report.seconds.values()):.1f} s")


def _models(report: "CandidatesReport") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("model", "dimensions", "query p50", "p95", "a million rows", "asked", box=None, header_style="bold")
    for one in report.candidates:
        price = "no price" if one.cost_per_million_rows is None else f"{one.cost_per_million_rows:,.2f}"
        table.add_row(
            escape(one.model) + (" (today)" if one.is_today else ""),
            f"{one.dimensions:,}",
            *(
                ("gone", "")
                if one.latency is None
                else (f"{one.latency.p50_ms:.1f} ms", f"{one.latency.p95_ms:.1f} ms")
            ),
            price,
            f"{one.asked:,} texts" + (f", {one.reused:,} kept" if one.reused else ""),
        )
    return table


def _variants(report: "CandidatesReport") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    from embedmig.cli.sizes import print_bytes

    table = Table(
        "stored as", "nDCG@10", "change from today", "overlap@10", "a million rows", "index", box=None,
        header_style="bold",
    )  # fmt: skip
    for one in report.candidates:
        table.add_row(f"[bold]{escape(one.model)}[/]")
        for variant in one.variants:
            gain = None if variant.is_today else variant.gain
            table.add_row(
                f"  {escape(variant.name)}" + (" (today)" if variant.is_today else ""),
                _mean(variant.quality.get("nDCG@10")),
                "" if gain is None else f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})",
                "" if variant.is_today else _mean(variant.overlap),
                print_bytes(variant.bytes),
                variant.index or "none: row by row",
            )
    return table


def _mean(estimate: "Estimate | None") -> str:
    return "" if estimate is None else f"{estimate.mean:.3f}"
