"""The application's own table, with the vectors of the model it began with."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE documents (
            id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name      text NOT NULL,
            kind      text NOT NULL,
            body      text NOT NULL,
            read      int NOT NULL DEFAULT 0,
            embedding vector(256)
        )""")


def downgrade() -> None:
    op.execute("DROP TABLE documents")
