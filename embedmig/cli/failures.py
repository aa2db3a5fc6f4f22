"""embedmig failures list|retry|ignore"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from embedmig.commands.backfills import FailuresChanged, FailuresListed

slot_option = click.option("--slot", metavar="NAME", help="Which slot.  [the migration's target]")
keys_option = click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY",
    help="This row; its parts separated by commas where the key has several. Can be repeated.  [all that failed]",
)


@click.group()
def failures() -> None:
    """Rows that could not be embedded."""


@failures.command("list")
@collection_argument
@slot_option
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1), help="How many, newest first.")
@common_options
def list_(ctx: Context, collection: str, slot: str | None, limit: int) -> None:
    """Which rows, and why."""
    from embedmig.commands import failures_list

    ctx.show(failures_list(ctx.db, collection, slot=slot, limit=limit), _table)


@failures.command()
@collection_argument
@slot_option
@keys_option
@common_options
def retry(ctx: Context, collection: str, slot: str | None, keys: tuple[str, ...]) -> None:
    """Queue them again, for the next reembed."""
    from embedmig.commands import failures_retry

    ctx.show(failures_retry(ctx.db, collection, slot=slot, keys=_split(keys)), _changed)


@failures.command()
@collection_argument
@slot_option
@keys_option
@common_options
def ignore(ctx: Context, collection: str, slot: str | None, keys: tuple[str, ...]) -> None:
    """Let the slot count as complete without them; an edit of such a row tries it again."""
    from embedmig.commands import failures_ignore

    ctx.show(failures_ignore(ctx.db, collection, slot=slot, keys=_split(keys)), _changed)


def _split(keys: tuple[str, ...]) -> list[tuple[str, ...]] | None:
    """As CSV, so that a part which holds a comma can be quoted."""
    import csv

    return [tuple(next(csv.reader([key]))) for key in keys] if keys else None


def _table(found: "FailuresListed") -> "RenderableType":
    from rich.markup import escape
    from rich.table import Table

    if not found.failures:
        return f"no row of {escape(found.collection)} failed in {found.slot}"
    table = Table("key", "why", "tries", "last", "ignored", box=None, header_style="bold")
    for failure in found.failures:
        table.add_row(
            escape(", ".join(failure.key)),
            escape(failure.reason),
            str(failure.attempts),
            f"{failure.failed_at:%Y-%m-%d %H:%M:%S}",
            "yes" if failure.ignored else "",
        )
    return table


def _changed(done: "FailuresChanged") -> str:
    from rich.markup import escape

    if done.verb == "retry":
        said = f"{done.rows:,} rows are queued again in {done.slot}: embedmig reembed {done.collection} tries them"
    else:
        said = f"{done.rows:,} rows of {done.slot} are ignored from now on"
    return escape(said)
