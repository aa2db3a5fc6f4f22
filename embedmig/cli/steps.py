"""The progress of work that goes in named steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedmig.cli.context import Context
    from embedmig.validation.comparing import StepProgress


@contextmanager
def show_steps(ctx: "Context") -> "Iterator[StepProgress | None]":
    """A bar where a person watches, else nothing."""
    if not ctx.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=ctx.console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(step: str, done: int, total: int | None) -> None:
            bar.update(task, description=step, completed=done, total=total)

        yield show
