"""embedmig rollout"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options
from embedmig.cli.main import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from embedmig.rollout.switching import Switched
    from embedmig.rollout.walking import Look


@click.command()
@collection_argument
@click.argument("percent", type=click.FloatRange(0, 100), required=False)
@click.option("--auto", is_flag=True, help="Climb the steps to 100, each when the one before was held for its time.")
@click.option("--resume", is_flag=True, help="Go back to the last share held before a rollback.")
@click.option("--hold", type=click.FloatRange(0), metavar="HOURS", help="How long a share is held, not hold_hours.")
@click.option(
    "--accept-report",
    metavar="REASON",
    help="Let the last report stand though it did not pass, or is older than a rollback by a trigger; kept.",
)
@click.option("--accept-no-way-back", metavar="REASON", help="Go on though the old model is gone; kept.")
@common_options
def rollout(
    ctx: Context,
    collection: str,
    percent: float | None,
    auto: bool,
    resume: bool,
    hold: float | None,
    accept_report: str | None,
    accept_no_way_back: str | None,
) -> int:
    """Set the share of requests, 0 to 100, that the new index serves.

    A rise needs a complete target, a valid index, a report that stands, a handover, and the hold time of the last
    step to be over; all that is missing is listed. 100 is the switch: no unpinned query whose snapshot is taken
    after it is answered by the old index.
    """
    if (percent is not None) + (auto or resume) != 1:
        raise click.UsageError("name a share, 0 to 100, or --auto or --resume")
    from embedmig import commands

    reasons = {"accept_report": accept_report, "accept_no_way_back": accept_no_way_back}
    if auto:
        walked = commands.rollout_auto(
            ctx.db, collection, resume=resume, hold_hours=hold, settings=ctx.settings, on_look=_teller(ctx), **reasons
        )
        return INTERRUPTED if walked.outcome == "interrupted" else 0
    switched = commands.rollout(
        ctx.db, collection, percent, resume=resume, hold_hours=hold, settings=ctx.settings, **reasons
    )
    ctx.show(switched, describe)
    return 0


def describe(switched: "Switched") -> str:
    """The route in a sentence, what was left out or is to be held, and whom it could not move."""
    lines = [
        f"{switched.collection}: {switched.percent:g} % of requests go to the new index"
        f" (was {switched.was_percent:g} %), epoch {switched.epoch}"
    ]
    if switched.skipped:
        lines.append(f"  skipped: {', '.join(f'{step:g} %' for step in switched.skipped)}")
    if switched.hold_hours:
        lines.append(f"  held for {switched.hold_hours:g} hours before it may rise again")
    lines += [
        f"  not moved: pid {pin.pid} on {pin.host}, pinned to {pin.pin} by EMBEDMIG_ACTIVE_INDEX"
        for pin in switched.unmoved
    ]
    return "\n".join(lines)


def _teller(ctx: Context) -> "Callable[[Look], None]":
    """Says a look when it differs from the last one said; for machines, one JSON line each."""
    from embedmig.cli.as_json import dumps
    from embedmig.stages import in_words

    said: list[str] = []

    def tell(look: "Look") -> None:
        line = f"{look.collection}: {look.percent:g} % of requests go to the new index, epoch {look.epoch}"
        if look.next_percent is not None and look.hold_left_s:
            line += f"; then {look.next_percent:g} %, in about {in_words(look.hold_left_s)}"
        news = [f"{look.percent:g}", look.unreachable or "", look.outcome or ""]
        if said == news:
            return
        said[:] = news
        if ctx.as_json:
            click.echo(dumps(look))
            return
        ctx.say(line)
        if look.unreachable:
            ctx.say(f"  the database was not to be reached, looking again: {look.unreachable}")
        if look.outcome == "interrupted":
            ctx.say(f"  interrupted: go on with embedmig rollout {look.collection} --auto")

    return tell
