"""embedmig detach"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options
from embedmig.cli.verbatim import verbatim

if TYPE_CHECKING:
    from rich.text import Text

    from embedmig.commands.contracting import Detached


@click.command()
@collection_argument
@click.option("--keep", metavar="SLOT", help="Which slot stays, while requests are served from the target.")
@click.option("--dry-run", is_flag=True, help="Print the SQL; change nothing.")
@click.option("--sql", "only_sql", is_flag=True, help="Print what frees your writes of our triggers; run nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--why", metavar="REASON", help="Kept in the event log.")
@common_options
def detach(
    ctx: Context, collection: str, keep: str | None, dry_run: bool, only_sql: bool, yes: bool, why: str | None
) -> None:
    """Take embedmig off a table: the target, triggers, labels and catalog rows go, the vectors you had stay.

    --sql works where the schema embedmig is broken or gone: it prints the statements that let your writes pass again.
    """
    from embedmig import commands

    if only_sql:
        ctx.show(commands.detach_sql(ctx.server, collection), _statements)
        return
    if not dry_run and not yes:
        _ask(ctx, commands.detach(ctx.db, collection, keep=keep, dry_run=True, settings=ctx.settings))
    result = commands.detach(ctx.db, collection, keep=keep, dry_run=dry_run, why=why, settings=ctx.settings)
    ctx.show(result, _describe)


def _ask(ctx: Context, planned: "Detached") -> None:
    if not ctx.can_ask:
        raise click.UsageError("detach cannot be undone: say --yes, or look first, --dry-run")
    gone = f", and drop the vectors of {', '.join(planned.dropped)}" if planned.dropped else ""
    click.confirm(f"Take embedmig off {planned.collection}{gone}?", abort=True)


def _statements(statements: list[str]) -> "Text":
    return verbatim([f"{statement};" for statement in statements] or ["-- no trigger of embedmig is there"])


def _describe(result: "Detached") -> "Text":
    if not result.done:
        return _statements(list(result.sql))
    lines = [f"embedmig is off {result.collection}: {', '.join(result.kept)} stays, written by the application alone"]
    if result.dropped:
        lines.append(f"  {', '.join(result.dropped)} is gone")
    if result.moved_to is not None:
        lines.append(f"  the companion is now the plain table {result.moved_to}")
    if result.revision is not None:
        lines.append(f"  {result.revision} says the same for your other databases; here it changes nothing")
    return verbatim(lines)
