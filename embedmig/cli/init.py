"""embedmig init"""

from datetime import datetime
from typing import TYPE_CHECKING

import click

from embedmig.cli.context import Context, common_options
from embedmig.cli.verbatim import verbatim

if TYPE_CHECKING:
    from rich.console import RenderableType

    from embedmig.commands.setup import Candidate, Initialised


@click.command()
@click.option("--yes", is_flag=True, help="Ask nothing: flags and guesses are the answers.")
@click.option("--table", help='Register this table: docs, public.docs or \'"Odd Schema"."My Table"\'.')
@click.option("--text", help="Its text columns, as title,body; the longest ones when left out.")
@click.option("--embedding", help="Its vector column; the only one when left out.")
@click.option("--name", help="The collection's name; the table's when left out.")
@click.option("--model", help="The model that made its vectors, as name@revision.")
@click.option("--provider", help="What runs the model, where it is not registered yet.")
@click.option("--path", help="A folder that holds the model.")
@click.option("--package", help="An installed package that carries it.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="What the provider needs to find it.")
@click.option("--dimensions", type=click.IntRange(1), help="Checked; needed for a model that is gone.")
@click.option("--distance", type=click.Choice(["cosine", "l2", "ip"]), default="cosine", show_default=True)
@click.option("--state", type=click.Choice(["available", "ending", "gone"]), default="available", show_default=True)
@click.option("--ends-on", type=click.DateTime(["%Y-%m-%d"]), help="The day its provider ends it.")
@common_options
def init(
    ctx: Context,
    yes: bool,
    table: str | None,
    text: str | None,
    embedding: str | None,
    name: str | None,
    model: str | None,
    provider: str | None,
    path: str | None,
    package: str | None,
    options: tuple[str, ...],
    dimensions: int | None,
    distance: str,
    state: str,
    ends_on: datetime | None,
) -> int:
    """Install the control schema, write embedmig.toml and register the first collection.

    At a terminal it asks what it needs and shows what it guessed. Without one, and without flags, it installs the
    control schema and says what is next. Nothing is changed on your own tables.
    """
    from pathlib import Path

    from embedmig.cli.collection import read_names
    from embedmig.cli.model import read_options
    from embedmig.commands import init as set_up

    flags = (table, text, embedding, name, model, provider)
    if ctx.can_ask and not yes and not any(flags):
        from embedmig.cli.wizard import ask

        try:
            answers = ask(ctx)
        except click.Abort:
            click.echo("\nembedmig: interrupted; nothing was changed", err=True)
            return 130
        if answers is None:
            ctx.say("nothing was changed")
            return 1
    else:
        from embedmig.cli.wizard import Answers

        places = {"path": path, "package": package}
        answers = Answers(
            db=ctx.server,
            database_url=ctx.database_url,
            settings_folder=Path.cwd() if yes or any(flags) else None,
            table=table,
            text=tuple(read_names(text or "")),
            embedding=embedding,
            name=name,
            model=model,
            model_arguments={
                "provider": provider,
                "options": read_options(options) | {key: value for key, value in places.items() if value},
                "dimensions": dimensions,
                "distance": distance,
                "state": state,
                "ends_on": ends_on and ends_on.date(),
            },
        )
    done = set_up(
        answers.db,
        table=answers.table,
        text=answers.text,
        embedding=answers.embedding,
        name=answers.name,
        model=answers.model,
        model_arguments=answers.model_arguments,
        settings_folder=answers.settings_folder,
        database_url=answers.database_url,
    )
    ctx.show(done, _shown)
    return 0


def _shown(result: "Initialised") -> "RenderableType":
    from rich.console import Group
    from rich.markup import escape

    came = {None: "installed", result.revision: "is there and up to date"}
    was = came.get(result.was_at, f"upgraded from revision {result.was_at}")
    lines = [f"control schema [bold]embedmig[/] {was} (revision {result.revision}) in {escape(result.database)}"]
    if result.settings_file:
        lines.append(f"wrote {escape(str(result.settings_file))}")
    if result.model:
        lines.append(f"model [bold]{escape(result.model.model.key)}[/], {result.model.model.dimensions} dimensions")
    if result.collection:
        c, slot = result.collection.collection, result.collection.slot
        lines.append(
            f"collection [bold]{escape(c.name)}[/]: {escape(c.qualified)}, text {escape(', '.join(c.text_columns))},"
            f" {escape(slot.vector_column)} by {escape(slot.model.key)}"
        )
        lines += [f"- {escape(note)}" for note in result.collection.notes]
        lines += ["next:", f"  embedmig audit {c.name}", "  embedmig model add NAME@REVISION --provider ..."]
        lines.append(f"  embedmig plan {c.name} --to NAME@REVISION")
        return "\n".join(lines)
    return Group("\n".join(lines), verbatim(_next(result.candidates)))


def _next(candidates: "tuple[Candidate, ...]") -> list[str]:
    import shlex

    from embedmig.cli.collection import write_names
    from embedmig.schema.registering import may_be_name

    free = [candidate for candidate in candidates if not candidate.registered_as and not candidate.problem]
    if not free:
        return ["no table with a vector column is waiting to be registered"]
    lines = ["next: register the model that made the vectors, then the table"]
    for candidate in free[:5]:
        text = write_names(candidate.text) or "COLUMNS"
        places = {"--table": candidate.table, "--text": text, "--embedding": candidate.embedding}
        add = " ".join(f"{option} {shlex.quote(value)}" for option, value in places.items())
        lines += [
            "  embedmig model add NAME@REVISION --provider ...",
            f"  embedmig collection add {'' if may_be_name(candidate.name) else 'NAME '}{add} --model NAME@REVISION",
        ]
    return lines
