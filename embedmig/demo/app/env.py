"""The application's Alembic environment. The two lines with embedmig are all that it needs to know of embedmig."""

import os

from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection

import embedmig.schema.operations  # noqa: F401  registers op.add_embedding_column and its like
from embedmig.schema.autogenerate import include_object


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, include_object=include_object, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


if (given := context.config.attributes.get("connection")) is not None:
    migrate(given)
else:
    url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1)
    with create_engine(url).connect() as connection:
        migrate(connection)
