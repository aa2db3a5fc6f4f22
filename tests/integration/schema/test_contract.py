"""contract: the gates, its two steps, and what is left of each kind of source and target."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from embedmig import commands
from embedmig.catalog import collections, migrations, models, routes, slots
from embedmig.catalog.events import list_events
from embedmig.catalog.install import install
from embedmig.db import Connection, Database
from embedmig.errors import ConflictError, LockedError, RefusedError
from embedmig.settings import Settings
from embedmig.types import Collection, Maintainer, Model, Placement
from tests.alembic_environment import downgrade, make_environment, upgrade, write_revision
from tests.support import NEW, OLD, bridge_id, embed, expand_docs, make_docs, switch_docs

THIRD = Model(name="third", revision="1", provider="hashing", dimensions=24, options={"dimensions": 24, "seed": 3})


@pytest.fixture
def docs(conn: Connection) -> Collection:
    collection = make_docs(conn, 6)
    conn.execute("CREATE INDEX docs_embedding_idx ON docs USING hnsw (embedding vector_cosine_ops)")
    return collection


def columns(conn: Connection, table: str = "docs") -> list[str]:
    rows = conn.execute(
        "SELECT attname AS n FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        " ORDER BY attnum",
        [table],
    )
    return [row["n"] for row in rows]


def indexes(conn: Connection, table: str = "docs") -> set[str]:
    rows = conn.execute(
        "SELECT indexrelid::regclass::text AS n FROM pg_index WHERE indrelid = %s::regclass AND NOT indisprimary",
        [table],
    )
    return {row["n"] for row in rows}


def index_target(db: Database, conn: Connection) -> None:
    commands.index(db, "docs")


def switched(db: Database, conn: Connection, docs: Collection, placement: Placement = Placement.COLUMN) -> None:
    """A migration whose stability period is over, its target indexed."""
    expand_docs(db, placement)
    switch_docs(conn, docs)
    index_target(db, conn)


def test_a_column_is_dropped_with_its_label_and_the_new_index_takes_the_old_name(
    db: Database, conn: Connection, docs: Collection
) -> None:
    switched(db, conn, docs)
    epoch = routes.get_route(conn, "docs").epoch
    result = commands.contract(db, "docs")
    assert result.done == ("retire", "drop")
    assert columns(conn) == ["id", "title", "body", "lang", "embedding_v2", "embedding_v2_model", "embedding_v2_hash"]
    assert indexes(conn) == {"docs_embedding_idx"}
    (only,) = slots.list_slots(conn, docs)
    assert (only.name, only.index_name, only.maintained_by) == ("v2", "docs_embedding_idx", Maintainer.EMBEDMIG)
    assert migrations.find_migration(conn, docs) is None
    route = routes.get_route(conn, "docs")
    assert (route.share_bp, route.epoch > epoch) == (0, True)
    conn.execute("UPDATE docs SET body = 'x' WHERE id = 1")
    assert conn.execute("SELECT slot_id AS s, kind::text AS k FROM embedmig.pending").fetchall() == [
        {"s": only.id, "k": "e"}
    ]
    assert [(event.verb, event.became) for event in list_events(conn, "docs")][:2] == [
        ("contract", "v2"),
        ("contract", "retired"),
    ]


def test_a_companion_stays_and_is_joined_by_a_view_with_the_readers_own_rights(
    db: Database, conn: Connection, docs: Collection
) -> None:
    role = sql.Identifier(f"reader_{uuid4().hex[:8]}")
    conn.execute(sql.SQL("CREATE ROLE {}").format(role))
    try:
        conn.execute(sql.SQL("GRANT SELECT ON docs TO {}").format(role))
        conn.execute("ALTER TABLE docs ENABLE ROW LEVEL SECURITY")
        conn.execute("CREATE POLICY english ON docs USING (lang = 'en')")
        switched(db, conn, docs, Placement.COMPANION)
        conn.execute("INSERT INTO embedmig.docs_v2 VALUES (999, %s, %s)", [embed(NEW, ["orphan"])[0], NEW.id])
        commands.contract(db, "docs")
        conn.execute(sql.SQL("GRANT USAGE ON SCHEMA embedmig TO {}").format(role))
        assert columns(conn) == ["id", "title", "body", "lang"]
        view = "SELECT id FROM embedmig.docs_vectors ORDER BY id"
        assert [row["id"] for row in conn.execute(view)] == [1, 2, 3, 4, 5, 6]
        with conn.transaction():
            conn.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
            assert [row["id"] for row in conn.execute(view)] == [1, 3, 5]
        conn.execute("DROP POLICY english ON docs")
        conn.execute("ALTER TABLE docs ALTER COLUMN lang TYPE varchar(5)")
        conn.execute("ALTER TABLE docs DROP COLUMN lang")
    finally:
        conn.execute(sql.SQL("DROP OWNED BY {}").format(role))
        conn.execute(sql.SQL("DROP ROLE {}").format(role))


@pytest.mark.parametrize("first", list(Placement))
@pytest.mark.parametrize("second", list(Placement))
def test_the_next_source_may_be_a_slot_of_ours(
    db: Database, conn: Connection, docs: Collection, first: Placement, second: Placement
) -> None:
    switched(db, conn, docs, first)
    commands.contract(db, "docs")
    models.add_model(conn, THIRD, None)
    expand_docs(db, second, model=THIRD)
    switch_docs(conn, docs)
    index_target(db, conn)
    result = commands.contract(db, "docs")
    assert result.done == ("retire", "drop")
    (only,) = slots.list_slots(conn, docs)
    assert only.name == "v3"
    own = ["embedding_v3", "embedding_v3_model", "embedding_v3_hash"] if second is Placement.COLUMN else []
    assert columns(conn) == ["id", "title", "body", "lang", *own]
    assert conn.execute("SELECT to_regclass('embedmig.docs_v2') AS t").fetchone() == {"t": None}
    row = conn.execute("SELECT to_regclass('embedmig.docs_vectors')::text AS v").fetchone()
    assert row == {"v": "embedmig.docs_vectors" if second is Placement.COMPANION else None}


def test_before_the_stability_period_it_refuses_and_changes_nothing(
    db: Database, conn: Connection, docs: Collection
) -> None:
    expand_docs(db)
    switch_docs(conn, docs, days_ago=3)
    before = columns(conn), indexes(conn)
    with pytest.raises(RefusedError, match=r"stability period of 7 days .* has 4\.0 days left"):
        commands.contract(db, "docs")
    assert (columns(conn), indexes(conn)) == before
    assert commands.contract(db, "docs", stability_days=2, only_retire=True).done == ("retire",)


def test_force_opens_the_gates_of_time_and_the_log_says_so(db: Database, conn: Connection, docs: Collection) -> None:
    expand_docs(db)
    switch_docs(conn, docs, days_ago=0)
    conn.execute("UPDATE docs SET embedding = %s WHERE id = 1", [embed(OLD, ["x"])[0]])
    result = commands.contract(db, "docs", force=True, why="the disk is full")
    assert result.forced == ("stability", "app writes")
    event = list_events(conn, "docs")[0]
    assert (event.details["forced"], event.why) == (["stability", "app writes"], "the disk is full")


@pytest.mark.parametrize(
    ("statement", "values", "why"),
    [
        ("UPDATE embedmig.route SET share_bp = 500, full_since = NULL", [], "v1 still serves"),
        ("UPDATE embedmig.migration SET handover_at = NULL", [], "never handed over"),
        (
            "INSERT INTO embedmig.pin"
            " SELECT collection_id, 'web1', 7, 'old', id, 1 FROM embedmig.slot WHERE name = 'v1'",
            [],
            "pid 7 on web1 is pinned to v1",
        ),
        ("UPDATE docs SET embedding_v2_model = %s WHERE id IN (1, 2)", [bridge_id()], "2 rows of v2 are bridged"),
        ("CREATE VIEW nearest AS SELECT id, embedding FROM docs", [], "view public.nearest needs embedding"),
    ],
)
def test_even_with_force_it_refuses_while_something_needs_the_source(
    db: Database, conn: Connection, docs: Collection, statement: Any, values: list[Any], why: str
) -> None:
    switched(db, conn, docs)
    conn.execute("SELECT set_config('embedmig.writer', 'on', false)")
    conn.execute(statement, values)
    before = columns(conn), indexes(conn)
    with pytest.raises(RefusedError, match=why):
        commands.contract(db, "docs", force=True)
    assert (columns(conn), indexes(conn)) == before
    dry = commands.contract(db, "docs", dry_run=True)
    assert why.split(" needs")[0] in dry.refusals[0]


def test_an_application_that_still_writes_the_source_stops_the_drop_even_after_retire(
    db: Database, conn: Connection, docs: Collection
) -> None:
    switched(db, conn, docs)
    assert commands.contract(db, "docs", only_retire=True).done == ("retire",)
    source = slots.get_slot(conn, docs, "v1")
    assert source.maintained_by is Maintainer.APP
    conn.execute("UPDATE docs SET body = 'x' WHERE id = 2")
    conn.execute("UPDATE docs SET id = 70 WHERE id = 3")
    query = "SELECT kind::text AS k FROM embedmig.pending WHERE slot_id = %s"
    assert conn.execute(query, [source.id]).fetchall() == [], "nobody embeds for it any more"
    conn.execute("UPDATE docs SET embedding = %s WHERE id = 1", [embed(OLD, ["x"])[0]])
    assert conn.execute(query, [source.id]).fetchall() == [{"k": "a"}]
    with pytest.raises(RefusedError, match=r"wrote embedding of public\.docs 1 times"):
        commands.contract(db, "docs")
    conn.execute("UPDATE embedmig.pending SET queued_at = queued_at - interval '8 days'")
    assert commands.contract(db, "docs").done == ("drop",)
    conn.execute("INSERT INTO docs (id, title) VALUES (100, 'still written')")


def test_retire_drops_the_index_and_says_how_to_rebuild_it(db: Database, conn: Connection, docs: Collection) -> None:
    switched(db, conn, docs)
    result = commands.contract(db, "docs", only_retire=True)
    assert "docs_embedding_idx" not in indexes(conn)
    assert result.rebuild_commands == (
        "CREATE INDEX CONCURRENTLY docs_embedding_idx ON public.docs USING hnsw (embedding vector_cosine_ops)",
    )
    assert result.rebuild_seconds_about is not None
    assert "embedding" in columns(conn)
    assert commands.contract(db, "docs", only_retire=True).done == ()


def test_a_dry_run_prints_and_changes_nothing(db: Database, conn: Connection, docs: Collection) -> None:
    switched(db, conn, docs)
    before = columns(conn), indexes(conn), routes.get_route(conn, "docs"), slots.list_slots(conn, docs)
    result = commands.contract(db, "docs", dry_run=True)
    assert result.done == result.refusals == ()
    assert result.retire_sql == ('DROP INDEX IF EXISTS "public"."docs_embedding_idx"',)
    assert 'DROP COLUMN IF EXISTS "embedding"' in result.drop_sql[0]
    assert result.save_command is not None
    assert result.save_command.startswith('\\copy (SELECT "id", "embedding"')
    assert (columns(conn), indexes(conn), routes.get_route(conn, "docs"), slots.list_slots(conn, docs)) == before


def test_the_save_command_saves_the_source(db: Database, conn: Connection, docs: Collection) -> None:
    switched(db, conn, docs)
    command = commands.contract(db, "docs", dry_run=True).save_command
    assert command is not None
    select = command.removeprefix("\\copy (").partition(") TO '")[0]
    with conn.cursor().copy(f"COPY ({select}) TO STDOUT WITH (FORMAT csv, HEADER)") as copy:  # type: ignore[arg-type]
        lines = b"".join(copy).decode().splitlines()
    assert len(lines) == 1 + 6
    assert lines[0] == "id,embedding,embedding_model"


def test_keep_source_leaves_an_ordinary_column(db: Database, conn: Connection, docs: Collection) -> None:
    switched(db, conn, docs)
    assert commands.contract(db, "docs", keep_source=True).done == ("retire", "drop")
    assert columns(conn)[:5] == ["id", "title", "body", "lang", "embedding"]
    assert "embedding_model" not in columns(conn)
    assert [slot.name for slot in slots.list_slots(conn, docs)] == ["v2"]
    conn.execute("UPDATE docs SET embedding = %s WHERE id = 1", [embed(OLD, ["x"])[0]])
    assert conn.execute("SELECT FROM embedmig.pending").fetchall() == []


def test_rename_column_gives_the_old_name_and_says_what_it_breaks(
    db: Database, conn: Connection, docs: Collection
) -> None:
    same_width = Model(name="twin", revision="1", provider="hashing", dimensions=16, options={"dimensions": 16})
    models.add_model(conn, same_width, None)
    expand_docs(db, model=same_width)
    switch_docs(conn, docs)
    result = commands.contract(db, "docs", rename_column=True)
    assert columns(conn) == ["id", "title", "body", "lang", "embedding", "embedding_model", "embedding_hash"]
    assert any("in silence" in line for line in result.breaks)
    (only,) = slots.list_slots(conn, docs)
    assert (only.vector_column, only.hash_column) == ("embedding", "embedding_hash")
    conn.execute("UPDATE docs SET body = 'x' WHERE id = 1")
    assert conn.execute("SELECT slot_id AS s FROM embedmig.pending").fetchall() == [{"s": only.id}]
    with pytest.raises(psycopg.errors.CheckViolation):
        conn.execute("UPDATE docs SET embedding_model = %s WHERE id = 1", [OLD.id])


def test_rename_column_is_refused_where_there_is_no_name_to_take(
    db: Database, conn: Connection, docs: Collection
) -> None:
    switched(db, conn, docs, Placement.COMPANION)
    with pytest.raises(ConflictError, match="two columns of one table"):
        commands.contract(db, "docs", rename_column=True)


def test_a_held_lock_is_named_and_the_step_is_taken_later(db: Database, conn: Connection, docs: Collection) -> None:
    switched(db, conn, docs)
    impatient = Settings(lock_timeout_s=0.05, lock_attempts=1)
    with psycopg.connect(db.url) as user:
        user.execute("SELECT FROM docs")
        with pytest.raises(LockedError, match=f"pid {user.info.backend_pid}"):
            commands.contract(db, "docs", settings=impatient)
    assert "docs_embedding_idx" in indexes(conn)
    assert commands.contract(db, "docs", settings=impatient).done == ("retire", "drop")


def test_contract_again_has_nothing_to_do(db: Database, conn: Connection, docs: Collection) -> None:
    switched(db, conn, docs)
    commands.contract(db, "docs")
    again = commands.contract(db, "docs")
    assert (again.done, again.closed, again.target) == ((), True, "v2")


def test_the_share_of_a_group_ends_with_its_last_open_member(db: Database, conn: Connection, docs: Collection) -> None:
    second = make_docs(conn, 3, name="notes", table="notes")
    conn.execute("UPDATE embedmig.collection SET group_name = 'docs' WHERE name = 'notes'")
    second = collections.get_collection(conn, "notes")
    expand_docs(db)
    expand_docs(db, collection="notes")
    switch_docs(conn, docs)
    switch_docs(conn, second)
    commands.contract(db, "docs")
    assert routes.get_route(conn, "docs").share_bp == 10_000
    with pytest.raises(RefusedError, match="would be served at once"):
        commands.expand(db, "docs", "old@1", at_once=True)
    commands.contract(db, "notes")
    assert routes.get_route(conn, "docs").share_bp == 0
    commands.expand(db, "docs", "old@1", at_once=True)


@pytest.mark.parametrize("rename", [False, True])
def test_the_matching_revision_is_a_no_op_here_and_the_change_itself_elsewhere(
    db: Database, bare_db: Database, conn: Connection, docs: Collection, tmp_path: Path, rename: bool
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    ini, settings = make_environment(here, db), Settings(alembic_ini=here / "alembic.ini")
    write_revision(ini, "r0", None, "op.execute('CREATE TABLE IF NOT EXISTS docs (id bigint PRIMARY KEY, title text,"
                   " body text, lang text, embedding vector(16))')", "")  # fmt: skip
    upgrade(ini)
    commands.expand(db, "docs", "new@1", placement=Placement.COLUMN, run=True, settings=settings)
    switch_docs(conn, docs)
    commands.index(db, "docs")
    result = commands.contract(db, "docs", rename_column=rename, settings=settings)
    assert result.revision is not None
    at_end = columns(conn), indexes(conn)
    upgrade(ini)
    assert (columns(conn), indexes(conn)) == at_end

    other = make_environment(there, bare_db)
    _copy_revisions(here, there)
    with bare_db.connect() as fresh:
        fresh.execute("CREATE EXTENSION IF NOT EXISTS vector")
        upgrade(other)
        assert set(columns(fresh)) == set(columns(conn))
        downgrade(other, "-1")
        assert "embedding" in columns(fresh)
        assert "embedding_v2" in columns(fresh)
        upgrade(other)
        assert set(columns(fresh)) == set(columns(conn))


def test_the_matching_revision_refuses_where_the_migration_still_runs(
    db: Database, bare_db: Database, conn: Connection, docs: Collection, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    settings = Settings(alembic_ini=make_environment(here, db))
    with bare_db.connect() as staging:
        staging.execute("CREATE EXTENSION IF NOT EXISTS vector")
    install(bare_db)
    with bare_db.connect() as staging:
        make_docs(staging, 3)
        ini = make_environment(there, bare_db)
        commands.expand(db, "docs", "new@1", placement=Placement.COLUMN, run=True, settings=settings)
        _copy_revisions(here, there)
        upgrade(ini)
        switch_docs(conn, docs)
        commands.contract(db, "docs", settings=settings)
        _copy_revisions(here, there)
        with pytest.raises(Exception, match="embedmig contract docs"):
            upgrade(ini)
        assert "embedding" in columns(staging)
        switch_docs(staging, collections.get_collection(staging, "docs"))
        commands.contract(bare_db, "docs")
        upgrade(ini)
        assert set(columns(staging)) == set(columns(conn))


def _copy_revisions(here: Path, there: Path) -> None:
    for path in (here / "migrations" / "versions").glob("*.py"):
        (there / "migrations" / "versions" / path.name).write_text(path.read_text())


def test_an_old_index_that_is_still_scanned_is_noticed(
    db: Database, conn: Connection, docs: Collection, verb: Callable[..., tuple[int, str]]
) -> None:
    switched(db, conn, docs)
    assert commands.contract(db, "docs", dry_run=True).noticed == ()
    with db.connect() as application:
        application.execute("SET enable_seqscan = off")
        application.execute("SELECT id FROM docs ORDER BY embedding <=> %s LIMIT 3", [embed(OLD, ["word1"])[0]])
        application.execute("SELECT pg_stat_force_next_flush()")
    planned = commands.contract(db, "docs", dry_run=True)
    (noticed,) = planned.noticed
    assert noticed.startswith("index docs_embedding_idx was scanned at")
    assert planned.refusals == ()
    assert "look first: index docs_embedding_idx was scanned" in verb("contract", "docs", "--dry-run")[1]
