"""Expand and its undo, on Postgres."""

import pytest

from embedmig.catalog import migrations
from embedmig.db import Connection, Database
from embedmig.types import Placement
from tests.support import expand_docs, make_docs


@pytest.mark.parametrize("placement", list(Placement))
def test_expand_opens_a_migration_and_its_undo_leaves_nothing(
    db: Database, conn: Connection, placement: Placement
) -> None:
    collection = make_docs(conn, 5)
    before = _columns(conn)
    opened = expand_docs(db, placement)
    assert opened.target.name == "v2"
    assert migrations.get_migration(conn, collection).target_id == opened.target.id
    if placement is Placement.COMPANION:
        assert _columns(conn) == before


def _columns(conn: Connection) -> list[str]:
    rows = conn.execute(
        "SELECT attname::text AS n FROM pg_attribute WHERE attrelid = 'docs'::regclass AND attnum > 0"
        " AND NOT attisdropped"
    )
    return [row["n"] for row in rows]
