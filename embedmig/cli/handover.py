"""embedmig handover"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options

if TYPE_CHECKING:
    from embedmig.commands.slots import HandoverResult
    from embedmig.schema.handing_over import Lacking


@click.command()
@collection_argument
@click.option("--undo", is_flag=True, help="Give the source back; only while nothing is served from the target.")
@click.option("--to", "to_app", type=click.Choice(["app"]), help="With no migration open: the application writes it.")
@common_options
def handover(ctx: Context, collection: str, undo: bool, to_app: str | None) -> None:
    """Let embedmig keep the old vectors up to date too, so that there is a way back from the switch.

    From then on an edit is embedded for both slots. Rows that have a vector are not touched; those with text and none
    are queued, after their number and cost were said.
    """
    from embedmig import commands

    if undo and to_app:
        raise click.UsageError("give --undo or --to app, not both")
    if undo:
        result = commands.handover_undo(ctx.db, collection, settings=ctx.settings)
    else:
        result = commands.handover(
            ctx.db,
            collection,
            to_app=to_app is not None,
            on_cost=lambda lacking: ctx.say(_cost(lacking)),
            settings=ctx.settings,
        )
    ctx.show(result, _describe)


def _cost(lacking: "Lacking") -> str:
    if not lacking.rows:
        return "every row with text has a source vector: nothing to queue"
    price = "" if lacking.price_about is None else f", about {lacking.price_about:.2f} at the model's price"
    return f"{lacking.rows} rows have text and no source vector: about {lacking.tokens_about} tokens{price}"


def _describe(result: "HandoverResult") -> str:
    who = "embedmig" if result.maintained_by == "embedmig" else "the application"
    lines = [
        f"slot {result.slot} of {result.collection} is {'now' if result.changed else 'already'} maintained by {who}"
    ]
    if result.queued_rows:
        lines.append(f"  {result.queued_rows} rows are queued: embedmig reembed {result.collection}")
    if result.way_back_ends_at is not None:
        lines.append(
            f"  its model is gone: rows written since {result.way_back_ends_at:%Y-%m-%d %H:%M} have no vector in it,"
            " and would be missing after a rollback"
        )
    return "\n".join(lines)
