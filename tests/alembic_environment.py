"""A user's own Alembic environment, as small as one can be, in a folder of the test's."""

import io
from pathlib import Path
from urllib.parse import urlencode

from alembic import command
from alembic.config import Config
from psycopg.conninfo import conninfo_to_dict

from embedmig.db import Database

ENV = """
from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

config = context.config
target_metadata = None
{metadata}

if context.is_offline_mode():
    context.configure(url=config.get_main_option("sqlalchemy.url"), literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = create_engine(config.get_main_option("sqlalchemy.url"), poolclass=NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata{configure})
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()
"""

MAKO = '''"""${message}"""
from alembic import op
import sqlalchemy as sa
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade():
    ${upgrades if upgrades else "pass"}


def downgrade():
    ${downgrades if downgrades else "pass"}
'''


def make_environment(folder: Path, db: Database, *, metadata: str = "", configure: str = "") -> Path:
    """Writes alembic.ini, env.py and the template; gives the ini's path."""
    scripts = folder / "migrations"
    (scripts / "versions").mkdir(parents=True)
    url = sqlalchemy_url(db).replace("%", "%%")
    (folder / "alembic.ini").write_text(
        f"[alembic]\nscript_location = %(here)s/migrations\npath_separator = os\nsqlalchemy.url = {url}\n"
    )
    (scripts / "env.py").write_text(ENV.format(metadata=metadata, configure=configure))
    (scripts / "script.py.mako").write_text(MAKO)
    return folder / "alembic.ini"


def sqlalchemy_url(db: Database) -> str:
    """The database as SQLAlchemy names it."""
    parts = conninfo_to_dict(db.url)
    database = parts.pop("dbname", "")
    return f"postgresql+psycopg:///{database}?{urlencode({name: str(value) for name, value in parts.items()})}"


def write_revision(ini: Path, name: str, after: str | None, upgrade: str, downgrade: str, imports: str = "") -> None:
    """A revision by hand; the statements are indented here."""
    body = f'"""{name}"""\nfrom alembic import op\n{imports}\nrevision = {name!r}\ndown_revision = {after!r}\n\n'
    for function, statements in (("upgrade", upgrade), ("downgrade", downgrade)):
        lines = "\n".join("    " + line for line in (statements or "pass").splitlines())
        body += f"\ndef {function}():\n{lines}\n\n"
    (ini.parent / "migrations" / "versions" / f"{name}.py").write_text(body)


def upgrade(ini: Path, to: str = "head") -> None:
    """Runs ``alembic upgrade``."""
    command.upgrade(Config(str(ini)), to)


def downgrade(ini: Path, to: str) -> None:
    """Runs ``alembic downgrade``."""
    command.downgrade(Config(str(ini)), to)


def offline_sql(ini: Path, span: str, *, down: bool = False) -> str:
    """What ``alembic upgrade --sql`` (or downgrade) prints."""
    printed = io.StringIO()
    config = Config(str(ini), output_buffer=printed)
    (command.downgrade if down else command.upgrade)(config, span, sql=True)
    return printed.getvalue()
