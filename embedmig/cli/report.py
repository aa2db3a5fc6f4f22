"""embedmig report list|show|compare"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from embedmig.commands.reporting import ReportsCompared, ReportShown, ReportsListed
    from embedmig.validation.over_time import Change

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def report() -> None:
    """Validation reports that were kept."""


@report.command("list")
@collection_argument
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many, newest first.")
@common_options
def list_(ctx: Context, collection: str, limit: int) -> None:
    """When each was made, and what it said."""
    from embedmig.commands import report_list

    ctx.show(report_list(ctx.db, collection, limit=limit), _list)


@report.command()
@collection_argument
@click.argument("number", type=int, required=False)
@click.option("--html", "page", type=_FILE, help="Write it as one HTML page instead.")
@click.option("--no-texts", is_flag=True, help="Leave texts and keys out of the page: it may leave the house.")
@click.option("--worst", default=5, show_default=True, type=click.IntRange(0), help="How many changed queries to show.")
@common_options
def show(ctx: Context, collection: str, number: int | None, page: Path | None, no_texts: bool, worst: int) -> None:
    """A report in full, the newest unless its NUMBER is given."""
    from embedmig.commands import report_page, report_show

    if page is not None:
        written = report_page(ctx.db, collection, page, report_id=number, texts=not no_texts)
        ctx.show({"page": str(written)}, lambda _: f"the page: {written}")
        return
    ctx.show(report_show(ctx.db, collection, number), lambda shown: _show(shown, worst))


@report.command()
@collection_argument
@click.argument("before", type=int, required=False)
@click.argument("after", type=int, required=False)
@click.option("--days", type=click.FloatRange(0), help="Compare with the newest that is so many days older: 7.")
@click.option("--most", default=10, show_default=True, type=click.IntRange(0), help="How many moved queries to show.")
@common_options
def compare(
    ctx: Context, collection: str, before: int | None, after: int | None, days: float | None, most: int
) -> None:
    """Report BEFORE with report AFTER; by default the newest with the one before it."""
    from embedmig.commands import report_compare

    found = report_compare(ctx.db, collection, before, after, days=days, settings=ctx.settings)
    ctx.show(found, lambda shown: _compare(shown, most))


def _list(listed: "ReportsListed") -> "RenderableType":
    from rich.markup import escape
    from rich.table import Table

    columns = ("report", "made", "verdict", "opens a ramp", "slots", "queries", "overlap@10", "nDCG@10 change", "part")
    table = Table(*columns, box=None, header_style="bold")
    for one in listed.reports:
        table.add_row(
            str(one.id),
            f"{one.made_at:%Y-%m-%d %H:%M}",
            one.verdict.replace("_", " "),
            "yes" if one.stands else "no",
            escape(f"{one.source} to {one.target}"),
            f"{one.queries:,}, {one.judged_queries:,} judged",
            f"{one.overlap:.3f}",
            "" if one.quality is None else f"{one.quality:+.3f}",
            "" if one.part >= 1 else f"{one.part:.0%}",
        )
    return table if listed.reports else f"no report yet: embedmig validate {escape(listed.collection)}"


def _show(shown: "ReportShown", worst: int) -> "RenderableType":
    from rich.console import Group
    from rich.markup import escape

    from embedmig.cli.validation_page import render_report

    stands = "it opens a ramp" if shown.stands else "it opens no ramp"
    accepted = "" if shown.accepted is None else f", accepted: {escape(shown.accepted)}"
    lines = [f"made {shown.made_at:%Y-%m-%d %H:%M}, {stands}{accepted}"]
    if shown.preferences is not None:
        lines.append(escape(f"judges ({', '.join(shown.preferences.judges)}): {shown.preferences}"))
    return Group(*lines, render_report(shown.report, worst))


def _compare(compared: "ReportsCompared", most: int) -> "RenderableType":
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    found, before, after = compared.comparison, compared.before, compared.after
    table = Table("", f"report {before.id}", f"report {after.id}", "difference", box=None, header_style="bold")
    table.add_row("made", f"{before.made_at:%Y-%m-%d %H:%M}", f"{after.made_at:%Y-%m-%d %H:%M}", "")
    table.add_row("verdict", before.verdict.replace("_", " "), after.verdict.replace("_", " "), "")
    for change in found.changes:
        table.add_row(change.measure, _number(change.before), _number(change.after), _difference(change))
    asked = (
        f"{found.common:,} queries that both asked, {found.only_before:,} only the first,"
        f" {found.only_after:,} only the second; differences are over those that both asked"
    )
    lines: list[RenderableType] = [table, "", asked, *(escape(note) for note in found.notes)]
    if most and found.moved:
        moved = Table("moved most", "overlap@10", "nDCG@10 of the new", box=None, header_style="bold")
        for one in found.moved[:most]:
            moved.add_row(
                escape(one.text[:60]), f"{one.overlap:+.1f}", "" if one.quality is None else f"{one.quality:+.3f}"
            )
        lines += ["", moved]
    return Group(*lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _difference(change: "Change") -> str:
    gap = change.difference
    return "" if gap is None else f"{gap.mean:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
