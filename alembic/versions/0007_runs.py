"""Who runs a job at present, and what holds it back: for those who look from elsewhere."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE embedmig.run (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection_id int NOT NULL REFERENCES embedmig.collection ON DELETE CASCADE,
    host          text NOT NULL,
    pid           int NOT NULL,
    workers       int NOT NULL,
    follow        boolean NOT NULL,
    phase         text NOT NULL DEFAULT 'planning',
    held_back     text,
    rows_per_s    double precision NOT NULL DEFAULT 0,
    tokens_per_s  double precision NOT NULL DEFAULT 0,
    eta_s         double precision,
    began_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE embedmig.run IS
    'A process that runs reembed: it reports itself every few seconds, and its row goes with it';
COMMENT ON COLUMN embedmig.run.held_back IS 'The health indicator that makes it wait, with its value';
COMMENT ON COLUMN embedmig.run.rows_per_s IS 'Of the whole job, as this process sees it';
COMMENT ON COLUMN embedmig.backfill.options IS
    'The budget over all runs (max_cost, max_rows, max_seconds); seconds, requests, retries: spent so far; paused_at';
"""


def upgrade() -> None:
    op.execute(TABLE)


def downgrade() -> None:
    op.execute("DROP TABLE embedmig.run")
    op.execute("COMMENT ON COLUMN embedmig.backfill.options IS NULL")
