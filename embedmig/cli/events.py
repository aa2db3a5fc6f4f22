"""embedmig events"""

from datetime import UTC
from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, common_options

if TYPE_CHECKING:
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
            commands.events(ctx.db, collection, limit=limit), lambda rows: _table(rows) if rows else f"no event{of}"
        )
        return
    if collection is None:
        raise click.UsageError("--served wants a collection")
    nothing = f"nothing of {collection} was served in the last {hours:g} hours"
    ctx.show(
        commands.served(ctx.db, collection, hours=hours), lambda rows: _served_table(rows) if rows else escape(nothing)
    )


def _table(rows: "list[Event]") -> "Table":
    from rich.table import Table

    table = Table("at", "who", "collection", "what", "from", "to", "why", box=None, header_style="bold")
    for event in rows:
        table.add_row(
            f"{event.at:%Y-%m-%d %H:%M:%S}",
            event.actor,
            event.collection or "",
            event.verb,
            event.was or "",
            event.became or "",
            event.why or "",
        )
    return table


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
