"""What a role that only searches may read: the definitions, not the rows; and where the epochs of a new route begin.

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


FIRST_EPOCH = """
CREATE SEQUENCE embedmig.first_epoch;
COMMENT ON SEQUENCE embedmig.first_epoch IS 'Beyond every epoch of deleted routes; read, never drawn from';
"""


def upgrade() -> None:
    op.execute(FIRST_EPOCH)
    for right, what in OPEN:
        op.execute(f"GRANT {right} ON {what} TO PUBLIC")


def downgrade() -> None:
    op.execute("DROP SEQUENCE embedmig.first_epoch")
    for right, what in OPEN:
        op.execute(f"REVOKE {right} ON {what} FROM PUBLIC")
