"""embedmig index"""

from typing import TYPE_CHECKING, Any

import click

from embedmig.cli.context import Context, collection_argument, common_options
from embedmig.cli.verbatim import verbatim

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from embedmig.commands.indexing import Indexed
    from embedmig.schema.index_building import IndexProgress


@click.command()
@collection_argument
@click.option("--slot", help="Another slot than the open migration's target.")
@click.option("--kind", type=click.Choice(["hnsw", "ivfflat"]), help="As the source's index when left out, else hnsw.")
@click.option("--m", type=int, help="HNSW: links a row and layer; 16 when left out.")
@click.option("--ef-construction", type=int, help="HNSW: candidates while building; 64 when left out.")
@click.option("--lists", type=int, help="IVFFlat: rows / 1000 when left out.")
@click.option("--maintenance-work-mem", metavar="SIZE", help="For this build only, such as 4GB.")
@click.option("--parallel-workers", type=click.IntRange(0), help="For this build only.")
@common_options
def index(ctx: Context, collection: str, **options: Any) -> None:
    """Build the new slot's index, without blocking reads or writes.

    Ctrl-C cancels the build and drops what was half made; running it again begins the build anew.
    """
    from embedmig.commands import index as build

    with _Watch(ctx) as show:
        built = build(ctx.db, collection, on_progress=show, settings=ctx.settings, **options)
    ctx.show(built, _built)


class _Watch:
    """A bar at a terminal; elsewhere one JSON line a phase and a tenth of it, on standard error."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._seen = ""

    def __enter__(self) -> "Callable[[IndexProgress], None]":
        if not self._ctx.is_terminal:
            return self._line
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=self._ctx.console,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=None)
        self._bar.start()
        return self._advance

    def __exit__(self, *exc: object) -> None:
        if hasattr(self, "_bar"):
            self._bar.stop()

    def _advance(self, progress: "IndexProgress") -> None:
        from rich.markup import escape

        waits = f", for pid {progress.waits_for_pid}" if progress.waits_for_pid else ""
        self._bar.update(
            self._task,
            description=escape(f"{progress.index}: {progress.phase}{waits}"),
            total=None if progress.share is None else 1.0,
            completed=progress.share or 0.0,
        )

    def _line(self, progress: "IndexProgress") -> None:
        from embedmig.cli.as_json import dumps

        step = f"{progress.index} {progress.phase} {10 * (progress.share or 0):.0f}"
        if step != self._seen:
            self._seen = step
            click.echo(dumps(progress), err=True)


def _built(result: "Indexed") -> "RenderableType":
    from rich.console import Group
    from rich.markup import escape

    from embedmig.cli.sizes import print_bytes

    i = result.index
    size = print_bytes(i.size_bytes)
    if i.built:
        memory = f"maintenance_work_mem {print_bytes(i.maintenance_work_mem_bytes)}, {i.parallel_workers} workers"
        lines = [f"[bold]{escape(', '.join(i.names))}[/] built in {i.seconds:.1f} s, {size} ({memory})"]
    else:
        lines = [f"[bold]{escape(', '.join(i.names))}[/] is there and valid, {size}: nothing to do"]
    lines += [f"- dropped {escape(name)}, left INVALID by an earlier build" for name in i.dropped_invalid]
    if result.checks_validated:
        lines.append(f"- {result.checks_validated} checks validated")
    lines += [f"- {escape(note)}" for note in i.notes]
    if result.revision is not None:
        lines.append(f"- {escape(str(result.revision))} says the same for your other databases")
    statements = [verbatim([f"  {statement}" for statement in i.statements])] if i.statements else []
    return Group("\n".join(lines), *statements)
