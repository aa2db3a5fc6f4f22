"""handover, its undoing, and the end of embedmig's care."""

from dataclasses import replace

import pytest

from embedmig import commands
from embedmig.catalog import migrations, models, routes, slots
from embedmig.catalog.events import list_events
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError
from embedmig.schema.handing_over import Lacking
from embedmig.types import Collection, Maintainer, Model, ModelState, Placement
from tests.support import OLD, expand_docs, make_docs, switch_docs

PRICED = replace(OLD, price_per_million_tokens=1000.0)


@pytest.fixture
def docs(conn: Connection) -> Collection:
    return make_docs(conn, 6, old=PRICED)


def queued(conn: Connection, slot: str) -> list[str]:
    rows = conn.execute(
        "SELECT key[1] AS key FROM embedmig.pending p JOIN embedmig.slot s ON s.id = p.slot_id WHERE s.name = %s"
        " ORDER BY p.seq",
        [slot],
    )
    return [row["key"] for row in rows]


def without_vectors(conn: Connection) -> None:
    """Of six rows: two with text lack a vector, one has neither, one has a text of blanks alone."""
    conn.execute("UPDATE docs SET title = NULL, body = repeat('x', 400), embedding = NULL WHERE id IN (1, 2)")
    conn.execute("UPDATE docs SET title = '', body = NULL, embedding = NULL WHERE id = 3")


@pytest.mark.parametrize("placement", list(Placement))
def test_rows_with_text_and_no_vector_are_queued_after_their_cost_was_said(
    db: Database, conn: Connection, docs: Collection, placement: Placement
) -> None:
    expand_docs(db, placement)
    without_vectors(conn)
    before = conn.execute("SELECT xmin::text, ctid::text FROM docs ORDER BY id").fetchall()
    said: list[tuple[Lacking, list[str]]] = []
    result = commands.handover(db, "docs", on_cost=lambda lacking: said.append((lacking, queued(conn, "v1"))))
    assert said == [(Lacking(rows=2, tokens_about=200, price_about=0.2), [])]
    assert (result.changed, result.maintained_by, result.queued_rows) == (True, "embedmig", 2)
    assert sorted(queued(conn, "v1")) == ["1", "2"]
    assert conn.execute("SELECT xmin::text, ctid::text FROM docs ORDER BY id").fetchall() == before
    migration = migrations.get_migration(conn, docs)
    assert migration.handover_at is not None
    assert migration.way_back_ends_at is None
    assert list_events(conn, "docs")[0].verb == "handover"


def test_handover_again_queues_only_what_is_not_queued(db: Database, conn: Connection, docs: Collection) -> None:
    expand_docs(db)
    without_vectors(conn)
    first = commands.handover(db, "docs")
    again = commands.handover(db, "docs")
    assert (again.changed, again.queued_rows) == (False, 0)
    assert sorted(queued(conn, "v1")) == ["1", "2"]
    assert migrations.get_migration(conn, docs).handover_at is not None
    assert first.queued_rows == 2


def test_with_the_old_model_gone_nothing_is_queued_and_the_end_of_the_way_back_is_recorded(
    db: Database, conn: Connection, docs: Collection
) -> None:
    expand_docs(db)
    without_vectors(conn)
    models.update_model(conn, replace(PRICED, state=ModelState.GONE))
    result = commands.handover(db, "docs")
    assert result.way_back_ends_at is not None
    assert result.queued_rows == 0
    assert queued(conn, "v1") == []
    assert result.lacking is not None
    assert result.lacking.rows == 2
    conn.execute("UPDATE docs SET body = 'x' WHERE id = 5")
    assert queued(conn, "v1") == ["5"], "edits are queued as always, and wait"


def test_undo_gives_the_source_back_while_the_share_is_0(db: Database, conn: Connection, docs: Collection) -> None:
    expand_docs(db)
    without_vectors(conn)
    commands.handover(db, "docs")
    routes.set_share(conn, "docs", 100)
    with pytest.raises(RefusedError, match="embedmig rollback docs"):
        commands.handover_undo(db, "docs")
    routes.set_share(conn, "docs", 0)
    result = commands.handover_undo(db, "docs")
    assert (result.changed, result.maintained_by) == (True, "app")
    assert queued(conn, "v1") == []
    assert migrations.get_migration(conn, docs).handover_at is None
    assert not commands.handover_undo(db, "docs").changed


def test_a_source_of_ours_stays_ours_when_its_handover_is_undone(
    db: Database, conn: Connection, docs: Collection
) -> None:
    expand_docs(db)
    switch_docs(conn, docs)
    commands.contract(db, "docs")
    third = Model(name="third", revision="1", provider="hashing", dimensions=8)
    models.add_model(conn, third, None)
    expand_docs(db, model=third)
    commands.handover(db, "docs")
    conn.execute("UPDATE docs SET body = 'x' WHERE id = 5")
    assert commands.handover_undo(db, "docs").maintained_by == "embedmig"
    assert queued(conn, "v2") == ["5"], "what was queued for it is still to be done"


def test_without_a_migration_there_is_nothing_to_hand_over(db: Database, docs: Collection) -> None:
    with pytest.raises(RefusedError, match="no open migration: begin one, embedmig expand docs --to MODEL"):
        commands.handover(db, "docs")


def test_given_to_the_app_the_slot_is_an_ordinary_column_with_its_model(
    db: Database, conn: Connection, docs: Collection
) -> None:
    expand_docs(db)
    with pytest.raises(RefusedError, match="open migration"):
        commands.handover(db, "docs", to_app=True)
    switch_docs(conn, docs)
    commands.contract(db, "docs")
    result = commands.handover(db, "docs", to_app=True)
    assert (result.changed, result.maintained_by) == (True, "app")
    (slot,) = slots.list_slots(conn, docs)
    assert (slot.maintained_by, slot.hash_column, slot.model_column) == (Maintainer.APP, None, "embedding_v2_model")
    conn.execute("UPDATE docs SET body = 'x' WHERE id = 5")
    assert queued(conn, "v2") == []
    assert not commands.handover(db, "docs", to_app=True).changed


def test_given_to_the_app_a_companion_that_stayed_is_still_joined_by_its_view(
    db: Database, conn: Connection, docs: Collection
) -> None:
    expand_docs(db, Placement.COMPANION)
    switch_docs(conn, docs)
    commands.contract(db, "docs")
    commands.handover(db, "docs", to_app=True)
    row = conn.execute("SELECT * FROM embedmig.docs_vectors WHERE id = 5").fetchone()
    assert row is not None
    assert list(row) == ["id", "embedding", "embedding_model"]
    assert commands.search(db, "docs", "word1").hits[0].slot == "v2"
