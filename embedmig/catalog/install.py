"""Installs the control schema by running its Alembic revisions, from the checkout or from the wheel."""

import functools
import re
from pathlib import Path

from embedmig.db import Connection, Database
from embedmig.db.connection import driver_errors, require_server
from embedmig.errors import ControlSchemaError, DatabaseError


def alembic_ini() -> Path:
    """alembic.ini of the control schema: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package, package.parent):
        if (folder / "alembic.ini").is_file() and (folder / "alembic" / "env.py").is_file():
            return folder / "alembic.ini"
    raise DatabaseError(f"the control schema's revisions are not in {package}: install embedmig again")


def install(db: Database) -> str:
    """Brings the control schema to the newest revision and gives its name. Repeating it changes nothing.

    Raises UnsupportedError for a server or pgvector that is too old and ControlSchemaError for a control schema that a
    newer embedmig has made, before anything is changed; PrivilegeError.
    """
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    with db.connect() as conn:
        require_server(conn)
        installed = installed_revision(conn)
        if installed == newest_revision():
            return installed
        if installed is not None and installed not in known_revisions():
            raise ControlSchemaError(
                f"the control schema in database {conn.info.dbname} is at revision {installed}, which this embedmig"
                " does not know: a newer one has been at this database, upgrade embedmig here"
            )
    config = Config(str(alembic_ini()))
    engine = create_engine("postgresql+psycopg://", creator=_creator(db), poolclass=NullPool)
    with driver_errors(), engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return newest_revision()


def newest_revision() -> str:
    """The revision that ``install`` would bring the control schema to."""
    return known_revisions()[-1]


@functools.cache
def known_revisions() -> tuple[str, ...]:
    """Every revision that this embedmig carries, the oldest first: read from the files, since Alembic takes longer to
    import than most verbs take."""
    versions = (alembic_ini().parent / "alembic" / "versions").glob("[0-9]*.py")
    texts = [path.read_text(encoding="utf-8") for path in versions]
    after = {_value("down_revision", text): _value("revision", text) for text in texts}
    chain: list[str] = []
    while (following := after.get(chain[-1] if chain else None)) is not None:
        chain.append(following)
    return tuple(chain)


def _value(name: str, text: str) -> str | None:
    found = re.search(rf'^{name} = "(\w+)"$', text, flags=re.M)
    return None if found is None else found[1]


def require_installed(conn: Connection) -> None:
    """Raises ControlSchemaError unless the control schema is there and no older than this embedmig; UnsupportedError
    when the server could not carry one. A newer schema goes on serving older releases."""
    if not is_installed(conn):
        require_server(conn)
        raise ControlSchemaError(
            f"database {conn.info.dbname} has no control schema: run embedmig init, which makes it"
            " (or does EMBEDMIG_DATABASE_URL name another database?)"
        )
    if not _may_read_revision(conn):
        return
    installed, newest = installed_revision(conn), newest_revision()
    if installed is None or installed in known_revisions()[:-1]:
        raise ControlSchemaError(
            f"the control schema in database {conn.info.dbname} is at revision {installed}, this embedmig works with"
            f" {newest}: run embedmig init, which upgrades it"
        )


def is_installed(conn: Connection) -> bool:
    """Whether the control schema is there."""
    row = conn.execute("SELECT to_regclass('embedmig.slot') IS NOT NULL AS there").fetchone()
    return row is not None and bool(row["there"])


def installed_revision(conn: Connection) -> str | None:
    """The revision that the control schema is at; None where there is none."""
    if not is_installed(conn):
        return None
    row = conn.execute("SELECT version_num FROM embedmig.alembic_version").fetchone()
    return None if row is None else str(row["version_num"])


def _may_read_revision(conn: Connection) -> bool:
    """False for a role that only searches."""
    row = conn.execute(
        "SELECT has_table_privilege(c.oid, 'SELECT') AS may FROM pg_class c"
        " WHERE c.oid = to_regclass('embedmig.alembic_version')"
    ).fetchone()
    return row is not None and bool(row["may"])


def _creator(db: Database):  # type: ignore[no-untyped-def]
    import psycopg

    # A creator, not a URL: libpq's own parsing of the user's connection string stays in force.
    return lambda: psycopg.connect(db.url, application_name="embedmig")
