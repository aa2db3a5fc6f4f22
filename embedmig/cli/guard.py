"""embedmig guard"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options

if TYPE_CHECKING:
    from embedmig.commands.guarding import GuardResult


@click.command()
@collection_argument
@click.option(
    "--rows", default=200, show_default=True, type=click.IntRange(1), help="How many rows a slot, the newest."
)
@click.option("--requeue", is_flag=True, help="Let reembed write the marked rows anew, by the model they claim.")
@click.option("--accept", metavar="REASON", help="Take the marks off; the reason is kept in the event log.")
@common_options
def guard(ctx: Context, collection: str, rows: int, requeue: bool, accept: str | None) -> int:
    """Are the vectors that the application writes those of the model they claim?

    Embeds some of the rows that were written last and compares; rows that differ are marked, with who wrote them.
    rollout --watch, rollout --auto and reembed --follow do it each minute. While a row is marked, no share rises and
    nothing is contracted: exit code 1.
    """
    from embedmig.commands import guard as look

    result = look(ctx.db, collection, rows=rows, requeue=requeue, accept=accept, settings=ctx.settings)
    ctx.show(result, _describe)
    return 1 if result.writers else 0


def _describe(result: "GuardResult") -> str:
    if not result.slots:
        return f"{result.collection}: embedmig maintains no column that the application could write: nothing to guard"
    lines = [f"{result.collection}: {result.compared} fresh rows compared, {result.mismatched} are not the model's"]
    if result.cleared:
        lines.append(f"  {result.cleared} rows are marked no more")
    lines += [f"  {writer}" for writer in result.writers]
    if result.requeued:
        lines.append(f"  {result.requeued} rows queued: embedmig reembed {result.collection}")
    elif result.writers:
        lines.append(f"  stop that writer, then embedmig guard {result.collection} --requeue, or --accept REASON")
    return "\n".join(lines)
