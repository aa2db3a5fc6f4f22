"""embedmig pause"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options

if TYPE_CHECKING:
    from embedmig.commands.job_control import JobsChanged


@click.command()
@collection_argument
@common_options
def pause(ctx: Context, collection: str) -> None:
    """Let every process that re-embeds COLLECTION finish what it has in hand, and wait for resume."""
    from embedmig.commands import pause as run

    ctx.show(run(ctx.db, collection), _describe)


def _describe(result: "JobsChanged") -> str:
    from rich.markup import escape

    slots = ", ".join(result.slots)
    return escape(f"{result.collection}: paused: {slots}; embedmig resume {result.collection} goes on")
