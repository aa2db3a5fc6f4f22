"""Alembic environment of the control schema. Its version table is embedmig.alembic_version, so that the user's own
environment may live in the same database."""

from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection

config = context.config


def _url() -> str:
    given = context.get_x_argument(as_dictionary=True).get("url")
    if given is None:
        from embedmig.settings import database_url, load_settings

        given = database_url(load_settings())
    return given.replace("postgresql://", "postgresql+psycopg://", 1).replace("postgres://", "postgresql+psycopg://", 1)


def _migrate(connection: Connection) -> None:
    # Alembic makes its version table before the first revision, so the schema must be there by then.
    connection.execute(text("CREATE SCHEMA IF NOT EXISTS embedmig"))
    connection.execute(text("REVOKE ALL ON SCHEMA embedmig FROM PUBLIC"))
    connection.commit()
    # One transaction for all: a downgrade that the first revision refuses must not have taken the later ones along.
    context.configure(connection=connection, version_table_schema="embedmig")
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    # Without paramstyle the printed SQL would have every % of the functions doubled.
    context.configure(
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},
        version_table_schema="embedmig",
        literal_binds=True,
    )
    with context.begin_transaction():
        context.execute("CREATE SCHEMA IF NOT EXISTS embedmig")
        context.run_migrations()
elif (given := config.attributes.get("connection")) is not None:
    _migrate(given)
else:
    engine = create_engine(_url())
    with engine.connect() as connection:
        _migrate(connection)
    engine.dispose()
