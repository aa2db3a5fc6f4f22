"""embedmig doctor"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, common_options
from embedmig.cli.verbatim import verbatim

if TYPE_CHECKING:
    from rich.console import RenderableType

    from embedmig.commands.checks import Doctor


@click.command()
@click.argument("collection", required=False)
@common_options
def doctor(ctx: Context, collection: str | None) -> int:
    """Connection, versions, privileges and settings that matter, each with what to do. Exit 1 when any fails."""
    from embedmig.commands import doctor as examine

    found = examine(ctx.server, collection)
    ctx.show(found, _table)
    return 1 if found.failed else 0


def _table(result: "Doctor") -> "RenderableType":
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    table = Table.grid(padding=(0, 2))
    for finding in result.findings:
        level = finding.level.value
        said = escape(finding.said) + (f"\n[bold]{escape(finding.what_to_do)}[/]" if finding.what_to_do else "")
        table.add_row(f"[{colours[level]}]{level}[/]", escape(finding.check), said)
    if not result.grants:
        return table
    grants = verbatim([f"  {grant};" for grant in result.grants])
    return Group(table, "", "A role that only searches needs, and no more:", grants)
