"""embedmig search"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from embedmig.commands.searching import SearchResult
    from embedmig.search.plan import Explanation


_KEY_WIDTH = 36


@click.command()
@collection_argument
@click.argument("text")
@click.option("-k", "--k", default=10, show_default=True, type=click.IntRange(1), help="How many, nearest first.")
@click.option("--where", metavar="SQL", help="A condition over the table's columns, such as \"lang = 'en'\".")
@click.option("--routing-key", metavar="KEY", help="Whose request it is; without one the text routes by itself.")
@click.option("--exact", is_flag=True, help="Compare every row instead of asking the index.")
@click.option("--explain", is_flag=True, help="Say which slot answers, of which model, and why.")
@common_options
def search(
    ctx: Context, collection: str, text: str, k: int, where: str | None, routing_key: str | None, exact: bool,
    explain: bool,
) -> None:  # fmt: skip
    """Find the rows nearest to a text, as your application would: by the stored route, or EMBEDMIG_ACTIVE_INDEX."""
    from embedmig.commands import search as find

    result = find(
        ctx.db, collection, text, k=k, where=where, routing_key=routing_key, exact=exact, explain=explain,
        settings=ctx.settings,
    )  # fmt: skip
    ctx.show(result, _render)


def _render(result: "SearchResult") -> "RenderableType":
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    keys = [", ".join(map(str, hit.key)) if isinstance(hit.key, tuple) else str(hit.key) for hit in result.hits]
    table = Table("distance", box=None, header_style="bold")
    # A key is there to be copied: a uuid stays whole, what is longer is broken and not cut.
    table.add_column("key", overflow="fold", min_width=min(_KEY_WIDTH, max(map(len, keys), default=0)))
    table.add_column("text")
    for hit, key in zip(result.hits, keys, strict=True):
        stale = Text(" (of an earlier text)", style="yellow") if hit.stale else Text("")
        table.add_row(f"{hit.distance:.4f}", Text(key), Text(hit.snippet) + stale)
    answer: RenderableType = table if result.hits else Text("nothing found")
    notes = [
        Text(f"note: {note}", style="yellow") for note in dict.fromkeys(n for hit in result.hits for n in hit.notes)
    ]
    explained = [] if result.explanation is None else [_explained(result.explanation)]
    return Group(*explained, answer, *notes) if explained or notes else answer


def _explained(explanation: "Explanation") -> "RenderableType":
    from rich.text import Text

    how = "every row is compared" if explanation.index is None else f"index {explanation.index}"
    return Text(
        f"slot {explanation.slot}, model {explanation.model}, epoch {explanation.epoch}, {how}\n"
        f"because {explanation.why}\n"
    )
