"""embedmig rollout"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options

if TYPE_CHECKING:
    from embedmig.rollout.switching import Switched


@click.command()
@collection_argument
@click.argument("percent", type=click.FloatRange(0, 100))
@click.option(
    "--accept-report", metavar="REASON", help="Let the last report stand though it did not pass; the reason is kept."
)
@common_options
def rollout(ctx: Context, collection: str, percent: float, accept_report: str | None) -> None:
    """Set the share of requests, 0 to 100, that the new index serves.

    A rise needs a complete target, a valid index, a report that stands and a handover; all that is missing is
    listed. 100 is the switch: no unpinned query whose snapshot is taken after it is answered by the old index.
    """
    from embedmig.commands import rollout as set_share

    switched = set_share(ctx.db, collection, percent, accept_report=accept_report, settings=ctx.settings)
    ctx.show(switched, describe)


def describe(switched: "Switched") -> str:
    """The route in a sentence, and whom it could not move."""
    lines = [
        f"{switched.collection}: {switched.percent:g} % of requests go to the new index"
        f" (was {switched.was_percent:g} %), epoch {switched.epoch}"
    ]
    lines += [
        f"  not moved: pid {pin.pid} on {pin.host}, pinned to {pin.pin} by EMBEDMIG_ACTIVE_INDEX"
        for pin in switched.unmoved
    ]
    return "\n".join(lines)
