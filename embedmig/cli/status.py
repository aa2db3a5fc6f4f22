"""embedmig status"""

import os
from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, common_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from embedmig.backfill.impressions import Impressions
    from embedmig.backfill.job_control import JobShown
    from embedmig.commands.watching import CollectionStatus, SlotStatus


@click.command()
@click.argument("collection", required=False)
@click.option("--count/--no-count", default=None, help="Read the whole tables for exact counts (default: small ones).")
@common_options
def status(ctx: Context, collection: str | None, count: bool | None) -> None:
    """Where each collection stands, what serves, what comes next, and the command that leads back."""
    from embedmig.commands import status as look

    ctx.show(look(ctx.db, collection, count=count, settings=ctx.settings), _page)


def _page(found: "list[CollectionStatus]") -> "RenderableType":
    from rich.console import Group

    if not found:
        return "No collection is registered: embedmig init, or embedmig collection add"
    return Group(*(_describe(each) for each in found))


def _describe(one: "CollectionStatus") -> "RenderableType":
    from rich.console import Group
    from rich.markup import escape

    from embedmig.cli.ramp_lines import describe_ramp

    way = f"{one.source} -> {one.target}" if one.target else one.source
    lines = [
        f"[bold]{one.collection}[/bold]  {escape(one.table)}  {way}  stage: [bold]{one.stage.value}[/bold]",
        *(f"  {slot.name:<7} {escape(_place(slot))}" for slot in one.slots),
        f"  route   {_route(one)}",
    ]
    lines += [f"  debt    {escape(line)}" for slot in one.slots for line in _debt(slot, one.collection)]
    lines += [f"  env     {name}={value} in this shell wins over the route here" for name, value in _pins_here(one)]
    lines += [
        f"  pinned  pid {pin.pid} on {pin.host} to {pin.pin} ({pin.slot}), seen {pin.seen_at:%H:%M:%S}"
        for pin in one.pins
    ]
    lines += [f"  job     {escape(_job(job))}" for job in one.jobs]
    if one.impressions is not None:
        lines.append(f"  shown   {_shown(one.impressions)}")
    lines += [f"  {escape(line)}" for line in describe_ramp(one.ramp, one.source, one.target)]
    if one.report:
        lines.append(f"  report  {escape(one.report)}")
    if one.handover_at:
        lines.append(f"  edits   embedded for both slots since {one.handover_at:%Y-%m-%d %H:%M}")
    if one.way_back_ends_at:
        lines.append(
            f"  no way back for rows written since {one.way_back_ends_at:%Y-%m-%d %H:%M}: the old model is gone"
        )
    lines += [f"  missing {escape(reason)}" for reason in one.missing_for_ramp]
    lines.append(f"  next    [bold]{escape(one.next.command)}[/bold]  ({escape(one.next.why)})")
    if one.back:
        lines.append(f"  back    [bold]{one.back}[/bold]")
    return Group(lines[0], _slots(one.slots), *lines[1:], "")


def _route(one: "CollectionStatus") -> str:
    since = f"since {one.route_since:%Y-%m-%d %H:%M}, epoch {one.epoch}"
    if one.target is None:
        return f"all requests to {one.source}, {since}"
    return f"{one.percent:g} % to {one.target}, {100 - one.percent:g} % to {one.source}, {since}"


def _job(job: "JobShown") -> str:
    said = f"{job.slot} {job.state}: {job.rows_done:,} of {job.rows_planned:,} rows, {job.rows_per_s:,.0f} rows/s"
    return said if job.held_back is None else f"{said}, held back by {job.held_back}"


def _shown(seen: "Impressions") -> str:
    if seen.true_share is None or seen.true_share_now is None:
        return f"nothing of {seen.slot} to a search yet, and bridged rows are in it"
    left = f"{seen.rows_to_99_percent:,} rows more make it 99 %" if seen.rows_to_99_percent else "99 % are reached"
    return (
        f"{seen.true_share:.1%} of {seen.shown:,} hits of {seen.slot} since yesterday were of true vectors,"
        f" {seen.true_share_now:.1%} would be now; {left}"
    )


def _pins_here(one: "CollectionStatus") -> list[tuple[str, str]]:
    from embedmig.search.routing import VARIABLE, variable_of

    names = (VARIABLE, variable_of(one.collection))
    return [(name, os.environ[name]) for name in names if os.environ.get(name, "auto") != "auto"]


def _slots(slots: "list[SlotStatus]") -> "RenderableType":
    from rich.table import Table

    # Narrow enough for 80 columns with counts in millions: what is long stands on lines of its own below.
    table = Table(box=None, header_style="dim", pad_edge=True)
    table.add_column("slot")
    table.add_column("model", overflow="fold")
    for name in ("true", "bridged", "missing", "stale", "declared", "queued"):
        table.add_column(name, justify="right", no_wrap=True)
    for slot in slots:
        counts = slot.census
        numbers = (
            ("?", "?", "?", "?", "?")
            if counts is None
            else tuple(f"{n:,}" for n in (counts.true, counts.bridged, counts.missing, counts.stale, counts.unrecorded))
        )
        model = slot.model if slot.model_state == "available" else f"{slot.model} ({slot.model_state})"
        failed = f" +{slot.tail.failed} failed" if slot.tail.failed else ""
        table.add_row(slot.name, model, *numbers, f"{slot.tail.queued:,}{failed}")
    return table


def _debt(slot: "SlotStatus", collection: str) -> list[str]:
    debt = slot.debt
    if debt is None:
        if slot.model_state != "gone":
            return []
        return [f"{slot.name}: {slot.model} is gone, so that it answers no text: embedmig adapter fit {collection}"]
    lines = [
        f"{slot.name} is asked with {debt.asked_model} through adapter {debt.adapter} since {debt.since:%Y-%m-%d %H:%M}"
    ]
    if debt.share is not None and debt.interval is not None:
        low, high = debt.interval
        lines.append(f"  keeping {debt.share:.1%} [{low:.1%} to {high:.1%}] of its ranking, held out at the fit")
    if debt.drifted:
        lines.append(f"  it has drifted since: embedmig adapter eval {collection} {debt.adapter}")
    if not debt.usable:
        lines.append(f"  UNUSABLE, a model has another fingerprint than at the fit: embedmig adapter fit {collection}")
    return lines


def _place(slot: "SlotStatus") -> str:
    keeper = "the application" if slot.maintained_by == "app" else "embedmig"
    return f"{slot.placement}, maintained by {keeper}, {_index(slot)}"


def _index(slot: "SlotStatus") -> str:
    if slot.index.building_pid is not None:
        return f"index being built by pid {slot.index.building_pid}"
    if slot.index.name is None:
        return "no index"
    return f"index {slot.index.name}" if slot.index.valid else f"index {slot.index.name} INVALID"
