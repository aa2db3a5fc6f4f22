"""embedmig bridge"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options
from embedmig.cli.durations import say_duration
from embedmig.cli.main import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from embedmig.backfill.bridging import BridgeProgress
    from embedmig.commands.bridging import BridgeResult

    OnProgress = Callable[[BridgeProgress], None]


@click.command()
@collection_argument
@click.option("--adapter", metavar="NAME", help="Which bridge: by default the newest that fits, or one fitted now.")
@click.option("--with-text", is_flag=True, help="Fit a bridge that reads the rows' texts too: better, and slower.")
@common_options
def bridge(ctx: Context, collection: str, adapter: str | None, with_text: bool) -> int:
    """Map every stored vector into the new model's space: a complete slot within minutes, no model is called for it.
    Searches run on it with the new model's queries; reembed replaces the bridged vectors. Ctrl-C keeps what is written.
    """
    from embedmig.commands import bridge as run

    with _progress(ctx) as on_progress:
        result = run(
            ctx.db,
            collection,
            adapter=adapter,
            with_text=with_text,
            settings=ctx.settings,
            on_progress=on_progress,
            on_fit=lambda command: click.echo(f"no bridge is fitted yet: {command}", err=True),
        )
    ctx.show(result, _describe)
    return INTERRUPTED if result.outcome == "interrupted" else 0


@contextmanager
def _progress(ctx: Context) -> "Iterator[OnProgress]":
    if ctx.is_terminal:
        with _bar(ctx) as show:
            yield show
    else:
        yield _lines()


def _lines() -> "OnProgress":
    """One JSON line a step, at most one a second, on standard error: --json prints one document."""
    import time

    from embedmig.cli.as_json import dumps

    last = [0.0]

    def show(step: "BridgeProgress") -> None:
        now = time.monotonic()
        if now - last[0] >= 1 or step.rows_seen == step.rows_planned:
            last[0] = now
            click.echo(dumps(step), err=True)

    return show


@contextmanager
def _bar(ctx: Context) -> "Iterator[OnProgress]":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    with Progress(
        TextColumn("bridging"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
        console=ctx.console,
    ) as bar:
        task = bar.add_task("bridging", total=None, said="")

        def show(step: "BridgeProgress") -> None:
            left = "" if step.eta_s is None else f", {say_duration(step.eta_s)} left"
            said = f"{step.rows_per_s:,.0f} rows/s{left}"
            bar.update(task, total=step.rows_planned or None, completed=step.rows_seen, said=said)

        yield show


def _describe(result: "BridgeResult") -> str:
    from rich.markup import escape

    return escape("\n".join(_summary(result)))


def _summary(result: "BridgeResult") -> list[str]:
    name, slot = result.collection, result.slot
    lines = [
        f"{name} {slot}: {result.rows_written:,} rows bridged by {result.adapter} ({result.kind}) in"
        f" {say_duration(result.seconds)}, {result.rows_per_s:,.0f} rows/s"
    ]
    if result.outcome == "interrupted":
        return [*lines, f"  interrupted; what is written is kept, embedmig bridge {name} goes on"]
    if result.census is not None:
        census = result.census
        lines.append(f"  {census.true:,} true, {census.bridged:,} bridged, {census.missing:,} missing")
    if result.queued:
        lines.append(f"  {result.queued:,} rows had no source vector to map and are queued: embedmig reembed {name}")
    if result.index is not None and result.rows_written:
        lines.append(f"  {result.index} took every row in one by one: REINDEX INDEX CONCURRENTLY it in a quiet hour")
    if not result.filled:
        lines.append(
            f"  {slot} is not filled yet: embedmig reembed {name}, or embedmig bridge {name} once more after it"
        )
    else:
        lines.append(f"  next: embedmig index {name}, embedmig validate {name}; embedmig reembed {name} replaces them")
    return lines
