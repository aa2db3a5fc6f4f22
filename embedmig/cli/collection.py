"""embedmig collection add|list|show"""

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from embedmig.commands.collections import CollectionAdded, CollectionShown


@click.group()
def collection() -> None:
    """Registered tables: one row, one vector."""


@collection.command("add")
@click.argument("name", required=False)
@click.option("--table", required=True, help='The table: docs, public.docs or \'"Odd Schema"."My Table"\'.')
@click.option("--text", required=True, help="What is embedded: a column, or several joined, as title,body.")
@click.option("--embedding", required=True, help="The column that holds the vectors there are.")
@click.option("--model", required=True, help="The model that made them, as name@revision.")
@click.option("--where", help="Only rows for which this SQL condition is true, such as \"lang = 'en'\".")
@click.option("--separator", default="\\n\\n", show_default=True, help="Between joined columns; \\n and \\t are read.")
@click.option("--group", help="Collections that answer one query together switch as one.")
@click.option(
    "--on-edit",
    type=click.Choice(["serve", "hide"]),
    default="serve",
    show_default=True,
    help="Whether searches show a row whose vector is of an earlier text.",
)
@common_options
def add(
    ctx: Context,
    name: str | None,
    table: str,
    text: str,
    embedding: str,
    model: str,
    where: str | None,
    separator: str,
    group: str | None,
    on_edit: str,
) -> None:
    """Register a table. Changes nothing on it. NAME is the table's own when left out."""
    from embedmig.commands import collection_add

    added = collection_add(
        ctx.db,
        name,
        table=table,
        text=read_names(text),
        embedding=embedding,
        model=model,
        where=where,
        separator=separator.replace("\\n", "\n").replace("\\t", "\t"),
        group=group,
        on_edit=on_edit,
    )
    ctx.show(added, _added)


def read_names(text: str) -> list[str]:
    """``title,body`` as a list; a name that holds a comma stands in double quotes, as in CSV."""
    return [name.strip() for row in csv.reader([text], skipinitialspace=True) for name in row if name.strip()]


def write_names(names: Sequence[str]) -> str:
    """What ``read_names`` reads."""
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(names)
    return written.getvalue()


@collection.command("list")
@common_options
def list_(ctx: Context) -> None:
    """The collections that are registered."""
    from embedmig.commands import collection_list

    ctx.show(collection_list(ctx.db), _table)


@collection.command()
@collection_argument
@common_options
def show(ctx: Context, collection: str) -> None:
    """A collection's table, slots, indexes and route."""
    from embedmig.commands import collection_show

    ctx.show(collection_show(ctx.db, collection), _shown)


def _added(result: "CollectionAdded") -> "RenderableType":
    from rich.markup import escape

    c, slot = result.collection, result.slot
    about = "" if result.rows_are_exact else "about "
    lines = [
        f"[bold]{c.name}[/] {'registered' if result.created else 'was registered already'}:"
        f" {escape(c.qualified)}, {about}{result.rows:,} rows,"
        f" text {escape(', '.join(c.text_columns))}" + (f" where {escape(c.row_filter)}" if c.row_filter else ""),
        f"slot {slot.name}: {escape(slot.vector_column)} by {escape(slot.model.key)}, maintained by your application,"
        f" {'index ' + escape(slot.index_name) if slot.index_name else 'no index'}",
        *(f"- {escape(note)}" for note in result.notes),
        f"next: embedmig audit {c.name}",
    ]
    return "\n".join(lines)


def _table(rows: "list[CollectionShown]") -> "RenderableType":
    from rich.markup import escape
    from rich.table import Table

    if not rows:
        return "no collection is registered: embedmig init, or embedmig collection add"
    table = Table("name", "table", "rows", "slots", "share", "group", box=None, header_style="bold")
    for row in rows:
        table.add_row(
            row.collection.name,
            escape(row.collection.qualified),
            _rows(row),
            ", ".join(f"{slot.name} {slot.model.key}" for slot in row.slots),
            f"{row.route.percent:g} %",
            escape(row.collection.group),
        )
    return table


def _rows(row: "CollectionShown") -> str:
    if row.rows is None:
        return "table is gone"
    return f"{row.rows:,}" if row.rows_are_exact else f"about {row.rows:,}"


def _shown(row: "CollectionShown") -> "RenderableType":
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    c = row.collection
    facts = Table.grid(padding=(0, 2))
    for label, value in (
        ("table", c.qualified),
        ("rows", _rows(row)),
        ("key", ", ".join(f"{column.name} {column.type}" for column in c.key)),
        ("text", ", ".join(c.text_columns) + (f" joined by {c.text_separator!r}" if len(c.text_columns) > 1 else "")),
        ("filter", c.row_filter or "none"),
        ("after an edit", "hidden until embedded again" if c.hide_stale else "served with the vector there is"),
        ("group", c.group),
        ("route", f"{row.route.percent:g} % to the target, epoch {row.route.epoch}"),
    ):
        facts.add_row(f"[bold]{label}[/]", escape(value))
    slots = Table("slot", "model", "where", "maintained by", "filled", "index", box=None, header_style="bold")
    for slot in row.slots:
        slots.add_row(
            slot.name,
            escape(slot.model.key),
            escape(f"{slot.schema}.{slot.table}.{slot.vector_column} {slot.vector_type}({slot.model.dimensions})"),
            slot.maintained_by.value,
            f"{slot.filled_at:%Y-%m-%d %H:%M}" if slot.filled_at else "not yet",
            escape(slot.index_name or "none"),
        )
    return Group(f"[bold]{c.name}[/]", facts, "", slots, *(escape(index.definition) for index in row.indexes))
