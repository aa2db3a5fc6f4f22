"""embedmig plan"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from embedmig.commands.planning import IndexPlan, Plan


@click.command()
@collection_argument
@click.option("--to", "model", required=True, metavar="MODEL", help="The model to move to, as name@revision.")
@click.option("--measure/--no-measure", default=True, help="Embed a small sample to tell the time, where it is free.")
@click.option("--sql/--no-sql", "show_sql", default=True, show_default=True, help="Print what expand would run.")
@common_options
def plan(ctx: Context, collection: str, model: str, measure: bool, show_sql: bool) -> None:
    """Rows, tokens, cost, hours, disk, placement, locks, and who will notice. Changes nothing."""
    from embedmig.commands import plan as foretell

    told = foretell(ctx.db, collection, model, measure=measure)
    ctx.show(told, _shown)
    if told.sql and show_sql and not ctx.as_json:
        ctx.say(f"\nexpand would run (embedmig expand {told.collection} --to {told.model}):")
        # Not through the console, which would break lines that somebody wants to copy.
        click.echo("\n".join(f"{statement};" for statement in told.sql))


def _shown(told: "Plan") -> "RenderableType":
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    facts = Table.grid(padding=(0, 2))
    for label, value in _rows(told):
        facts.add_row(f"[bold]{label}[/]", escape(value))
    parts: list[RenderableType] = [
        f"[bold]{escape(told.collection)}[/]: {escape(told.source_model)} ({told.source}) to {escape(told.model)}",
        facts,
        "",
        _writes(told),
        *(f"- {escape(name)} cannot be: {escape(reason)}" for name, reason in told.blocked.items()),
        f"[bold]placement: {told.placement.value}[/] ({escape(told.why)})",
    ]
    for title, lines in (
        ("what each placement does", _consequences(told)),
        ("who will notice", _noticed(told)),
        ("or a bridge, and the rows as searches bring them up", _bridge(told)),
        ("locks", told.locks),
        ("beware", told.warnings),
    ):
        if lines:
            parts += ["", f"[bold]{title}[/]", *(f"- {escape(line)}" for line in lines)]
    if told.refusal:
        parts += ["", f"[bold]expand would refuse now:[/] {escape(told.refusal)}"]
    return Group(*parts)


def _rows(told: "Plan") -> list[tuple[str, str]]:
    from embedmig.cli.sizes import print_seconds

    e = told.embedding
    cost = "no price is known: embedmig model set --price" if e.cost is None else f"{e.cost:,.2f}"
    time = e.how if told.seconds is None else f"about {print_seconds(told.seconds)}: {e.how}"
    rate = "" if e.rows_per_s is None else f", {e.rows_per_s:,.0f} rows/s"
    return [
        ("rows", f"{_about(told.rows_are_exact)}{told.rows:,}"),
        ("to embed", f"{_about(e.rows_wanting_are_exact)}{e.rows_wanting:,} rows with text"),
        ("tokens", f"about {e.tokens:,}, counted on {e.sample_texts:,} texts"),
        ("cost", cost),
        ("time", time + rate),
        ("vectors", told.vector_type),
        ("index", _index(told.index)),
        *(("", note) for note in told.index.notes),
    ]


def _index(index: "IndexPlan") -> str:
    from embedmig.cli.sizes import print_bytes

    if index.kind is None:
        return "none: searched exactly"
    count = f" x {index.count}" if index.count > 1 else ""
    told = f"{index.kind} ({index.opclass}){count}, about {print_bytes(index.size_bytes)}"
    if not index.memory_wanted_bytes:
        return told
    wanted, given = print_bytes(index.memory_wanted_bytes), print_bytes(index.memory_given_bytes)
    return f"{told}; wants {wanted} of memory to be built, gets {given} and {index.parallel_workers} workers"


def _about(exact: bool) -> str:
    return "" if exact else "about "


def _writes(told: "Plan") -> "RenderableType":
    from rich.table import Table

    from embedmig.cli.sizes import print_bytes

    table = Table("", "rows/s written", "disk", "WAL", "HOT updates", box=None, header_style="bold")
    for write in told.writes:
        mark = "> " if write.placement is told.placement else "  "
        hot = "none needed" if write.hot_share is None else f"about {write.hot_share:.0%}"
        table.add_row(
            f"{mark}{write.placement.value}",
            f"about {write.rows_per_s:,.0f}",
            f"+ {print_bytes(write.disk_bytes)}",
            print_bytes(write.wal_bytes),
            hot,
        )
    return table


def _consequences(told: "Plan") -> list[str]:
    return [f"{write.placement.value}: {line}" for write in told.writes for line in write.consequences]


def _bridge(told: "Plan") -> list[str]:
    from embedmig.cli.sizes import print_bytes, print_seconds

    bridge = told.bridge
    if bridge is None:
        return []
    return [
        f"embedmig bridge {told.collection}: every row mapped in about {print_seconds(bridge.bridge_s)}, about"
        f" {bridge.bridge_rows_per_s:,.0f} rows/s; then index, validate, serve, at less than the new model's quality",
        f"replacing bridged vectors under the index: about {bridge.replaced_rows_per_s:,.0f} rows/s, all of them"
        f" {print_seconds(bridge.replace_s)} at least; embedmig reembed {told.collection} --batch-size"
        f" {bridge.batch_rows}",
        f"when most are replaced: {bridge.reindex}; it takes {print_bytes(bridge.reindex_bytes)} beside the index"
        " meanwhile",
    ]


def _noticed(told: "Plan") -> list[str]:
    lines = [
        f"{who.kind} {who.name} {who.what}" + (f" (in {who.placement.value} placement)" if who.placement else "")
        for who in told.onlookers
    ]
    return [*(lines or ["nobody that could be found"]), *(f"not looked at: {line}" for line in told.not_looked_at)]
