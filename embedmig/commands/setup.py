"""init: the control schema, embedmig.toml, and the first collection."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from embedmig.catalog.collections import list_collections
from embedmig.catalog.install import install, installed_revision, newest_revision
from embedmig.catalog.models import get_model
from embedmig.catalog.slots import list_slots
from embedmig.commands.collections import CollectionAdded, collection_add
from embedmig.commands.models import ModelAdded, model_add
from embedmig.db import Connection, Database
from embedmig.db.connection import require_server
from embedmig.errors import NotFoundError, UsageError
from embedmig.schema.inspection import (
    TableFacts,
    TableName,
    VectorColumn,
    describe_table,
    find_vector_columns,
    guess_text_columns,
    resolve_table,
)
from embedmig.settings import FILE

_SECRETS = frozenset(("password", "sslpassword"))

_SETTINGS = """\
# Settings of embedmig in this folder. EMBEDMIG_* variables win over what stands here, an unknown key is an error.

{database_url}

# The embedded server, and what the demo makes:
# data_dir = ".embedmig"

# Your own Alembic environment, where `embedmig expand` writes its revision; alembic.ini in this folder by default:
# alembic_ini = "path/to/alembic.ini"

# stability_days = 7.0
"""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A vector column that could become a collection, and what is guessed for it."""

    table: str
    """As typed in SQL."""
    name: str
    """The table's own, without its schema."""
    embedding: str
    type: str
    dimensions: int | None
    text: tuple[str, ...]
    """The longest text columns, the longest first."""
    registered_as: str | None
    problem: str | None
    """Why it cannot be registered as it is."""


@dataclass(frozen=True, kw_only=True)
class Initialised:
    """What ``init`` did."""

    database: str
    """Its URL, without a password."""
    revision: str
    was_at: str | None
    """The revision before; None: installed now."""
    settings_file: Path | None
    """Written now; None where it was there, or was not asked for."""
    model: ModelAdded | None
    collection: CollectionAdded | None
    candidates: tuple[Candidate, ...]


def init(
    db: Database,
    *,
    table: str | None = None,
    text: Sequence[str] = (),
    embedding: str | None = None,
    name: str | None = None,
    model: str | None = None,
    model_arguments: Mapping[str, Any] | None = None,
    settings_folder: Path | None = None,
    database_url: str | None = None,
) -> Initialised:
    """Installs or upgrades the control schema; with ``table`` also registers the model and the first collection; with
    ``settings_folder`` writes embedmig.toml there, unless there is one. Repeating it changes nothing.

    What is left out of ``text`` and ``embedding`` is guessed where the guess is certain. ``model_arguments`` go to
    ``model_add`` when the model is new. ``database_url`` is written only where it holds no password.
    """
    with db.connect() as conn:
        require_server(conn)
        was_at = installed_revision(conn)
        if table is not None:
            text, embedding = _complete(conn, table, text, embedding)
    if table is not None and model is None:
        raise UsageError("name the model that made the vectors there are: --model name@revision")
    revision = install(db)
    registered = None if model is None else _provide_model(db, model, model_arguments)
    added = None
    if table is not None and embedding is not None and model is not None:
        added = collection_add(db, name, table=table, text=text, embedding=embedding, model=model)
    written = None if settings_folder is None else write_settings(settings_folder, database_url)
    return Initialised(
        database=db.safe_url,
        revision=revision,
        was_at=was_at,
        settings_file=written,
        model=registered,
        collection=added,
        candidates=tuple(find_candidates(db)),
    )


def find_candidates(db: Database) -> list[Candidate]:
    """Every vector column that this role may read, with what is guessed for it. Works before anything is installed."""
    with db.connect() as conn:
        # An older catalog cannot be read: what stands in it is told when the table is registered.
        registered = _registered(conn) if installed_revision(conn) == newest_revision() else {}
        return [_candidate(conn, found, registered) for found in find_vector_columns(conn)]


def write_settings(folder: Path, database_url: str | None) -> Path | None:
    """Writes embedmig.toml; None where there is one already. A URL that holds a password stays out of it."""
    path = folder / FILE
    if path.exists():
        return None
    path.write_text(_SETTINGS.format(database_url=_database_line(database_url)), encoding="utf-8")
    return path


def holds_secret(database_url: str) -> bool:
    """Whether a URL, or a connection string, holds a password."""
    return bool(_SECRETS & {key for key, value in conninfo_to_dict(database_url).items() if value})


def _database_line(url: str | None) -> str:
    if url is None:
        return (
            "# The server; the embedded one in data_dir while this is unset:\n"
            '# database_url = "postgresql://user@host/name"'
        )
    if holds_secret(url):
        return (
            "# The server's URL holds a password, so it stays in the environment:\n# export EMBEDMIG_DATABASE_URL=..."
        )
    return f"database_url = {json.dumps(url)}"


def _complete(conn: Connection, table: str, text: Sequence[str], embedding: str | None) -> tuple[Sequence[str], str]:
    """The text and vector columns, guessed where none were given. Raises UsageError where a guess could be wrong."""
    name = resolve_table(conn, table)
    if embedding is None:
        columns = [found.column for found in find_vector_columns(conn) if found.name == name]
        if len(columns) != 1:
            which = f"one of {', '.join(columns)}" if columns else "it has none that this role may read"
            raise UsageError(f"name the vector column of {name}, --embedding: {which}")
        embedding = columns[0]
    if not text:
        text = guess_text_columns(conn, describe_table(conn, *name))
        if not text:
            raise UsageError(f"name the text columns of {name}: --text title,body")
    return text, embedding


def _provide_model(db: Database, model: str, arguments: Mapping[str, Any] | None) -> ModelAdded | None:
    if not arguments or not arguments.get("provider"):
        with db.connect() as conn:
            try:
                get_model(conn, model)
            except NotFoundError as exc:
                raise UsageError(f"{exc}; or give its --provider here") from exc
        return None
    return model_add(db, model, **arguments)


def _registered(conn: Connection) -> dict[tuple[TableName, str], str]:
    return {
        (TableName(slot.schema, slot.table), slot.vector_column): collection.name
        for collection in list_collections(conn)
        for slot in list_slots(conn, collection)
    }


def _candidate(conn: Connection, found: VectorColumn, registered: Mapping[tuple[TableName, str], str]) -> Candidate:
    facts = describe_table(conn, *found.name)
    return Candidate(
        table=found.name.typed,
        name=found.name.table,
        embedding=found.column,
        type=found.type,
        dimensions=found.dimensions,
        text=tuple(guess_text_columns(conn, facts)),
        registered_as=registered.get((found.name, found.column)),
        problem=_problem(facts, found),
    )


def _problem(facts: TableFacts, found: VectorColumn) -> str | None:
    if not facts.key:
        return "no primary key"
    if found.dimensions is None:
        return f"{found.type} without dimensions, which no index can stand on"
    if facts.column(found.column).is_ours:
        return "made by embedmig"
    return None
