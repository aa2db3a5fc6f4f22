"""embedmig cancel"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options

if TYPE_CHECKING:
    from embedmig.commands.job_control import JobsChanged


@click.command()
@collection_argument
@common_options
def cancel(ctx: Context, collection: str) -> None:
    """End the re-embedding of COLLECTION. Vectors written stay; embedmig reembed would embed the rest."""
    from embedmig.commands import cancel as run

    ctx.show(run(ctx.db, collection), _describe)


def _describe(result: "JobsChanged") -> str:
    from rich.markup import escape

    slots = ", ".join(result.slots)
    return escape(f"{result.collection}: cancelled: {slots}; what is embedded is kept")
