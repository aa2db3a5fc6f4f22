"""Collections that answer together: one route, one gate, one flip."""

import threading
from typing import Any

import pytest

from embedmig import commands
from embedmig.catalog import collections, migrations, routes, slots
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError
from embedmig.schema.handing_over import hand_over
from embedmig.schema.indexes import build_index
from embedmig.types import Collection, Placement
from tests.integration.search.conftest import Connect, set_share
from tests.rollout_support import UNWATCHED, add_report
from tests.support import NEW, OLD, embed, expand_docs, fill_slot, make_docs

MEMBERS = {"docs": Placement.COLUMN, "notes": Placement.COMPANION}
KEYS = [f"user-{n}" for n in range(30)]


def join_group(conn: Connection, name: str) -> Collection:
    make_docs(conn, name=name, table=name)
    conn.execute("UPDATE embedmig.collection SET group_name = 'docs' WHERE name = %s", [name])
    return collections.get_collection(conn, name)


def make_ready(db: Database, conn: Connection, collection: Collection, placement: Placement) -> None:
    expand_docs(db, placement, collection=collection.name)
    _, target = slots.list_slots(conn, collection)
    fill_slot(conn, collection, target)
    build_index(db, collection, target)
    slots.mark_filled(conn, target)
    add_report(conn, collection, "pass")
    hand_over(conn, collection)


@pytest.fixture
def group(db: Database, conn: Connection) -> None:
    """``docs`` and ``notes``, both ready to serve, with one route."""
    members = {name: join_group(conn, name) for name in MEMBERS}
    for name, collection in members.items():
        make_ready(db, conn, collection, MEMBERS[name])


def served(searchers: dict[str, Any], **options: Any) -> dict[str, str]:
    return {name: search("a text", k=1, **options)[0].slot for name, search in searchers.items()}


@pytest.fixture
def searchers(connect: Connect, group: None) -> dict[str, Any]:
    return {name: connect(name) for name in MEMBERS}


def test_one_rise_and_one_way_back_move_every_member(db: Database, searchers: dict[str, Any]) -> None:
    assert served(searchers) == {"docs": "v1", "notes": "v1"}
    epoch = commands.rollout(db, "notes", 100, settings=UNWATCHED).epoch
    assert served(searchers) == {"docs": "v2", "notes": "v2"}
    assert {search.serving().epoch for search in searchers.values()} == {epoch}
    commands.rollback(db, "docs")
    assert served(searchers) == {"docs": "v1", "notes": "v1"}


def test_one_user_sees_the_same_side_of_every_member(conn: Connection, searchers: dict[str, Any]) -> None:
    set_share(conn, 50)
    sides = [served(searchers, routing_key=key) for key in KEYS]
    assert all(side["docs"] == side["notes"] for side in sides)
    assert {side["docs"] for side in sides} == {"v1", "v2"}
    for key, side in zip(KEYS, sides, strict=True):
        told = conn.execute("SELECT slot FROM embedmig.serving_v1('notes', %s)", [key]).fetchone()
        assert told == {"slot": side["docs"]}


def test_no_statement_sees_one_member_before_and_the_other_after_a_flip(
    db: Database, conn: Connection, group: None
) -> None:
    done = threading.Event()

    def flip() -> None:
        with db.connect() as other:
            turn = 0
            while not done.is_set():
                turn += 1
                set_share(other, (100, 0)[turn % 2])

    statement = """
        SELECT a.slot AS a_slot, a.epoch AS a_epoch, b.slot AS b_slot, b.epoch AS b_epoch
          FROM embedmig.serving_v1('docs', 'user') a, embedmig.serving_v1('notes', 'user') b
    """
    thread = threading.Thread(target=flip)
    thread.start()
    try:
        rows = [conn.execute(statement).fetchone() for _ in range(300)]
    finally:
        done.set()
        thread.join()
    assert len({row["a_epoch"] for row in rows if row}) > 3
    assert all(row and (row["a_slot"], row["a_epoch"]) == (row["b_slot"], row["b_epoch"]) for row in rows)


def test_both_are_searched_in_one_statement(conn: Connection, group: None) -> None:
    statement = """
        SELECT h.slot, h.epoch, 'docs' AS of FROM embedmig.search_v1('docs', %(query)s, %(model)s, 2) h UNION ALL
        SELECT h.slot, h.epoch, 'notes' FROM embedmig.search_v1('notes', %(query)s, %(model)s, 2) h
    """
    for share, model, slot in ((0, OLD, "v1"), (100, NEW, "v2")):
        epoch = set_share(conn, share)
        rows = conn.execute(statement, {"query": embed(model, ["a text"])[0], "model": model.key}).fetchall()
        assert [(row["of"], row["slot"], row["epoch"]) for row in rows] == [
            (name, slot, epoch) for name in ("docs", "docs", "notes", "notes")
        ]


SPOILS = {
    "rows without a vector": ("DELETE FROM embedmig.notes_v2", "notes: slot v2 is incomplete"),
    "no index": ("DROP INDEX embedmig.{index}", "notes: slot v2 has no valid index"),
    "no report": ("DELETE FROM embedmig.report WHERE collection_id = {notes}", "notes: no report stands"),
    "no handover": (
        "UPDATE embedmig.migration SET handover_at = NULL WHERE collection_id = {notes}",
        "notes: rows written from now on would be missing in v1",
    ),
}


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("asked", list(MEMBERS))
def test_a_rise_is_refused_for_all_when_one_member_is_not_ready(
    db: Database, conn: Connection, searchers: dict[str, Any], spoil: str, asked: str
) -> None:
    statement, said = SPOILS[spoil]
    notes = collections.get_collection(conn, "notes")
    index = slots.get_slot(conn, notes, "v2").index_name
    conn.execute(statement.replace("{notes}", str(notes.id)).replace("{index}", f'"{index}"'))
    before = routes.get_route(conn, "docs")
    with pytest.raises(RefusedError, match=said) as refused:
        commands.rollout(db, asked, 100, settings=UNWATCHED)
    assert "docs: " not in str(refused.value)
    assert routes.get_route(conn, "docs") == before
    assert served(searchers) == {"docs": "v1", "notes": "v1"}


def test_a_rise_is_refused_while_a_member_has_no_migration(db: Database, conn: Connection) -> None:
    for name in MEMBERS:
        join_group(conn, name)
    make_ready(db, conn, collections.get_collection(conn, "docs"), Placement.COLUMN)
    with pytest.raises(RefusedError, match="notes has no open migration: begin one, embedmig expand notes"):
        commands.rollout(db, "docs", 100, settings=UNWATCHED)


def test_the_last_member_to_close_takes_the_share_to_0_with_it_and_none_hears_from_the_old(
    conn: Connection, searchers: dict[str, Any]
) -> None:
    set_share(conn, 100)
    for name in MEMBERS:
        collection = collections.get_collection(conn, name)
        with conn.transaction():
            migrations.close_migration(conn, migrations.get_migration(conn, collection))
            slots.drop_slot(conn, slots.get_slot(conn, collection, "v1"))
            routes.raise_epoch(conn, "docs")
            if not migrations.count_other_open(conn, collection):
                routes.set_share(conn, "docs", 0)
        assert served(searchers) == {"docs": "v2", "notes": "v2"}
        for other in MEMBERS:
            assert conn.execute("SELECT slot FROM embedmig.serving_v1(%s)", [other]).fetchone() == {"slot": "v2"}
    assert routes.get_route(conn, "docs").share_bp == 0
