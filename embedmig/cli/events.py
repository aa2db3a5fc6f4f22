"""embedmig events"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, common_options

if TYPE_CHECKING:
    from rich.table import Table

    from embedmig.catalog.events import Event


@click.command()
@click.argument("collection", required=False)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="How many, newest first.")
@common_options
def events(ctx: Context, collection: str | None, limit: int) -> None:
    """What was changed, by whom, when and why: the append-only log."""
    from embedmig.commands import events as list_them

    ctx.show(list_them(ctx.db, collection, limit=limit), _table)


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
