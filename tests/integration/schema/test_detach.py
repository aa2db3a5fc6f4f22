"""detach: at every stage the user's table is left as a table of the user's own."""

import pytest

from embedmig import commands
from embedmig.catalog import collections, routes, slots
from embedmig.catalog.events import list_events
from embedmig.catalog.traffic import report_queries
from embedmig.db import Connection, Database
from embedmig.errors import ConflictError, DatabaseError, NotFoundError, RefusedError
from embedmig.types import Collection, Placement
from tests.rollout_support import add_pairs, add_served
from tests.support import OLD, embed, expand_docs, make_docs, switch_docs

PLAIN = ["id", "title", "body", "lang", "embedding"]


@pytest.fixture
def docs(conn: Connection) -> Collection:
    return make_docs(conn, 6)


def columns(conn: Connection) -> list[str]:
    rows = conn.execute(
        "SELECT attname AS n FROM pg_attribute WHERE attrelid = 'docs'::regclass AND attnum > 0 AND NOT attisdropped"
    )
    return [row["n"] for row in rows]


def left_of_ours(conn: Connection) -> list[str]:
    """Triggers, checks and relations of the collection that are still there."""
    rows = conn.execute(
        "SELECT tgname AS n FROM pg_trigger WHERE tgname LIKE 'embedmig%' UNION ALL"
        " SELECT conname FROM pg_constraint WHERE conname LIKE 'embedmig%' UNION ALL"
        " SELECT relname FROM pg_class WHERE relnamespace = 'embedmig'::regnamespace AND relname LIKE 'docs%' UNION ALL"
        " SELECT proname FROM pg_proc WHERE pronamespace = 'embedmig'::regnamespace AND proname LIKE 'queue%'"
    )
    return [row["n"] for row in rows]


def assert_free(conn: Connection) -> None:
    assert left_of_ours(conn) == []
    assert collections.list_collections(conn) == []
    for table in ("slot", "migration", "pending", "chunk", "route"):
        assert conn.execute(f"SELECT FROM embedmig.{table}").fetchall() == []  # type: ignore[arg-type]
    conn.execute("UPDATE docs SET body = 'x' WHERE id = 1")
    assert list_events(conn, "docs")[0].verb == "detach"


def test_a_collection_that_was_only_registered_is_forgotten(db: Database, conn: Connection, docs: Collection) -> None:
    result = commands.detach(db, "docs")
    assert (result.kept, result.dropped) == (("v1",), ())
    assert columns(conn) == PLAIN
    assert_free(conn)


@pytest.mark.parametrize("placement", list(Placement))
@pytest.mark.parametrize("handed_over", [False, True])
def test_at_share_0_the_target_goes_and_the_table_is_as_it_was(
    db: Database, conn: Connection, docs: Collection, placement: Placement, handed_over: bool
) -> None:
    expand_docs(db, placement)
    if handed_over:
        switch_docs(conn, docs)
        routes.set_share(conn, "docs", 0)
    before = conn.execute("SELECT id, embedding FROM docs ORDER BY id").fetchall()
    result = commands.detach(db, "docs")
    assert (result.kept, result.dropped) == (("v1",), ("v2",))
    assert columns(conn) == PLAIN
    assert conn.execute("SELECT id, embedding FROM docs ORDER BY id").fetchall() == before
    assert_free(conn)


def test_above_share_0_it_asks_which_slot_stays(db: Database, conn: Connection, docs: Collection) -> None:
    expand_docs(db)
    switch_docs(conn, docs)
    with pytest.raises(RefusedError, match="--keep v1 or --keep v2"):
        commands.detach(db, "docs")
    with pytest.raises(NotFoundError, match="v9"):
        commands.detach(db, "docs", keep="v9")
    assert [slot.name for slot in slots.list_slots(conn, docs)] == ["v1", "v2"]


@pytest.mark.parametrize(("keep", "left"), [("v1", PLAIN), ("v2", [*PLAIN, "embedding_v2"])])
def test_a_column_that_was_there_before_stays_whichever_is_kept(
    db: Database, conn: Connection, docs: Collection, keep: str, left: list[str]
) -> None:
    expand_docs(db)
    switch_docs(conn, docs)
    commands.detach(db, "docs", keep=keep)
    assert columns(conn) == left
    assert_free(conn)


def test_a_companion_that_stays_becomes_a_plain_table_and_it_is_said(
    db: Database, conn: Connection, docs: Collection
) -> None:
    expand_docs(db, Placement.COMPANION)
    switch_docs(conn, docs)
    result = commands.detach(db, "docs", keep="v2")
    assert result.moved_to == "public.docs_v2"
    assert conn.execute("SELECT count(*) AS n FROM public.docs_v2").fetchone() == {"n": 6}
    assert_free(conn)


def test_a_companion_whose_name_is_taken_is_not_moved_over_it(db: Database, conn: Connection, docs: Collection) -> None:
    expand_docs(db, Placement.COMPANION)
    switch_docs(conn, docs)
    conn.execute("CREATE TABLE docs_v2 ()")
    with pytest.raises(ConflictError, match="rename that first"):
        commands.detach(db, "docs", keep="v2")


@pytest.mark.parametrize("placement", list(Placement))
def test_after_contract_the_only_slot_stays(
    db: Database, conn: Connection, docs: Collection, placement: Placement
) -> None:
    expand_docs(db, placement)
    switch_docs(conn, docs)
    commands.contract(db, "docs")
    result = commands.detach(db, "docs")
    assert result.kept == ("v2",)
    column = placement is Placement.COLUMN
    assert columns(conn) == [*PLAIN[:4], *(["embedding_v2"] if column else [])]
    table = "docs" if column else "docs_v2"
    vector = "embedding_v2" if column else "embedding"
    assert conn.execute(f"SELECT count({vector}) AS n FROM {table}").fetchone() == {"n": 6}  # type: ignore[arg-type]
    assert_free(conn)


def test_between_retire_and_drop_it_leaves_the_source(db: Database, conn: Connection, docs: Collection) -> None:
    expand_docs(db)
    switch_docs(conn, docs)
    commands.contract(db, "docs", only_retire=True)
    commands.detach(db, "docs", keep="v2")
    assert columns(conn) == [*PLAIN, "embedding_v2"]
    assert_free(conn)


def test_it_refuses_while_a_process_is_pinned_to_what_would_go(
    db: Database, conn: Connection, docs: Collection
) -> None:
    opened = expand_docs(db)
    routes.report_pin(conn, docs, host="web1", pid=7, pin="new", slot_id=opened.target.id, epoch=1)
    with pytest.raises(RefusedError, match="pid 7 on web1"):
        commands.detach(db, "docs")


def test_something_of_the_users_that_needs_the_target_stops_it_and_nothing_is_changed(
    db: Database, conn: Connection, docs: Collection
) -> None:
    expand_docs(db)
    conn.execute("CREATE VIEW theirs AS SELECT embedding_v2 FROM docs")
    before = columns(conn), left_of_ours(conn)
    with pytest.raises(DatabaseError, match="depend on it"):
        commands.detach(db, "docs")
    assert (columns(conn), left_of_ours(conn)) == before
    assert collections.get_collection(conn, "docs") == docs


def test_the_other_members_of_a_group_keep_their_route(db: Database, conn: Connection, docs: Collection) -> None:
    make_docs(conn, 3, name="notes", table="notes")
    conn.execute("UPDATE embedmig.collection SET group_name = 'notes' WHERE name = 'docs'")
    commands.detach(db, "docs")
    assert routes.get_route(conn, "notes").share_bp == 0
    assert [there.name for there in collections.list_collections(conn)] == ["notes"]


def test_a_dry_run_changes_nothing(db: Database, conn: Connection, docs: Collection) -> None:
    expand_docs(db)
    before = columns(conn), left_of_ours(conn)
    result = commands.detach(db, "docs", dry_run=True)
    assert not result.done
    assert any('DROP COLUMN IF EXISTS "embedding_v2"' in statement for statement in result.sql)
    assert (columns(conn), left_of_ours(conn)) == before


def test_sql_frees_the_users_writes_and_touches_no_catalog(db: Database, conn: Connection, docs: Collection) -> None:
    make_docs(conn, 2, name="notes", table="notes")
    expand_docs(db, Placement.COMPANION)
    expand_docs(db, collection="notes")
    statements = commands.detach_sql(db, "docs")
    assert len(statements) == 4
    assert all('ON "public"."docs"' in statement for statement in statements)
    conn.execute("ALTER TABLE embedmig.pending RENAME TO broken")
    with pytest.raises(Exception, match="pending"):
        conn.execute("UPDATE docs SET body = 'x' WHERE id = 1")
    for statement in statements:
        conn.execute(statement)  # type: ignore[arg-type]
    conn.execute("UPDATE docs SET body = 'x' WHERE id = 1")
    assert [slot.name for slot in slots.list_slots(conn, docs)] == ["v1", "v2"]


def test_sql_works_where_the_catalog_is_gone(db: Database, conn: Connection, docs: Collection) -> None:
    expand_docs(db)
    conn.execute("DROP TABLE embedmig.collection CASCADE")
    statements = commands.detach_sql(db, "docs")
    assert len(statements) == 2
    conn.execute("DROP TABLE embedmig.pending")
    for statement in statements:
        conn.execute(statement)  # type: ignore[arg-type]
    conn.execute("UPDATE docs SET body = 'x', embedding = %s WHERE id = 1", [embed(OLD, ["x"])[0]])
    conn.execute("DROP SCHEMA embedmig CASCADE")
    assert commands.detach_sql(db, "docs") == []


def test_texts_of_queries_and_counts_go_with_the_collection(db: Database, conn: Connection, docs: Collection) -> None:
    expand_docs(db)
    add_pairs(conn, docs, tenths=[9, 10])
    add_served(conn, docs, "v1", 3)
    report_queries(conn, docs.id, [{"text": "a user's words", "label": "", "times": 1}])
    conn.execute(
        "INSERT INTO embedmig.found SELECT id, current_date, '{1}', 1 FROM embedmig.slot WHERE collection_id = %s",
        [docs.id],
    )
    commands.detach(db, "docs")
    for table in ("shadow", "served", "shadow_query", "found"):
        assert conn.execute(f"SELECT FROM embedmig.{table}").fetchall() == []  # type: ignore[arg-type]
