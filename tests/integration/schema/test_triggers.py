"""What a user's statement queues, and for which slot: a promise each."""

from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from embedmig.catalog import slots
from embedmig.catalog.collections import get_collection
from embedmig.db import Connection, Database, identifiers, register_vector_types
from embedmig.schema.expanding import undo_expand
from embedmig.schema.handing_over import hand_over, undo_handover
from embedmig.schema.triggers import replace_trigger
from embedmig.types import Collection, Placement
from tests.support import NEW, OLD, embed, expand_docs, fill_slot, make_docs

VECTOR = embed(OLD, ["another text"])[0]
NEW_VECTOR = embed(NEW, ["another text"])[0]

EDIT: LiteralString = "UPDATE docs SET body = 'another' WHERE id = 1"
EDIT_AND_VECTOR: LiteralString = "UPDATE docs SET body = 'another', embedding = %(old)s WHERE id = 1"
VECTOR_ALONE: LiteralString = "UPDATE docs SET embedding = %(old)s WHERE id = 1"
CLEARED: LiteralString = "UPDATE docs SET body = 'another', embedding = NULL WHERE id = 1"
CLEARED_ALONE: LiteralString = "UPDATE docs SET embedding = NULL WHERE id = 1"
NEW_ROW: LiteralString = "INSERT INTO docs (id, title, body) VALUES (99, 'a', 'b')"
NEW_ROW_AND_VECTOR: LiteralString = "INSERT INTO docs (id, title, body, embedding) VALUES (99, 'a', 'b', %(old)s)"
OTHER_COLUMN: LiteralString = "UPDATE docs SET lang = 'fr' WHERE id = 1"
SAME_TEXT: LiteralString = "UPDATE docs SET body = body, title = title WHERE id = 1"


def queued(conn: Connection, slot: str) -> list[tuple[str | None, str]]:
    """(key, kind) of what is queued for a slot, in order; keys of several columns joined by |."""
    rows = conn.execute(
        "SELECT array_to_string(p.key, '|') AS key, p.kind::text AS kind FROM embedmig.pending p"
        " JOIN embedmig.slot s ON s.id = p.slot_id WHERE s.name = %s AND s.dropped_at IS NULL ORDER BY p.seq",
        [slot],
    )
    return [(row["key"], row["kind"]) for row in rows]


@pytest.fixture
def docs(conn: Connection) -> Collection:
    return make_docs(conn, 5)


@pytest.fixture(params=["owner", "application"])
def role(request: pytest.FixtureRequest, conn: Connection, docs: Collection) -> Iterator[sql.Identifier]:
    """Who writes the user's table: its owner, or a role with no right on schema embedmig."""
    if request.param == "owner":
        yield sql.Identifier(conn.info.user)
        return
    name = sql.Identifier(f"app_{conn.info.dbname}")
    conn.execute(sql.SQL("CREATE ROLE {}").format(name))
    conn.execute(sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON docs TO {}").format(name))
    yield name
    conn.execute(sql.SQL("DROP OWNED BY {0}").format(name))
    conn.execute(sql.SQL("DROP ROLE {}").format(name))


def entries_of(
    conn: Connection, role: sql.Identifier, *statements: LiteralString
) -> dict[str, list[tuple[str | None, str]]]:
    """What the statements queue for each slot when ``role`` runs them in one transaction, which is rolled back."""
    with conn.transaction(force_rollback=True):
        conn.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
        for statement in statements:
            conn.execute(statement, {"old": VECTOR})
        conn.execute("RESET ROLE")
        return {slot: queued(conn, slot) for slot in ("v1", "v2")}


def test_the_application_role_has_no_right_on_the_control_schema(conn: Connection, role: sql.Identifier) -> None:
    with conn.transaction(force_rollback=True):
        conn.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
        row = conn.execute(
            "SELECT current_user LIKE 'app%' AS app, has_schema_privilege('embedmig', 'USAGE') AS may"
        ).fetchone()
    assert row is not None
    assert row["app"] is not row["may"]


@pytest.mark.parametrize("placement", list(Placement))
def test_before_handover_an_edit_queues_the_target_alone(
    db: Database, conn: Connection, role: sql.Identifier, placement: Placement
) -> None:
    expand_docs(db, placement)
    target: dict[LiteralString, list[tuple[str, str]]] = {
        EDIT: [("1", "e")],
        EDIT_AND_VECTOR: [("1", "e")],
        VECTOR_ALONE: [],
        CLEARED: [("1", "e")],
        CLEARED_ALONE: [],
        NEW_ROW: [("99", "e")],
        NEW_ROW_AND_VECTOR: [("99", "e")],
        OTHER_COLUMN: [],
        SAME_TEXT: [],
    }
    for statement, entries in target.items():
        assert entries_of(conn, role, statement) == {"v1": [], "v2": entries}, statement
    assert entries_of(conn, role, EDIT, VECTOR_ALONE) == {"v1": [], "v2": [("1", "e")]}


@pytest.mark.parametrize("placement", list(Placement))
def test_after_handover_an_edit_queues_both_and_a_vector_brought_is_kept(
    db: Database, conn: Connection, role: sql.Identifier, docs: Collection, placement: Placement
) -> None:
    expand_docs(db, placement)
    hand_over(conn, docs)
    both: dict[LiteralString, tuple[list[tuple[str, str]], list[tuple[str, str]]]] = {
        EDIT: ([("1", "e")], [("1", "e")]),
        EDIT_AND_VECTOR: ([("1", "a")], [("1", "e")]),
        VECTOR_ALONE: ([("1", "a")], []),
        CLEARED: ([("1", "e")], [("1", "e")]),
        CLEARED_ALONE: ([("1", "e")], []),
        NEW_ROW: ([("99", "e")], [("99", "e")]),
        NEW_ROW_AND_VECTOR: ([("99", "a")], [("99", "e")]),
        OTHER_COLUMN: ([], []),
        SAME_TEXT: ([], []),
    }
    for statement, (source, target) in both.items():
        assert entries_of(conn, role, statement) == {"v1": source, "v2": target}, statement
    second = entries_of(conn, role, EDIT, VECTOR_ALONE)
    assert second == {"v1": [("1", "e"), ("1", "a")], "v2": [("1", "e")]}


def test_a_vector_that_the_application_brings_to_the_target_is_kept(
    db: Database, conn: Connection, docs: Collection
) -> None:
    expand_docs(db)
    conn.execute(
        "UPDATE docs SET body = 'another', embedding_v2 = %s, embedding_v2_model = %s WHERE id = 1",
        [NEW_VECTOR, NEW.id],
    )
    assert queued(conn, "v2") == [("1", "a")]


def test_a_vector_of_ours_that_moves_with_its_row_is_not_taken_for_the_applications(
    db: Database, conn: Connection, docs: Collection
) -> None:
    opened = expand_docs(db)
    fill_slot(conn, docs, opened.target)
    conn.execute("CREATE TEMP TABLE saved AS SELECT * FROM docs WHERE id = 1")
    conn.execute("DELETE FROM docs WHERE id = 1")
    conn.execute("INSERT INTO docs SELECT * FROM saved")
    assert queued(conn, "v2") == [("1", "e")]


def test_our_own_writer_does_not_see_itself(db: Database, conn: Connection, docs: Collection) -> None:
    expand_docs(db)
    with conn.transaction():
        conn.execute("SELECT set_config('embedmig.writer', 'on', true)")
        conn.execute("UPDATE docs SET embedding_v2 = %s, embedding_v2_model = %s WHERE id = 1", [NEW_VECTOR, NEW.id])
    assert queued(conn, "v2") == []
    conn.execute("UPDATE docs SET embedding_v2 = NULL WHERE id = 1")
    assert queued(conn, "v2") == [("1", "e")]


@pytest.mark.parametrize("placement", list(Placement))
def test_a_key_change_queues_both_keys(
    db: Database, conn: Connection, role: sql.Identifier, placement: Placement
) -> None:
    expand_docs(db, placement)
    entries = entries_of(conn, role, "UPDATE docs SET id = 77 WHERE id = 2")["v2"]
    assert entries == [("77", "e"), ("2", "e")]


def test_deletes_and_truncates_are_queued_for_a_companion(db: Database, conn: Connection, role: sql.Identifier) -> None:
    expand_docs(db, Placement.COMPANION)
    entries = entries_of(conn, role, "DELETE FROM docs WHERE id IN (1, 2)", "TRUNCATE docs")["v2"]
    assert entries == [("1", "e"), ("2", "e"), (None, "e")]


def test_deletes_and_truncates_queue_nothing_for_a_column(db: Database, conn: Connection, docs: Collection) -> None:
    expand_docs(db)
    conn.execute("DELETE FROM docs WHERE id = 1")
    conn.execute("TRUNCATE docs")
    assert queued(conn, "v2") == []


@pytest.mark.parametrize(
    ("statement", "entries"),
    [
        ("INSERT INTO docs VALUES (98, 'a', 'b', 'en'), (99, 'a', 'b', 'de'), (100, 'a', 'b', NULL)", [("98", "e")]),
        ("UPDATE docs SET body = 'x' WHERE id IN (1, 2)", [("1", "e")]),
        ("UPDATE docs SET lang = 'en' WHERE id = 2", [("2", "e")]),
        ("UPDATE docs SET lang = 'de' WHERE id = 1", [("1", "e")]),
        ("UPDATE docs SET lang = 'fr' WHERE id = 2", []),
        ("UPDATE docs SET lang = NULL WHERE id = 1", [("1", "e")]),
    ],
)
def test_rows_outside_the_row_filter_queue_nothing_and_crossing_it_queues(
    db: Database, conn: Connection, statement: LiteralString, entries: list[tuple[str, str]]
) -> None:
    make_docs(conn, 5, row_filter="lang LIKE 'e%'", filter_columns=["lang"])
    expand_docs(db)
    conn.execute(statement)
    assert queued(conn, "v2") == entries


def test_a_filter_that_the_trigger_could_not_evaluate_is_refused_before_any_write_fails(
    db: Database, conn: Connection
) -> None:
    conn.execute("CREATE FUNCTION public.is_mine(text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN $1 = 'en'")
    make_docs(conn, 3, row_filter="is_mine(lang)", filter_columns=["lang"])
    with pytest.raises(Exception, match="is_mine"):
        expand_docs(db)
    conn.execute("UPDATE docs SET body = 'x' WHERE id = 1")


def test_bytes_decide_and_not_what_the_type_calls_equal(db: Database, conn: Connection, docs: Collection) -> None:
    conn.execute("ALTER TABLE docs ALTER COLUMN title TYPE numeric USING 1.0")
    expand_docs(db)
    conn.execute("UPDATE docs SET title = 1.00 WHERE id = 1")
    assert queued(conn, "v2") == [("1", "e")]


def test_a_text_column_of_a_type_without_equality_can_be_watched(db: Database, conn: Connection) -> None:
    make_docs(conn, 3)
    conn.execute("ALTER TABLE docs ALTER COLUMN body TYPE json USING to_json(body)")
    expand_docs(db)
    conn.execute("""UPDATE docs SET body = '{"a": 1}' WHERE id = 1""")
    conn.execute("""UPDATE docs SET body = '{"a": 1}' WHERE id = 1""")
    assert queued(conn, "v2") == [("1", "e")]


def test_a_text_that_another_trigger_sets_is_seen(db: Database, conn: Connection, docs: Collection) -> None:
    conn.execute("""CREATE FUNCTION retitle() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.title := 'set by ' || NEW.lang; RETURN NEW; END $$""")
    conn.execute("CREATE TRIGGER retitle BEFORE UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION retitle()")
    expand_docs(db)
    conn.execute(OTHER_COLUMN)
    assert queued(conn, "v2") == [("1", "e")]


def test_keys_are_queued_alike_whatever_the_session_prints(db: Database, conn: Connection) -> None:
    key = (("day", "date"), ("Tenant", "text"), ("raw", "bytea"))
    collection = make_docs(conn, 0, key=key)
    expand_docs(db)
    conn.execute("SET datestyle = 'SQL, DMY'")
    conn.execute("SET bytea_output = 'escape'")
    conn.execute("""INSERT INTO docs (day, "Tenant", raw, title) VALUES ('2026-02-01', 'a,"b', '\\x01ff', 't')""")
    row = conn.execute("SELECT key, bucket FROM embedmig.pending").fetchone()
    assert row is not None
    assert row["key"] == ["2026-02-01", 'a,"b', "\\x01ff"]
    key_array = sql.SQL("{}::text[]").format(sql.Literal(row["key"]))
    found = conn.execute(
        sql.SQL("SELECT title, {} AS bucket FROM docs WHERE ({}) = ({})").format(
            identifiers.bucket(key_array),
            identifiers.keys(collection),
            identifiers.key_from_array(collection, key_array),
        )
    ).fetchone()
    assert found == {"title": "t", "bucket": row["bucket"]}
    assert 0 <= row["bucket"] <= 7


def test_names_with_quotes_spaces_and_upper_case_are_names(db: Database, conn: Connection) -> None:
    make_docs(conn, 2, schema='My "Own" Schema', table="Docs; drop", key=(("Key Of", "text"), ('n"o', "uuid")))
    expand_docs(db, Placement.COMPANION)
    conn.execute("""UPDATE "My ""Own"" Schema"."Docs; drop" SET body = 'x' WHERE "Key Of" = 'key 1'""")
    conn.execute("""DELETE FROM "My ""Own"" Schema"."Docs; drop" WHERE "Key Of" = 'key 2'""")
    assert [kind for _, kind in queued(conn, "v2")] == ["e", "e"]


@pytest.mark.parametrize("placement", list(Placement))
def test_a_partitioned_table_queues_from_every_partition(
    db: Database, conn: Connection, docs: Collection, placement: Placement
) -> None:
    conn.execute("ALTER TABLE docs RENAME TO unpartitioned")
    conn.execute(
        "CREATE TABLE docs (id bigint PRIMARY KEY, title text, body text, lang text, embedding vector(16))"
        " PARTITION BY RANGE (id)"
    )
    conn.execute("CREATE TABLE low (lang text, body text, embedding vector(16), title text, id bigint NOT NULL)")
    conn.execute("ALTER TABLE docs ATTACH PARTITION low FOR VALUES FROM (0) TO (100)")
    conn.execute("CREATE TABLE high PARTITION OF docs FOR VALUES FROM (100) TO (200)")
    conn.execute("INSERT INTO docs VALUES (50, 'there', 'before')")
    expand_docs(db, placement)
    assert conn.execute("SELECT FROM pg_constraint WHERE NOT convalidated").fetchall() == []
    conn.execute("INSERT INTO docs VALUES (1, 'a', 'b'), (101, 'c', 'd')")
    conn.execute("UPDATE docs SET body = 'x' WHERE id = 50")
    assert queued(conn, "v2") == [("1", "e"), ("101", "e"), ("50", "e")]
    conn.execute("DELETE FROM embedmig.pending")
    # Postgres moves a row between partitions as a delete and an insert.
    conn.execute("UPDATE docs SET id = 150 WHERE id = 1")
    moved = [("150", "e")] if placement is Placement.COLUMN else [("1", "e"), ("150", "e")]
    assert sorted(queued(conn, "v2")) == moved
    undo_expand(conn, docs)
    assert conn.execute("SELECT FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE 'embedmig%'").fetchall() == []


def test_a_role_that_could_not_fill_the_queue_cannot_make_triggers_that_would_fail_the_users_writes(
    conn: Connection, docs: Collection, db: Database
) -> None:
    expand_docs(db, Placement.COMPANION)
    role = sql.Identifier(f"owner_{conn.info.dbname}")
    conn.execute(sql.SQL("CREATE ROLE {}").format(role))
    try:
        conn.execute(sql.SQL("GRANT USAGE ON SCHEMA embedmig TO {}").format(role))
        conn.execute(
            sql.SQL("GRANT SELECT ON embedmig.collection, embedmig.slot, embedmig.migration TO {}").format(role)
        )
        conn.execute(sql.SQL("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA embedmig TO {}").format(role))
        with conn.transaction(force_rollback=True):
            conn.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"may not write embedmig\.pending"):
                replace_trigger(conn, docs)
    finally:
        conn.execute(sql.SQL("DROP OWNED BY {}").format(role))
        conn.execute(sql.SQL("DROP ROLE {}").format(role))


def test_the_triggers_of_a_subscriber_fire_for_replicated_rows(db: Database, conn: Connection) -> None:
    make_docs(conn, 2)
    conn.execute("SET allow_system_table_mods = on")
    conn.execute("INSERT INTO pg_subscription_rel VALUES (1, 'docs'::regclass, 'r', NULL)")
    expand_docs(db, Placement.COMPANION)
    conn.execute("DELETE FROM pg_subscription_rel")
    conn.execute("SET session_replication_role = replica")
    conn.execute("UPDATE docs SET body = 'x' WHERE id = 1")
    conn.execute("DELETE FROM docs WHERE id = 2")
    assert queued(conn, "v2") == [("1", "e"), ("2", "e")]


def test_without_a_maintained_slot_there_is_no_trigger_and_no_function(
    db: Database, conn: Connection, docs: Collection
) -> None:
    expand_docs(db, Placement.COMPANION)
    assert _triggers(conn) == ["delete", "insert", "truncate", "update"]
    undo_expand(conn, docs)
    assert _triggers(conn) == []
    assert conn.execute("SELECT FROM pg_proc WHERE proname = %s", [f"queue_{docs.id}"]).fetchone() is None


def test_replacing_triggers_again_changes_nothing(db: Database, conn: Connection, docs: Collection) -> None:
    expand_docs(db)
    before = conn.execute("SELECT pg_get_triggerdef(oid) FROM pg_trigger ORDER BY 1").fetchall()
    replace_trigger(conn, docs)
    assert conn.execute("SELECT pg_get_triggerdef(oid) FROM pg_trigger ORDER BY 1").fetchall() == before


def test_undoing_the_handover_stops_queueing_the_source(db: Database, conn: Connection, docs: Collection) -> None:
    expand_docs(db)
    hand_over(conn, docs)
    undo_handover(conn, docs)
    conn.execute(EDIT)
    assert (queued(conn, "v1"), queued(conn, "v2")) == ([], [("1", "e")])


def test_a_writer_in_flight_is_waited_for_so_that_its_edit_is_queued_or_seen(
    db: Database, conn: Connection, docs: Collection
) -> None:
    from embedmig.errors import LockedError
    from embedmig.settings import Settings

    expand_docs(db)
    impatient = Settings(lock_timeout_s=0.05, lock_attempts=1)
    with psycopg.connect(db.url) as user:
        register_vector_types(user)
        user.execute("UPDATE docs SET body = 'in flight' WHERE id = 3")
        with pytest.raises(LockedError, match=f"pid {user.info.backend_pid}"):
            hand_over(conn, docs, settings=impatient)
        assert slots.get_slot(conn, docs, "v1").maintained_by == "app"
    hand_over(conn, get_collection(conn, "docs"), settings=impatient)
    assert slots.get_slot(conn, docs, "v1").maintained_by == "embedmig"


def _triggers(conn: Connection) -> list[str]:
    rows = conn.execute(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'docs'::regclass AND NOT tgisinternal ORDER BY 1"
    )
    return [row["tgname"].rpartition("_")[2] for row in rows]
