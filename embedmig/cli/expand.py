"""embedmig expand"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options
from embedmig.cli.verbatim import verbatim

if TYPE_CHECKING:
    from rich.text import Text

    from embedmig.commands.slots import SlotChange


@click.command()
@collection_argument
@click.option("--to", "model", metavar="MODEL", help="The model to move to, as name@revision.")
@click.option(
    "--placement",
    type=click.Choice(["auto", "column", "companion"]),
    default="auto",
    show_default=True,
    help="On the table, or in a 1:1 table beside it.",
)
@click.option("--undo", is_flag=True, help="Take the target back; it must serve nobody.")
@click.option("--run", is_flag=True, help="Run the Alembic revision, if no other one waits.")
@click.option("--at-once", is_flag=True, help="Leave an Alembic environment aside and do it now.")
@click.option("--sql", "show_sql", is_flag=True, help="Print the SQL too.")
@common_options
def expand(
    ctx: Context,
    collection: str,
    model: str | None,
    placement: str,
    undo: bool,
    run: bool,
    at_once: bool,
    show_sql: bool,
) -> None:
    """Add the new model's slot beside the old one, and begin to queue edits for it.

    Where an alembic.ini is (embedmig.toml names one, or it stands beside), this writes a revision to review, and runs
    it only with --run; elsewhere it is done at once, and the SQL shown. Undone by --undo, or the revision's downgrade,
    while nothing is served from it.
    """
    from embedmig import commands
    from embedmig.types import Placement

    if undo == (model is not None):
        raise click.UsageError("give --to MODEL, or --undo")
    if undo:
        change = commands.expand_undo(ctx.db, collection, run=run, at_once=at_once, settings=ctx.settings)
    else:
        chosen = None if placement == "auto" else Placement(placement)
        change = commands.expand(
            ctx.db, collection, model, placement=chosen, run=run, at_once=at_once, settings=ctx.settings
        )
    ctx.show(change, lambda made: _describe(made, undo=undo, show_sql=show_sql or made.revision is None))


def _describe(change: "SlotChange", *, undo: bool, show_sql: bool) -> "Text":
    lines = [";\n".join(change.sql) + ";\n"] if show_sql and change.sql else []
    what = f"slot {change.target} of {change.collection} ({change.model}, {change.placement})"
    if change.revision is not None:
        lines.append(str(change.revision))
    if not change.changed:
        lines.append(f"{what} is open already")
    elif not change.done:
        lines.append(f"  {what}: review the revision, then alembic upgrade head, or run this again with --run")
    elif undo:
        lines.append(f"{what} is gone; {change.source} is the only slot")
    else:
        lines.append(f"{what} is open: {change.why_placed}")
    if change.done and not undo:
        lines.append(f"  next: embedmig reembed {change.collection}")
    return verbatim(lines)
