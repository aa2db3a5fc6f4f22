"""What a role that only searches may read: the definitions, not the rows.

USAGE on the schema is the door. Behind it, the tables that say what is served are open to all who passed, so that a
searching role needs SELECT on route, slot and companion and nothing else. Keys of rows and reasons of failures are
not: whether a slot has failures is, column by column.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OPEN = (
    ("SELECT", "embedmig.collection, embedmig.model, embedmig.migration"),
    ("SELECT (slot_id, ignored)", "embedmig.failure"),
    ("EXECUTE", "FUNCTION embedmig.report_pin_v1"),
)


def upgrade() -> None:
    for right, what in OPEN:
        op.execute(f"GRANT {right} ON {what} TO PUBLIC")


def downgrade() -> None:
    for right, what in OPEN:
        op.execute(f"REVOKE {right} ON {what} FROM PUBLIC")
