"""Installs the control schema by running its Alembic revisions, from the checkout or from the wheel."""

from pathlib import Path

from embedmig.db import Connection, Database
from embedmig.db.connection import require_server
from embedmig.errors import DatabaseError


def alembic_ini() -> Path:
    """alembic.ini of the control schema: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package, package.parent):
        if (folder / "alembic.ini").is_file() and (folder / "alembic" / "env.py").is_file():
            return folder / "alembic.ini"
    raise DatabaseError(f"the control schema's revisions are not in {package}: install embedmig again")


def install(db: Database) -> str:
    """Brings the control schema to the newest revision and gives its name. Repeating it changes nothing.

    Raises UnsupportedError for a server or pgvector that is too old, before anything is made.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    with db.connect() as conn:
        require_server(conn)
    config = Config(str(alembic_ini()))
    engine = create_engine("postgresql+psycopg://", creator=_creator(db), poolclass=NullPool)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return str(ScriptDirectory.from_config(config).get_current_head())


def known_revisions() -> list[str]:
    """Every revision of the control schema that this embedmig carries, the newest first."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(Config(str(alembic_ini())))
    return [script.revision for script in scripts.walk_revisions()]


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


def _creator(db: Database):  # type: ignore[no-untyped-def]
    import psycopg

    # A creator, not a URL: libpq's own parsing of the user's connection string stays in force.
    return lambda: psycopg.connect(db.url, application_name="embedmig")
