"""embedmig reembed"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from embedmig.cli.context import Context, collection_argument, common_options
from embedmig.cli.durations import say_duration
from embedmig.cli.main import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from embedmig.backfill.progress import ReembedProgress
    from embedmig.backfill.results import ReembedResult

    OnProgress = Callable[[ReembedProgress], None]
    FloatType = click.ParamType[float]
    SizeType = click.ParamType[int | str]
else:
    FloatType = SizeType = click.ParamType


class _Share(FloatType):
    """``20%`` or ``0.2``."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            self.fail(f"{value!r} is no share: write 20% or 0.2", param, ctx)
        if not 0 < share <= 1:
            self.fail(f"{value} is not between 0% and 100%", param, ctx)
        return share


class _BatchSize(SizeType):
    """``512`` or ``auto``."""

    name = "batch size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "auto":
            return "auto"
        if not str(value).isdigit() or int(value) < 1:
            self.fail(f"{value!r} is no batch size: a number of rows from 1, or auto", param, ctx)
        return int(value)


_LIMIT = click.FloatRange(0)


@click.command()
@collection_argument
@click.option("--follow", is_flag=True, help="Go on embedding what is edited, until stopped.")
@click.option("--until", type=_Share(), metavar="SHARE", help="Embed a random part, such as 20%, and stop.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes, each with the model.")
@click.option(
    "--batch-size",
    type=_BatchSize(),
    metavar="ROWS|auto",
    help="Rows at a time; auto: by the time writing takes. [512]",
)
@click.option("--max-cost", type=_LIMIT, help="Stop when the job has cost so much, over all its runs; inf: no limit.")
@click.option("--max-rows", type=_LIMIT, help="Stop when the job has embedded so many rows, over all its runs.")
@click.option("--max-seconds", type=_LIMIT, help="Stop when the job has run so long, over all its runs.")
@click.option("--throttle", is_flag=True, help="Wait between batches while the database suffers (settings throttle_*).")
@click.option("--throttle-sql", metavar="SQL", help="Wait, too, while this query answers true, above 0, or a text.")
@common_options
def reembed(ctx: Context, collection: str, **options: Any) -> int:
    """Embed every row that lacks a vector, and every one that was edited. Ctrl-C keeps what is finished; run it again
    to go on, or at the same time on another machine to share the work.
    """
    from embedmig.commands import reembed as run

    follow: bool = options["follow"]
    with _progress(ctx, follow=follow) as on_progress:
        result = run(ctx.db, collection, **options, settings=ctx.settings, on_progress=on_progress)
    ctx.show(result, _describe)
    return INTERRUPTED if result.outcome == "interrupted" and not follow else 0


@contextmanager
def _progress(ctx: Context, *, follow: bool) -> "Iterator[OnProgress]":
    if ctx.is_terminal:
        with _bar(ctx, follow=follow) as show:
            yield show
    else:
        yield _lines()


def _lines() -> "OnProgress":
    """One JSON line a step, at most one a second within a phase, on standard error: --json prints one document."""
    from embedmig.cli.as_json import dumps

    last: list[tuple[str, float]] = []

    def show(step: "ReembedProgress") -> None:
        if last and last[0][0] == step.phase and step.seconds - last[0][1] < 1:
            return
        last[:] = [(step.phase, step.seconds)]
        click.echo(dumps(step), err=True)

    return show


@contextmanager
def _bar(ctx: Context, *, follow: bool) -> "Iterator[OnProgress]":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = [] if follow else [BarColumn(), MofNCompleteColumn()]
    with Progress(
        TextColumn("{task.description}"), *columns, TextColumn("{task.fields[said]}"), console=ctx.console
    ) as bar:
        task = bar.add_task("planning", total=None, said="")

        def show(step: "ReembedProgress") -> None:
            bar.update(
                task,
                description=step.phase,
                total=step.rows_planned or None,
                completed=step.rows_done,
                said=_said(step),
            )

        yield show


def _said(step: "ReembedProgress") -> str:
    parts = [f"{step.rows_per_s:,.0f} rows/s", f"{step.tokens_per_s:,.0f} tokens/s"]
    if step.cost is not None:
        parts.append(f"cost {step.cost:.4g}")
    if step.phase == "paused":
        parts.append(f"embedmig resume {step.collection} goes on")
    if step.eta_s is not None:
        parts.append(f"{say_duration(step.eta_s)} left")
    if step.queued:
        parts.append(f"{step.queued:,} queued, {step.lag_s:.0f} s behind")
    if step.failures:
        parts.append(f"{step.failures:,} failed")
    if step.held_back:
        parts.append(f"held back by {step.held_back}")
    return ", ".join(parts)


def _describe(result: "ReembedResult") -> str:
    from rich.markup import escape

    return escape("\n".join(_summary(result)))


def _summary(result: "ReembedResult") -> list[str]:
    name = result.collection
    ends = {
        "done": "every row is embedded",
        "part": f"the part is embedded; embedmig reembed {name} does the rest",
        "interrupted": f"interrupted; what is finished is kept, embedmig reembed {name} goes on",
        "cancelled": "the job was cancelled; what is finished is kept",
        "budget": f"stopped by its budget: {result.budget_reached}; what is finished is kept. To go on, give"
        f" that limit again, higher or inf: embedmig reembed {name}",
        "unfinished": f"rows still lack a vector; see embedmig verify {name}, and run it again",
    }
    lines = [
        f"{name}: {ends[result.outcome]}",
        f"  {result.rows:,} vectors in {say_duration(result.seconds)}, {result.rows_per_s:,.0f} rows/s,"
        f" {'' if result.tokens_are_billed else 'about '}{result.tokens:,} tokens"
        + ("" if result.cost is None else f", cost {result.cost:.4g}"),
    ]
    for slot in result.slots:
        census = slot.census
        lines.append(
            f"  {slot.slot} ({slot.model}): {census.true:,} true, {census.bridged:,} bridged, {census.missing:,}"
            f" missing, {census.stale:,} stale"
        )
    lines += [f"  not watched: {what}" for what in result.not_watched]
    lines += [f"  {text.format(count)}" for count, text in _notes(result) if count]
    return lines


def _notes(result: "ReembedResult") -> list[tuple[int, str]]:
    return [
        (result.failures, f"{{:,}} rows could not be embedded: embedmig failures list {result.collection}"),
        (result.queued, "{:,} edits are queued: reembed --follow keeps up with them"),
        (result.truncated, "{:,} texts are longer than the model takes: embedded by their beginning"),
        (result.repeated_texts, "{:,} texts were the same as another row's, and embedded once"),
    ]
