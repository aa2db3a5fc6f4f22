"""embedmig contract"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options
from embedmig.cli.verbatim import verbatim

if TYPE_CHECKING:
    from rich.text import Text

    from embedmig.commands.contracting import Contracted


@click.command()
@collection_argument
@click.option("--retire", "only_retire", is_flag=True, help="Only drop the old index: space back, vectors stay.")
@click.option("--keep-source", is_flag=True, help="Close the migration, and leave the old vectors, unmaintained.")
@click.option("--rename-column", is_flag=True, help="Give the new column the old one's name; says what it breaks.")
@click.option("--stability", "stability_days", type=click.FloatRange(0), metavar="DAYS", help="Other than 7 days.")
@click.option("--dry-run", is_flag=True, help="Print the SQL and what stands in the way; change nothing.")
@click.option("--force", is_flag=True, help="Do not wait for what time alone would bring.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--why", metavar="REASON", help="Kept in the event log.")
@common_options
def contract(
    ctx: Context,
    collection: str,
    only_retire: bool,
    keep_source: bool,
    rename_column: bool,
    stability_days: float | None,
    dry_run: bool,
    force: bool,
    yes: bool,
    why: str | None,
) -> None:
    """End the migration: drop the old index (retire), then the old vectors (drop), and close it.

    Refused before the stability period is over, while anything depends on the old column, while the application was
    seen writing it in the last 7 days, or while a process is pinned to it. With the old index the instant way back
    goes, with the old column every way back.
    """
    from embedmig import commands

    options = {"only_retire": only_retire, "keep_source": keep_source, "rename_column": rename_column, "force": force}
    if not dry_run and not yes:
        planned = commands.contract(
            ctx.db, collection, dry_run=True, stability_days=stability_days, settings=ctx.settings, **options
        )
        if planned.source is not None and not planned.refusals:
            _ask(ctx, planned, only_retire=only_retire)
    result = commands.contract(
        ctx.db, collection, dry_run=dry_run, stability_days=stability_days, why=why, settings=ctx.settings, **options
    )
    ctx.show(result, lambda made: _describe(made, dry_run=dry_run, only_retire=only_retire))


def _ask(ctx: Context, planned: "Contracted", *, only_retire: bool) -> None:
    """A person says yes to what cannot be undone; where nobody watches, --yes must say it."""
    if not ctx.can_ask:
        raise click.UsageError("contract cannot be undone: say --yes, or look first, --dry-run")
    for line in planned.noticed:
        ctx.say(f"  look first: {line}")
    for line in planned.breaks:
        ctx.say(f"  the renamed column breaks: {line}")
    if planned.save_command is not None and not only_retire:
        ctx.say(f"Save the old vectors first, from psql, if you may want them:\n  {planned.save_command}")
    what = "the index" if only_retire else "the index and the vectors"
    click.confirm(f"Drop {what} of {planned.source} of {planned.collection}?", abort=True)


def _describe(result: "Contracted", *, dry_run: bool, only_retire: bool) -> "Text":
    if result.source is None:
        return verbatim([f"no migration of {result.collection} is open: {result.target} is the only slot"])
    lines = _planned(result, only_retire=only_retire) if dry_run else _done(result)
    if result.rebuild_commands and (dry_run or "retire" in result.done):
        about = "" if result.rebuild_seconds_about is None else f", about {result.rebuild_seconds_about:.0f} s"
        lines.append(f"to have the old index again{about}:")
        lines += [f"  {command}" for command in result.rebuild_commands]
    lines += [f"the renamed column breaks: {line}" for line in result.breaks]
    lines += [f"look first: {line}" for line in result.noticed if dry_run]
    if result.revision is not None:
        lines.append(f"{result.revision} says the same for your other databases; here it changes nothing")
    return verbatim(lines)


def _planned(result: "Contracted", *, only_retire: bool) -> list[str]:
    lines = ["-- retire", *(f"{statement};" for statement in result.retire_sql)]
    if not only_retire:
        save = (
            [] if result.save_command is None else ["-- first, from psql, to save the old vectors", result.save_command]
        )
        lines = [*save, *lines, "-- drop", *(f"{statement};" for statement in result.drop_sql)]
    lines += [f"stands in the way: {why}" for why in result.refusals]
    return lines


def _done(result: "Contracted") -> list[str]:
    lines = []
    if "retire" in result.done and "drop" not in result.done:
        lines.append(
            f"{result.source} has no index any more: a way back would search it exactly, until it has one again"
        )
    if "drop" in result.done:
        lines.append(f"the migration of {result.collection} is closed: {result.target} is the only slot")
    if not result.done:
        lines.append(f"the index of {result.source} was gone already")
    if result.forced:
        lines.append(f"without waiting for: {', '.join(result.forced)}")
    return lines
