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

    Where the old model is gone, queries go back through a query adapter if there is one. Exits 1 when there is none, so
    that no text can be embedded for the old index; and when processes are pinned to the new index by
    EMBEDMIG_ACTIVE_INDEX: they are listed, and only their own environment can move them.
    """
    from embedmig.commands import rollback as go_back

    result: RolledBack = go_back(ctx.db, collection, if_complete=if_complete, why=why)
    ctx.show(result, _describe)
    return 1 if result.switched.unmoved or result.switched.unreachable else 0


def _describe(result: "RolledBack") -> str:
    from embedmig.cli.rollout import describe

    lacking = result.missing_rows + result.stale_rows
    lines = [describe(result.switched)]
    lines += [f"  the old model is gone: queries are mapped by adapter {one}" for one in result.switched.through]
    lines += [f"  {one}" for one in result.switched.unreachable]
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
