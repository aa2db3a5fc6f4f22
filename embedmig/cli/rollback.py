"""embedmig rollback"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options

if TYPE_CHECKING:
    from embedmig.commands.routing import RolledBack


@click.command()
@collection_argument
@click.option("--if-complete", is_flag=True, help="Count first, and refuse when the old index lacks rows.")
@click.option("--why", metavar="REASON", help="Kept in the event log.")
@common_options
def rollback(ctx: Context, collection: str, if_complete: bool, why: str | None) -> int:
    """Send every request back to the old index, now; then say which rows it lacks.

    Exits 1 when processes are pinned to the new index by EMBEDMIG_ACTIVE_INDEX: they are listed, and only their own
    environment can move them.
    """
    from embedmig.commands import rollback as go_back

    result: RolledBack = go_back(ctx.db, collection, if_complete=if_complete, why=why)
    ctx.show(result, _describe)
    return 1 if result.switched.unmoved else 0


def _describe(result: "RolledBack") -> str:
    from embedmig.cli.rollout import describe

    lacking = result.missing_rows + result.stale_rows
    lines = [describe(result.switched)]
    if lacking or result.queued_rows:
        lines.append(
            f"  {result.source} lacks {result.missing_rows} rows and has {result.stale_rows} of an earlier text;"
            f" {result.queued_rows} are queued: embedmig reembed {result.switched.collection}"
        )
    else:
        lines.append(f"  {result.source} has a vector for every row")
    if result.way_back_ended and lacking:
        lines.append("  the old model was gone at handover: those rows cannot be embedded for it")
    return "\n".join(lines)
