"""The questions that ``embedmig init`` asks at a terminal. All are asked before anything is done."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedmig.cli.collection import read_names, write_names

if TYPE_CHECKING:
    from embedmig.cli.context import Context
    from embedmig.commands.setup import Candidate
    from embedmig.db import Database


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What ``init`` is told."""

    db: "Database"
    database_url: str | None
    """To be written into embedmig.toml; None: the embedded server."""
    settings_folder: Path | None
    table: str | None = None
    text: Sequence[str] = ()
    embedding: str | None = None
    name: str | None = None
    model: str | None = None
    model_arguments: dict[str, Any] = field(default_factory=dict)


def ask(ctx: "Context") -> Answers | None:
    """Asks; None when the last answer is no. Ctrl-C at any question leaves everything as it was."""
    from embedmig.commands.setup import find_candidates
    from embedmig.db.connection import require_server

    ctx.say("embedmig init: which database, which table, and which model made its vectors.")
    ctx.say("Nothing is done before you have seen it all, and nothing is changed on your own tables.\n")
    db, url = _ask_database(ctx)
    with db.connect() as conn:
        require_server(conn)
        version = conn.info.parameter_status("server_version")
    ctx.say(f"PostgreSQL {version} at {db.safe_url}\n")
    candidate = _ask_table(ctx, find_candidates(db))
    answers = Answers(db=db, database_url=url, settings_folder=Path.cwd())
    if candidate is not None:
        answers = _ask_collection(ctx, db, url, candidate)
    _say_what_follows(ctx, answers)
    return answers if click.confirm("Go ahead?", default=True) else None


def _ask_database(ctx: "Context") -> tuple["Database", str | None]:
    from embedmig.db import Database

    if ctx.database_url is not None:
        return ctx.server, ctx.database_url
    url = click.prompt("Postgres URL (nothing: an embedded server in .embedmig/)", default="", show_default=False)
    return (Database(url), url) if url else (ctx.server, None)


def _ask_table(ctx: "Context", candidates: "list[Candidate]") -> "Candidate | None":
    free = [candidate for candidate in candidates if not candidate.problem and not candidate.registered_as]
    for candidate in candidates:
        if candidate not in free:
            why = candidate.problem or f"registered as {candidate.registered_as}"
            ctx.say(f"     {candidate.table}.{candidate.embedding} {candidate.type}: {why}")
    for number, candidate in enumerate(free, start=1):
        place = f"{candidate.table}.{candidate.embedding} {candidate.type}"
        ctx.say(f"  {number}  {place}, text {write_names(candidate.text)}")
    if not free:
        ctx.say("No table with a vector column is waiting to be registered: only the control schema is installed.\n")
        return None
    ctx.say("  0  none of them: only the control schema\n")
    number = click.prompt("Which column?", type=click.IntRange(0, len(free)), default=1)
    return free[number - 1] if number else None


def _ask_collection(ctx: "Context", db: "Database", url: str | None, candidate: "Candidate") -> Answers:
    text = click.prompt(
        "Text columns that the vectors were made from",
        default=write_names(candidate.text) or None,
        value_proc=lambda given: _checked_text(db, candidate.table, read_names(given)),
    )
    name = click.prompt(
        "Name of the collection",
        default=candidate.name,
        value_proc=lambda given: _checked_name(db, candidate.table, given),
    )
    known = _known_models(db, candidate.dimensions)
    if known:
        ctx.say(f"Models registered with {candidate.dimensions} dimensions: {', '.join(known)}")
    model = click.prompt(
        "Model that made the vectors, as name@revision",
        default=known[0] if known else None,
        value_proc=_checked_model,
    )
    arguments = {} if model in known else _ask_model(ctx, model, candidate)
    return Answers(
        db=db,
        database_url=url,
        settings_folder=Path.cwd(),
        table=candidate.table,
        text=text,
        embedding=candidate.embedding,
        name=name,
        model=model,
        model_arguments=arguments,
    )


def _ask_model(ctx: "Context", model: str, candidate: "Candidate") -> dict[str, Any]:
    from embedmig.cli.model import read_options
    from embedmig.embedders import known_providers

    if not click.confirm(f"Can {model} still be run?", default=True):
        return {"provider": "none", "dimensions": candidate.dimensions, "state": "gone"}
    providers = known_providers()
    preferred = "sentence-transformers" if "sentence-transformers" in providers else providers[0]
    provider = click.prompt("Provider", type=click.Choice(providers), default=preferred)
    if provider == "sentence-transformers":
        where = click.prompt("Folder of the model, or name of the installed package that carries it")
        place = "path" if Path(where).expanduser().exists() else "package"
        options = {place: str(Path(where).expanduser()) if place == "path" else where}
    else:
        options = click.prompt(
            "Its options, KEY=VALUE KEY=VALUE",
            default="",
            show_default=False,
            value_proc=lambda given: read_options(tuple(given.split())),
        )
    return {"provider": provider, "options": options, "dimensions": candidate.dimensions}


def _say_what_follows(ctx: "Context", answers: Answers) -> None:
    from embedmig.commands.setup import holds_secret
    from embedmig.settings import FILE

    ctx.say("\nThis is what follows:")
    ctx.say(f"- schema embedmig with its control tables, in {answers.db.safe_url}")
    if (Path.cwd() / FILE).exists():
        ctx.say(f"- {FILE} is there and stays as it is")
    else:
        ctx.say(f"- {FILE} in this folder")
    if answers.database_url is not None and holds_secret(answers.database_url):
        ctx.say("  without the database's URL, which holds a password: export EMBEDMIG_DATABASE_URL")
    if answers.model_arguments:
        loaded = (
            "declared as gone" if answers.model_arguments.get("state") == "gone" else "loaded, and its vectors probed"
        )
        ctx.say(f"- model {answers.model}, {loaded}")
    if answers.table is not None:
        ctx.say(
            f"- collection {answers.name}: {answers.table}, text {write_names(answers.text)}, {answers.embedding} by"
            f" {answers.model}"
        )


def _checked_text(db: "Database", table: str, names: list[str]) -> list[str]:
    from embedmig.errors import UsageError
    from embedmig.schema.inspection import describe_table, resolve_table
    from embedmig.schema.row_filter import require_text_column

    if not names:
        raise click.BadParameter("name one at least")
    with db.connect() as conn:
        facts = describe_table(conn, *resolve_table(conn, table))
    try:
        for name in names:
            require_text_column(facts, name)
    except UsageError as exc:
        raise click.BadParameter(str(exc)) from exc
    return names


def _checked_name(db: "Database", table: str, given: str) -> str:
    from embedmig.errors import UsageError
    from embedmig.schema.inspection import describe_table, resolve_table
    from embedmig.schema.registering import choose_name

    with db.connect() as conn:
        facts = describe_table(conn, *resolve_table(conn, table))
    try:
        return choose_name(given, facts)
    except UsageError as exc:
        raise click.BadParameter(str(exc)) from exc


def _checked_model(given: str) -> str:
    from embedmig.errors import UsageError
    from embedmig.types import parse_model_key

    try:
        parse_model_key(given)
    except UsageError as exc:
        raise click.BadParameter(str(exc)) from exc
    return given


def _known_models(db: "Database", dimensions: int | None) -> list[str]:
    from embedmig.catalog.install import is_installed
    from embedmig.catalog.models import list_models

    with db.connect() as conn:
        if not is_installed(conn):
            return []
        return [model.key for model in list_models(conn) if model.dimensions == dimensions]
