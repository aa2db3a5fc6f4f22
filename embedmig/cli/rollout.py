"""embedmig rollout"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options
from embedmig.cli.main import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from embedmig.rollout.switching import Switched
    from embedmig.rollout.watching import Look


@click.command()
@collection_argument
@click.argument("percent", type=click.FloatRange(0, 100), required=False)
@click.option("--auto", is_flag=True, help="Climb the steps to 100, each when the one before was held for its time.")
@click.option("--watch", is_flag=True, help="Change nothing but when a rollback trigger fires: then roll back.")
@click.option("--resume", is_flag=True, help="Go back to the last share held before a rollback.")
@click.option("--hold", type=click.FloatRange(0), metavar="HOURS", help="How long a share is held, not hold_hours.")
@click.option(
    "--accept-report",
    metavar="REASON",
    help="Let the last report stand though it did not pass, or is older than a rollback by a trigger; kept.",
)
@click.option("--accept-no-way-back", metavar="REASON", help="Go on though the old model is gone; kept.")
@click.option(
    "--accept-unproven", metavar="REASON", help="Go on though the rollback triggers have seen too little to tell; kept."
)
@common_options
def rollout(
    ctx: Context,
    collection: str,
    percent: float | None,
    auto: bool,
    watch: bool,
    resume: bool,
    hold: float | None,
    accept_report: str | None,
    accept_no_way_back: str | None,
    accept_unproven: str | None,
) -> int:
    """Set the share of requests, 0 to 100, that the new index serves.

    A rise needs a complete target, a valid index, a report that stands, a handover, and the hold time of the last
    step to be over; all that is missing is listed. 100 is the switch: no unpinned query whose snapshot is taken
    after it is answered by the old index.
    """
    if (percent is not None) + (auto or resume) + watch != 1:
        raise click.UsageError("name a share, 0 to 100, or one of --auto, --resume and --watch")
    from embedmig import commands

    if watch:
        seen = commands.rollout_watch(ctx.db, collection, settings=ctx.settings, on_look=_teller(ctx))
        return 0 if seen.outcome == "interrupted" else 1
    reasons = {
        "accept_report": accept_report,
        "accept_no_way_back": accept_no_way_back,
        "accept_unproven": accept_unproven,
    }
    if auto:
        walked = commands.rollout_auto(
            ctx.db, collection, resume=resume, hold_hours=hold, settings=ctx.settings, on_look=_teller(ctx), **reasons
        )
        return {"switched": 0, "interrupted": INTERRUPTED}.get(walked.outcome or "", 1)
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

    said: list[object] = []

    def tell(look: "Look") -> None:
        verdicts = [(state.name, state.verdict) for state in look.triggers]
        news: list[object] = [
            look.percent, look.unreachable is None, look.outcome, verdicts, look.suspects, look.unguarded,
        ]  # fmt: skip
        if said == news:
            return
        said[:] = news
        if ctx.as_json:
            click.echo(dumps(look))
            return
        for line in _describe_look(look):
            ctx.say(line)

    return tell


def _describe_look(look: "Look") -> list[str]:
    from embedmig.stages import in_words

    name = look.collection
    if look.outcome == "rolled back":
        return [f"{name}: rolled back to 0 %, epoch {look.epoch}: {look.why}"]
    if look.outcome == "taken back":
        return [f"{name}: somebody took the share back to {look.percent:g} %: the walk ends here"]
    if look.outcome == "interrupted":
        return [f"{name}: interrupted at {look.percent:g} %; the same command goes on there"]
    if look.unreachable:
        return [f"{name}: the database was not to be reached, looking again: {look.unreachable}"]
    line = f"{name}: {look.percent:g} % of requests go to the new index, epoch {look.epoch}"
    if look.next_percent is not None and look.hold_left_s:
        line += f"; {look.next_percent:g} % in about {in_words(look.hold_left_s)} at the earliest"
    lines = [line, *(f"  {state.verdict.value:8} {state}" for state in look.triggers if 0 < look.percent < 100)]
    lines += [f"  guard    {suspect}" for suspect in look.suspects]
    return lines if look.unguarded is None else [*lines, f"  guard    cannot look: {look.unguarded}"]
