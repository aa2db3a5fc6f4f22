"""embedmig judge"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options

if TYPE_CHECKING:
    from rich.console import Console

    from embedmig.commands.judging import JudgingResult
    from embedmig.validation.preferences import Choice


@click.command()
@collection_argument
@click.option("--report", "number", type=int, help="Which report's queries.  [the newest]")
@click.option("--as", "name", metavar="NAME", help="Under whose name the verdicts are kept.  [your user name]")
@click.option("--limit", type=click.IntRange(1), help="At most so many queries now.")
@click.option("--seed", default=0, show_default=True, help="Of the order and the sides.")
@common_options
def judge(ctx: Context, collection: str, number: int | None, name: str | None, limit: int | None, seed: int) -> None:
    """Which list is better? Say so for the queries whose results changed, without knowing which model made which.

    Two lists stand side by side, on sides that chance chose. Answer with 1 (the left one is better), 2 (the right
    one), e (equal), s (skip), or q (enough for now): the next session goes on from there.
    """
    import getpass

    from rich.console import Console

    from embedmig.commands import judge as ask

    console = Console(highlight=False, stderr=ctx.as_json)
    judge_name = name or getpass.getuser()
    person = _Person(console)
    result = ask(
        ctx.db, collection, person, name=judge_name, report_id=number, limit=limit, seed=seed, settings=ctx.settings
    )
    ctx.show(result, _end)


class _Person:
    """Someone at a terminal."""

    def __init__(self, console: "Console") -> None:
        self._console = console

    def prefer(self, query: str, left: Sequence[str], right: Sequence[str]) -> "Choice | None":
        from embedmig.validation.preferences import Choice

        self._show(query, left, right)
        answers = {"1": Choice.LEFT, "2": Choice.RIGHT, "e": Choice.EQUAL, "s": Choice.SKIP}
        while True:
            try:
                said = self._console.input("1 left, 2 right, e equal, s skip, q quit: ").strip().lower()
            except EOFError:
                return None
            if said == "q":
                return None
            if said in answers:
                return answers[said]

    def _show(self, query: str, left: Sequence[str], right: Sequence[str]) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(query, style="bold"), title_justify="left", show_lines=True, expand=True)
        table.add_column("", width=2)
        for side in ("1: left", "2: right"):
            table.add_column(side, ratio=1)
        for place in range(max(len(left), len(right))):
            rows = [
                Text(side[place][:200], style="" if side[place] in other else "bold") if place < len(side) else Text()
                for side, other in ((left, right), (right, left))
            ]
            table.add_row(str(place + 1), *rows)
        self._console.print(table)


def _end(result: "JudgingResult") -> str:
    from rich.markup import escape

    left = f"{result.left:,} queries left to judge" if result.left else "no query left to judge"
    lines = [f"report {result.report}: {result.said:,} verdicts kept, {left}"]
    if result.summary is not None:
        lines.append(escape(str(result.summary)))
    return "\n".join(lines)
