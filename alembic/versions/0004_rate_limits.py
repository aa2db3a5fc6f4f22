"""Requests and tokens per minute of a model, and when what was booked of them lets the next request through."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Rewritten at every request: a row a page, so that each update stays in its page.
TABLE = """
CREATE TABLE embedmig.rate_limit (
    model_id            int PRIMARY KEY REFERENCES embedmig.model ON DELETE CASCADE,
    requests_per_minute double precision CHECK (requests_per_minute > 0),
    tokens_per_minute   double precision CHECK (tokens_per_minute > 0),
    requests_free_at    timestamptz NOT NULL DEFAULT '-infinity',
    tokens_free_at      timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 10);
COMMENT ON TABLE embedmig.rate_limit IS 'What a model''s provider allows; NULL: no limit. Changes hold at once';
COMMENT ON COLUMN embedmig.rate_limit.requests_free_at IS 'Until then all requests are booked';
"""


def upgrade() -> None:
    op.execute(TABLE)


def downgrade() -> None:
    op.execute("DROP TABLE embedmig.rate_limit")
