"""Expand and its undo, on Postgres."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from embedmig.catalog import migrations, models, routes, slots
from embedmig.catalog.events import list_events
from embedmig.catalog.install import install
from embedmig.db import Connection, Database, identifiers
from embedmig.errors import ConflictError, LockedError, RefusedError, UnsupportedError, UsageError
from embedmig.schema.constraints import validate_checks
from embedmig.schema.designing import design_target, vector_type_of
from embedmig.schema.expanding import add_operation, expand, source_of, undo_expand
from embedmig.schema.handing_over import hand_over
from embedmig.settings import Settings
from embedmig.types import Collection, KeyColumn, Model, Placement, Slot
from tests.support import NEW, OLD, bridge_id, embed, expand_docs, make_docs

IMPATIENT = Settings(lock_timeout_s=0.05, lock_attempts=2)


@pytest.fixture
def docs(conn: Connection) -> Collection:
    return make_docs(conn, 5)


def columns(conn: Connection, table: str = "docs") -> list[str]:
    rows = conn.execute(
        "SELECT attname AS n FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        " ORDER BY attnum",
        [table],
    )
    return [row["n"] for row in rows]


def filenode(conn: Connection) -> Any:
    row = conn.execute("SELECT pg_relation_filenode('docs') AS file, count(*) AS rows FROM docs").fetchone()
    return row


def test_a_column_target_adds_three_columns_and_labels_the_source(
    db: Database, conn: Connection, docs: Collection
) -> None:
    before = columns(conn)
    opened = expand_docs(db)
    assert columns(conn) == [*before, "embedding_v2", "embedding_v2_model", "embedding_v2_hash", "embedding_model"]
    assert opened.source.model_column == "embedding_model"
    assert opened.target.bridge_model_id == bridge_id()
    assert conn.execute("SELECT DISTINCT embedding_model AS m, embedding_v2_model AS m2 FROM docs").fetchall() == [
        {"m": OLD.id, "m2": None}
    ]


def test_a_companion_target_gives_the_users_table_no_column_at_all(
    db: Database, conn: Connection, docs: Collection
) -> None:
    before = columns(conn)
    opened = expand_docs(db, Placement.COMPANION)
    assert columns(conn) == before
    assert opened.source.model_column is None
    assert columns(conn, "embedmig.docs_v2") == ["id", "embedding", "embedding_model", "embedding_hash"]


@pytest.mark.parametrize("placement", list(Placement))
def test_no_row_is_rewritten(db: Database, conn: Connection, docs: Collection, placement: Placement) -> None:
    before = filenode(conn)
    expand_docs(db, placement)
    assert filenode(conn) == before
    undo_expand(conn, docs)
    assert filenode(conn) == before


def test_the_table_is_not_read_under_the_lock_that_stops_everyone(
    db: Database, conn: Connection, docs: Collection
) -> None:
    op, _, _ = add_operation(conn, docs, NEW, Placement.COLUMN)
    with conn.transaction():
        conn.execute("SET LOCAL stats_fetch_consistency = 'none'")
        scans = _scans(conn)
        for statement in op.statements():
            conn.execute(statement)
        assert _scans(conn) == scans
        rows = conn.execute("SELECT convalidated FROM pg_constraint WHERE starts_with(conname, 'embedmig_')").fetchall()
        assert rows == [{"convalidated": False}] * 2
    assert validate_checks(conn, docs, slots.get_slot(conn, docs, "v2")) == 2
    assert validate_checks(conn, docs, slots.get_slot(conn, docs, "v2")) == 0


def _scans(conn: Connection) -> Any:
    return conn.execute("SELECT pg_stat_get_xact_numscans('docs'::regclass) AS scans").fetchone()


@pytest.mark.parametrize(
    ("vector", "model", "passes"),
    [
        (None, None, True),
        (None, OLD.id, True),
        (True, None, False),
        (True, OLD.id, True),
        (True, NEW.id, False),
    ],
)
def test_no_vector_stands_without_its_model_on_the_users_table(
    db: Database, conn: Connection, docs: Collection, vector: bool | None, model: int | None, passes: bool
) -> None:
    expand_docs(db)
    values = [embed(OLD, ["x"])[0] if vector else None, model]
    target = [embed(NEW, ["x"])[0] if vector else None, {OLD.id: NEW.id, NEW.id: OLD.id}.get(model or 0)]
    for statement, given in (
        ("UPDATE docs SET embedding = %s, embedding_model = %s WHERE id = 1", values),
        ("UPDATE docs SET embedding_v2 = %s, embedding_v2_model = %s WHERE id = 1", target),
    ):
        assert _passes(conn, statement, given) is passes  # type: ignore[arg-type]


def test_a_bridged_vector_may_stand_in_the_target_and_not_in_the_source(
    db: Database, conn: Connection, docs: Collection
) -> None:
    expand_docs(db)
    new, old = embed(NEW, ["x"])[0], embed(OLD, ["x"])[0]
    assert _passes(conn, "UPDATE docs SET embedding_v2 = %s, embedding_v2_model = %s", [new, bridge_id()])
    assert not _passes(conn, "UPDATE docs SET embedding = %s, embedding_model = %s", [old, bridge_id()])


def test_no_vector_stands_without_its_model_in_a_companion(db: Database, conn: Connection, docs: Collection) -> None:
    expand_docs(db, Placement.COMPANION)
    insert = "INSERT INTO embedmig.docs_v2 VALUES (1, %s, %s, NULL)"
    new = embed(NEW, ["x"])[0]
    for values, passes in (
        ([None, None], False),
        ([None, NEW.id], False),
        ([new, None], False),
        ([new, OLD.id], False),
        ([new, NEW.id], True),
        ([new, bridge_id()], True),
    ):
        assert _passes(conn, insert, values) is passes, values


def _passes(conn: Connection, statement: Any, values: list[Any]) -> bool:
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(statement, values)
    except (psycopg.errors.CheckViolation, psycopg.errors.NotNullViolation):
        return False
    return True


@pytest.mark.parametrize("placement", list(Placement))
def test_a_lock_held_by_someone_else_is_named_and_nothing_is_changed(
    db: Database, conn: Connection, docs: Collection, placement: Placement
) -> None:
    before = columns(conn)
    with psycopg.connect(db.url, application_name="reporting") as user:
        user.execute("UPDATE docs SET lang = 'fr' WHERE id = 1")
        with pytest.raises(LockedError, match=f"pid {user.info.backend_pid} \\(reporting"):
            expand(conn, docs, NEW, placement, settings=IMPATIENT)
    assert columns(conn) == before
    assert migrations.find_migration(conn, docs) is None
    assert conn.execute("SELECT to_regclass('embedmig.docs_v2') AS t").fetchone() == {"t": None}
    expand(conn, docs, NEW, placement, settings=IMPATIENT)


@pytest.mark.parametrize("placement", list(Placement))
def test_names_with_quotes_spaces_and_upper_case_are_names(
    db: Database, conn: Connection, placement: Placement
) -> None:
    key = (("Key Of", "text"), ('n"o', "uuid"), ("small", "smallint"))
    collection = make_docs(conn, 3, name='Our "Docs"', schema='My "Own" Schema', table="Docs; drop", key=key)
    opened = expand_docs(db, placement, collection='Our "Docs"')
    joined = sql.SQL("SELECT count(*) AS n FROM {} AS d {} WHERE {}").format(
        identifiers.table(collection),
        identifiers.join_slot(collection, opened.target),
        identifiers.is_missing(opened.target),
    )
    assert conn.execute(joined).fetchone() == {"n": 3}
    undo_expand(conn, collection)
    assert slots.list_slots(conn, collection) == [source_of(conn, collection)]


def test_a_companion_keeps_the_types_lengths_and_collations_of_the_key(db: Database, conn: Connection) -> None:
    conn.execute("CREATE DOMAIN code AS varchar(12)")
    key = (("a", "varchar(7)"), ("b", 'text COLLATE "C"'), ("c", "uuid"), ("d", "timestamp(3)"), ("e", "code"))
    conn.execute(
        sql.SQL(
            "CREATE TABLE keyed ({}, title text, body text, embedding vector(16), PRIMARY KEY (a, b, c, d, e))"
        ).format(sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(t)) for n, t in key))
    )
    docs = make_docs(conn, 1)
    collection = Collection(**{**docs.__dict__, "table": "keyed"})
    conn.execute(
        "UPDATE embedmig.collection SET table_name = 'keyed', key_columns = '{a,b,c,d,e}', key_types ="
        " '{character varying(7),text,uuid,timestamp(3) without time zone,code}'"
    )
    conn.execute("UPDATE embedmig.slot SET table_name = 'keyed'")
    opened = expand_docs(db, Placement.COMPANION)
    assert opened.target.table == "docs_v2"
    facts = sql.SQL(
        "SELECT attname AS n, format_type(atttypid, atttypmod) AS t, attcollation AS c, attnotnull AS nn"
        " FROM pg_attribute WHERE attrelid = {}::regclass AND attname = ANY ('{{a,b,c,d,e}}') ORDER BY 1"
    )
    mine = conn.execute(facts.format(sql.Literal("embedmig.docs_v2"))).fetchall()
    assert mine == conn.execute(facts.format(sql.Literal(collection.table))).fetchall()


def test_model_ids_agree_between_two_databases(
    db: Database, bare_db: Database, conn: Connection, docs: Collection
) -> None:
    expand_docs(db)
    with bare_db.connect() as other:
        other.execute("CREATE EXTENSION vector")
        install(bare_db)
    with bare_db.connect() as other:
        make_docs(other, 1)
        expand_docs(bare_db)
        query = "SELECT pg_get_constraintdef(oid) AS d FROM pg_constraint WHERE conname LIKE 'embedmig%' ORDER BY 1"
        assert other.execute(query).fetchall() == conn.execute(query).fetchall()


def test_a_second_migration_is_refused_while_one_is_open(db: Database, conn: Connection, docs: Collection) -> None:
    expand_docs(db)
    with pytest.raises(RefusedError, match="open migration to slot v2"):
        expand(conn, docs, NEW, Placement.COLUMN)


def test_expand_is_refused_while_the_share_is_not_0(conn: Connection, docs: Collection) -> None:
    routes.set_share(conn, "docs", 10_000)
    with pytest.raises(RefusedError, match=r"at 100\.00 %"):
        expand(conn, docs, NEW, Placement.COLUMN)


@pytest.mark.parametrize(("pin", "refused"), [("old", True), ("new", True), ("v1", False)])
def test_expand_is_refused_while_a_process_is_pinned_to_a_word_that_would_change_its_meaning(
    conn: Connection, docs: Collection, pin: str, refused: bool
) -> None:
    source = slots.get_slot(conn, docs, "v1")
    routes.report_pin(conn, docs, host="web1", pid=7, pin=pin, slot_id=source.id, epoch=1)
    if refused:
        with pytest.raises(RefusedError, match="pid 7 on web1"):
            expand(conn, docs, NEW, Placement.COLUMN)
        conn.execute("UPDATE embedmig.pin SET seen_at = seen_at - interval '11 minutes'")
    expand(conn, docs, NEW, Placement.COLUMN)


def test_the_same_model_is_no_migration(conn: Connection, docs: Collection) -> None:
    with pytest.raises(UsageError, match="nothing to migrate"):
        expand(conn, docs, OLD, Placement.COLUMN)


@pytest.mark.parametrize(
    ("statement", "placement", "name"),
    [
        ("ALTER TABLE docs ADD COLUMN embedding_v2_hash text", Placement.COLUMN, "embedding_v2_hash"),
        ("ALTER TABLE docs ADD COLUMN embedding_model text", Placement.COLUMN, "embedding_model"),
        ("CREATE TABLE embedmig.docs_v2 ()", Placement.COMPANION, "docs_v2"),
    ],
)
def test_a_name_that_is_taken_is_refused_before_anything(
    conn: Connection, docs: Collection, statement: Any, placement: Placement, name: str
) -> None:
    conn.execute(statement)
    before = columns(conn)
    with pytest.raises(ConflictError, match=name):
        expand(conn, docs, NEW, placement)
    assert columns(conn) == before


def test_a_name_over_63_bytes_is_refused_before_anything(conn: Connection) -> None:
    collection = make_docs(conn, 1, name="d" * 61)
    with pytest.raises(UnsupportedError, match="63 bytes"):
        expand(conn, collection, NEW, Placement.COMPANION)
    expand(conn, collection, NEW, Placement.COLUMN)


def test_a_key_named_as_a_companions_own_column_is_refused(conn: Connection) -> None:
    collection = make_docs(conn, 1, key=(("embedding_hash", "bigint"),))
    with pytest.raises(UnsupportedError, match="--placement column"):
        expand(conn, collection, NEW, Placement.COMPANION)


@pytest.mark.parametrize(
    ("dimensions", "kind"), [(2_000, "vector"), (2_001, "halfvec"), (4_000, "halfvec"), (4_001, "vector")]
)
def test_the_type_is_the_widest_that_can_be_indexed(
    conn: Connection, docs: Collection, dimensions: int, kind: str
) -> None:
    model = Model(name="wide", revision="1", provider="hashing", dimensions=dimensions)
    models.add_model(conn, model, None)
    assert expand(conn, docs, model, Placement.COLUMN).target.vector_type == kind
    row = conn.execute(
        "SELECT format_type(atttypid, atttypmod) AS t FROM pg_attribute WHERE attname = 'embedding_v2'"
    ).fetchone()
    assert row == {"t": f"{kind}({dimensions})"}


def test_more_dimensions_than_pgvector_stores_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="16,000"):
        vector_type_of(Model(name="huge", revision="1", provider="hashing", dimensions=16_001))


@pytest.mark.parametrize(("dimensions", "storage"), [(384, "e"), (1_536, "p"), (3_072, "p"), (5_000, "e")])
def test_a_companion_keeps_vectors_in_the_row_where_they_fit_a_page(
    conn: Connection, docs: Collection, dimensions: int, storage: str
) -> None:
    model = Model(name="wide", revision="1", provider="hashing", dimensions=dimensions)
    models.add_model(conn, model, None)
    expand(conn, docs, model, Placement.COMPANION)
    row = conn.execute(
        "SELECT attstorage::text AS s FROM pg_attribute WHERE attrelid = 'embedmig.docs_v2'::regclass"
        " AND attname = 'embedding'"
    ).fetchone()
    assert row == {"s": storage}


def test_auto_chooses_and_says_why(conn: Connection, docs: Collection) -> None:
    opened = expand(conn, docs, NEW)
    assert opened.target.placement is Placement.COLUMN
    assert "no ANN index" in opened.why_placed


def test_a_companion_is_read_by_those_who_read_the_table_and_by_no_one_else(
    db: Database, conn: Connection, docs: Collection
) -> None:
    reader, other = f"reader_{uuid4().hex[:8]}", f"other_{uuid4().hex[:8]}"
    for role in (reader, other):
        conn.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    try:
        conn.execute(sql.SQL("GRANT SELECT ON docs TO {}").format(sql.Identifier(reader)))
        conn.execute(sql.SQL("GRANT UPDATE ON docs TO {}").format(sql.Identifier(other)))
        conn.execute(
            sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA embedmig GRANT ALL ON TABLES TO {}, PUBLIC").format(
                sql.Identifier(other)
            )
        )
        expand_docs(db, Placement.COMPANION)
        query = (
            "SELECT has_table_privilege(%s, 'embedmig.docs_v2', 'SELECT') AS r,"
            " has_table_privilege(%s, 'embedmig.docs_v2', 'INSERT') AS w"
        )
        assert conn.execute(query, [reader, reader]).fetchone() == {"r": True, "w": False}
        assert conn.execute(query, [other, other]).fetchone() == {"r": False, "w": False}
    finally:
        for role in (reader, other):
            conn.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
            conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_a_row_of_a_companion_is_seen_by_whom_the_row_of_the_table_is(
    db: Database, conn: Connection, docs: Collection
) -> None:
    role = sql.Identifier(f"reader_{uuid4().hex[:8]}")
    conn.execute(sql.SQL("CREATE ROLE {}").format(role))
    try:
        conn.execute(sql.SQL("GRANT SELECT ON docs TO {}").format(role))
        conn.execute("ALTER TABLE docs ENABLE ROW LEVEL SECURITY")
        conn.execute("CREATE POLICY english ON docs USING (lang = 'en')")
        expand_docs(db, Placement.COMPANION)
        conn.execute(sql.SQL("GRANT USAGE ON SCHEMA embedmig TO {}").format(role))
        for key in (1, 2):
            conn.execute("INSERT INTO embedmig.docs_v2 VALUES (%s, %s, %s)", [key, embed(NEW, ["x"])[0], NEW.id])
        with conn.transaction():
            conn.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
            assert conn.execute("SELECT id FROM embedmig.docs_v2").fetchall() == [{"id": 1}]
    finally:
        conn.execute(sql.SQL("DROP OWNED BY {}").format(role))
        conn.execute(sql.SQL("DROP ROLE {}").format(role))


@pytest.mark.parametrize("placement", list(Placement))
def test_undo_leaves_the_table_and_the_catalog_as_they_were(
    db: Database, conn: Connection, docs: Collection, placement: Placement
) -> None:
    before = columns(conn), slots.list_slots(conn, docs)
    expand_docs(db, placement)
    conn.execute("UPDATE docs SET body = 'x' WHERE id = 1")
    epoch = routes.get_route(conn, "docs").epoch
    undo_expand(conn, docs)
    assert (columns(conn), slots.list_slots(conn, docs)) == before
    assert migrations.find_migration(conn, docs) is None
    assert conn.execute("SELECT count(*) AS n FROM embedmig.pending").fetchone() == {"n": 0}
    assert routes.get_route(conn, "docs").epoch == epoch + 1
    assert [event.verb for event in list_events(conn, "docs")] == ["expand --undo", "expand"]


def test_undo_is_refused_while_the_target_serves_or_after_the_handover(
    db: Database, conn: Connection, docs: Collection
) -> None:
    opened = expand_docs(db)
    routes.set_share(conn, "docs", 100)
    with pytest.raises(RefusedError, match="embedmig rollback docs"):
        undo_expand(conn, docs)
    routes.set_share(conn, "docs", 0)
    routes.report_pin(conn, docs, host="web1", pid=7, pin="new", slot_id=opened.target.id, epoch=1)
    with pytest.raises(RefusedError, match="pid 7 on web1"):
        undo_expand(conn, docs)
    conn.execute("DELETE FROM embedmig.pin")
    hand_over(conn, docs)
    with pytest.raises(RefusedError, match="handover docs --undo"):
        undo_expand(conn, docs)


def test_a_label_that_was_there_before_stays(db: Database, conn: Connection, docs: Collection) -> None:
    conn.execute("ALTER TABLE docs ADD COLUMN embedding_model int")
    conn.execute("UPDATE docs SET embedding_model = %s", [OLD.id])
    conn.execute("UPDATE embedmig.slot SET model_column = 'embedding_model'")
    before = columns(conn)
    opened = expand_docs(db)
    assert opened.source.model_column == "embedding_model"
    undo_expand(conn, docs)
    assert columns(conn) == before
    assert slots.get_slot(conn, docs, "v1").model_column == "embedding_model"


@pytest.mark.parametrize("source_placement", list(Placement))
@pytest.mark.parametrize("placement", list(Placement))
def test_the_source_of_the_next_migration_may_be_a_slot_of_ours(
    db: Database, conn: Connection, docs: Collection, source_placement: Placement, placement: Placement
) -> None:
    first = expand_docs(db, source_placement)
    migrations.close_migration(conn, first.migration)
    slots.drop_slot(conn, first.source)
    before = columns(conn)
    third = Model(name="third", revision="1", provider="hashing", dimensions=8)
    models.add_model(conn, third, None)
    opened = expand_docs(db, placement, model=third)
    assert opened.source.name == "v2"
    assert opened.source.model_column == first.target.model_column
    expected = ("docs", "embedding_v3") if placement is Placement.COLUMN else ("docs_v3", "embedding")
    assert (opened.target.table, opened.target.vector_column) == expected
    undo_expand(conn, docs)
    assert columns(conn) == before


def test_a_revision_finds_pgvector_where_the_search_path_does_not_lead(bare_db: Database) -> None:
    with bare_db.connect() as other:
        other.execute("CREATE SCHEMA extensions")
        other.execute("CREATE EXTENSION vector SCHEMA extensions")
        path = sql.SQL("ALTER DATABASE {} SET search_path = public, extensions")
        other.execute(path.format(sql.Identifier(other.info.dbname)))
    install(bare_db)
    with bare_db.connect() as other:
        collection = make_docs(other, 2)
        other.execute("SET search_path = public")
        opened = expand(other, collection, NEW, Placement.COLUMN)
        hand_over(other, collection)
        assert '"extensions"."vector"(24)' in "".join(opened.sql)
        other.execute("UPDATE docs SET body = 'x', embedding = embedding WHERE id = 1")
        assert other.execute("SELECT count(*) AS n FROM embedmig.pending").fetchone() == {"n": 2}


def test_a_design_changes_nothing(conn: Connection, docs: Collection) -> None:
    before = columns(conn)
    target: Slot = design_target(conn, docs, source_of(conn, docs), NEW, Placement.COMPANION)
    assert (target.id, target.table, target.hash_column) == (0, "docs_v2", "embedding_hash")
    assert columns(conn) == before
    assert docs.key == (KeyColumn(name="id", type="bigint"),)
