"""embedmig verify"""

from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, collection_argument, common_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from embedmig.backfill.census import Census, WrongRow
    from embedmig.commands.checks import SlotVerified, Verified


@click.command()
@collection_argument
@click.option("--slot", metavar="NAME", help="Only this one, whoever maintains it.  [all]")
@click.option("--keys", default=0, show_default=True, type=click.IntRange(0), help="List so many wrong rows by key.")
@common_options
def verify(ctx: Context, collection: str, slot: str | None, keys: int) -> int:
    """Does every row have a vector, of this model, of its present text? Reads the whole table, changes nothing.

    Exits 1 when something is wrong that is not queued.
    """
    from embedmig.commands import verify as look

    found = look(ctx.db, collection, slot=slot, keys=keys)
    ctx.show(found, _render)
    return 0 if found.ok else 1


def _render(found: "Verified") -> "RenderableType":
    from rich.console import Group

    return Group(*(part for slot in found.slots for part in _slot(slot)))


def _slot(slot: "SlotVerified") -> "list[RenderableType]":
    from rich.markup import escape

    whose = "" if slot.judged else ", maintained by the application"
    lines = [f"{slot.slot} ({slot.model}{whose}): {_counts(slot.census)}"]
    lines += [f"  {note}" for note in _notes(slot.census, "wrong" if slot.judged else "the application's to mend")]
    table = [_wrong(slot.wrong_rows)] if slot.wrong_rows else []
    return [escape("\n".join(lines)), *table]


def _counts(census: "Census") -> str:
    return (
        f"{census.true:,} true, {census.bridged:,} bridged, {census.missing:,} missing, {census.stale:,} stale,"
        f" {census.other_model:,} of another model"
    )


def _notes(census: "Census", wrong: str) -> list[str]:
    known = [
        (census.without_text, "{:,} rows have no text, and no vector by design"),
        (census.unrecorded, "{:,} vectors are of a text that was not recorded: the application brought them"),
        (census.queued, "{:,} rows are queued"),
        (census.failed, "{:,} rows could not be embedded: embedmig failures list"),
        (census.ignored, "{:,} more could not, and are ignored"),
        (census.missing_not_queued, wrong + ": {:,} are missing and not queued"),
        (census.stale_not_queued, wrong + ": {:,} are stale and not queued"),
        (census.orphans_not_queued, wrong + ": {:,} vectors are of rows that are gone or have no text, and not queued"),
        (census.other_model, wrong + ": {:,} are labelled as another model's"),
    ]
    return [text.format(count) for count, text in known if count]


def _wrong(rows: "tuple[WrongRow, ...]") -> "RenderableType":
    from rich.markup import escape
    from rich.table import Table

    table = Table("key", "what", "known", box=None, header_style="bold")
    for row in rows:
        known = "queued" if row.queued else "ignored" if row.ignored else "failed" if row.failure else ""
        table.add_row(escape(", ".join(row.key)), row.what, known)
    return table
