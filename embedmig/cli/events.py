"""embedmig events"""

from datetime import UTC
from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, common_options

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from embedmig.catalog.events import Event
    from embedmig.commands.traffic import ServedBySlot


@click.command()
@click.argument("collection", required=False)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="How many, newest first.")
@click.option("--served", is_flag=True, help="Instead: what each slot answered, hour by hour.")
@click.option("--hours", default=24.0, show_default=True, type=click.FloatRange(0), help="With --served: how far back.")
@common_options
def events(ctx: Context, collection: str | None, limit: int, served: bool, hours: float) -> None:
    """What was changed, by whom, when and why: the append-only log."""
    from rich.markup import escape

    from embedmig import commands

    if not served:
        of = "" if collection is None else f" of {collection}"
        ctx.show(
            commands.events(ctx.db, collection, limit=limit), lambda rows: _lines(rows) if rows else f"no event{of}"
        )
        return
    if collection is None:
        raise click.UsageError("--served wants a collection")
    nothing = f"nothing of {collection} was served in the last {hours:g} hours"
    ctx.show(
        commands.served(ctx.db, collection, hours=hours), lambda rows: _served_table(rows) if rows else escape(nothing)
    )


def _lines(rows: "list[Event]") -> "RenderableType":
    """One line an event, and below it why: a sentence, which would take a column of its own apart."""
    from rich.console import Group
    from rich.markup import escape
    from rich.padding import Padding

    cells = [(f"{event.at:%Y-%m-%d %H:%M:%S}", event.actor, event.collection or "", event.verb) for event in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    parts: list[RenderableType] = []
    for event, cell in zip(rows, cells, strict=True):
        head = "  ".join(text.ljust(width) for text, width in zip(cell, widths, strict=True))
        change = f"{event.was} -> {event.became or 'nothing'}" if event.was else event.became or ""
        parts.append(escape(f"{head}  {change}".rstrip()))
        if event.why:
            parts.append(Padding(escape(event.why), (0, 0, 0, 4), expand=False))
    return Group(*parts)


def _served_table(rows: "list[ServedBySlot]") -> "Table":
    from rich.table import Table

    table = Table("hour (UTC)", "slot", box=None, header_style="bold")
    for name in ("requests", "errors", "empty", "pinned", "p50 ms", "p99 ms", "embed ms", "epoch"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            f"{row.since.astimezone(UTC):%m-%d %H:%M}",
            row.slot,
            *(f"{count:,}" for count in (row.requests, row.errors, row.empty, row.pinned)),
            *("" if ms is None else f"{ms:.1f}" for ms in (row.p50_ms, row.p99_ms, row.embed_ms)),
            "-".join(map(str, sorted({row.epochs[0], row.epochs[-1]}))),
        )
    return table
