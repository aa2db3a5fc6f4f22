"""embedmig resume"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options

if TYPE_CHECKING:
    from embedmig.commands.job_control import JobsChanged


@click.command()
@collection_argument
@common_options
def resume(ctx: Context, collection: str) -> None:
    """Let the processes that wait go on."""
    from embedmig.commands import resume as run

    ctx.show(run(ctx.db, collection), _describe)


def _describe(result: "JobsChanged") -> str:
    from rich.markup import escape

    slots = ", ".join(result.slots)
    name = result.collection
    return escape(f"{name}: goes on: {slots}; if no process waits for that any more: embedmig reembed {name}")
