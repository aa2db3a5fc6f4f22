"""embedmig jobs"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, common_options
from embedmig.cli.durations import say_duration

if TYPE_CHECKING:
    from embedmig.backfill.job_control import JobShown


@click.command()
@click.argument("collection", required=False)
@common_options
def jobs(ctx: Context, collection: str | None) -> None:
    """Re-embeddings under way, from any terminal: how far, how fast, at what cost, who works on them, what holds them
    back.
    """
    from embedmig.commands import jobs as list_them

    ctx.show(list_them(ctx.db, collection), _describe)


def _describe(shown: "list[JobShown]") -> str:
    from rich.markup import escape

    if not shown:
        return "no job is open"
    return escape("\n".join(line for job in shown for line in _lines(job)))


def _lines(job: "JobShown") -> list[str]:
    spent = job.spent
    about = "" if spent.billed else "about "
    share = f" ({job.rows_done / job.rows_planned:.0%})" if job.rows_planned else ""
    lines = [
        f"{job.collection} {job.slot} ({job.model}): {job.state}",
        f"  {job.rows_done:,} of {job.rows_planned:,} rows{share}, {job.rows_per_s:,.0f} rows/s"
        + ("" if job.eta_s is None else f", {say_duration(job.eta_s)} left"),
        f"  {about}{spent.tokens:,} tokens"
        + ("" if spent.cost is None else f", cost {about}{spent.cost:.4g}")
        + f", ran for {say_duration(spent.seconds)}{_budget(job)}",
    ]
    if spent.requests:
        lines.append(f"  {spent.requests:,} requests, {spent.retries:,} of them again")
    if job.failures:
        lines.append(f"  {job.failures:,} rows failed: embedmig failures list {job.collection}")
    if job.queued:
        lines.append(f"  {job.queued:,} edits queued, {job.lag_s:.0f} s behind")
    if job.held_back:
        lines.append(f"  held back by {job.held_back}")
    lines += [f"  {run.phase}: pid {run.pid} on {run.host}, {run.workers} workers" for run in job.runs]
    lines += [f"  {held.worker}: {held.chunks} chunks, lease {held.lease_left_s:.0f} s" for held in job.workers]
    return lines


def _budget(job: "JobShown") -> str:
    budget = job.budget
    limits = [
        f"{name} {value:,g}"
        for name, value in (
            ("--max-cost", budget.max_cost),
            ("--max-rows", budget.max_rows),
            ("--max-seconds", budget.max_seconds),
        )
        if value is not None
    ]
    return f"; budget {', '.join(limits)}" if limits else ""
