"""The slot operations under Alembic: online, as text, up and down and up."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import render_op_text
from alembic.migration import MigrationContext

from embedmig.catalog import migrations, routes, slots
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError
from embedmig.schema.expanding import add_operation, undo_expand
from embedmig.schema.locking import run_statements
from embedmig.schema.operations import (
    AddEmbeddingColumnOp,
    CreateVectorIndexOp,
    IndexArguments,
    RenameEmbeddingColumnOp,
    SlotArguments,
)
from embedmig.types import Collection, Placement
from tests.alembic_environment import downgrade, make_environment, offline_sql, upgrade, write_revision
from tests.support import NEW, expand_docs, make_docs

IMPORTS = "import embedmig.schema.operations"


def render(op: Any) -> str:
    """The operation as Alembic writes it into a revision."""
    context = AutogenContext(
        MigrationContext.configure(dialect_name="postgresql", opts={"alembic_module_prefix": "op."}),
        opts={"alembic_module_prefix": "op.", "sqlalchemy_module_prefix": "sa."},
    )
    text = render_op_text(context, op)
    assert any(line.startswith("import embedmig.schema.operations") for line in context.imports)
    return text


def shape(conn: Connection) -> dict[str, Any]:
    """Columns, checks, triggers, tables of ours and live slots: what a slot operation may change."""
    queries = {
        "columns": "SELECT attrelid::regclass::text AS t, attname AS n, format_type(atttypid, atttypmod) AS k,"
        " attnotnull AS nn, col_description(attrelid, attnum) AS c, atthasmissing AS m FROM pg_attribute"
        " WHERE attnum > 0 AND NOT attisdropped AND attrelid IN ('docs'::regclass, to_regclass('embedmig.docs_v2'))",
        "checks": "SELECT conrelid::regclass::text AS t, conname AS n, pg_get_constraintdef(oid) AS d"
        " FROM pg_constraint WHERE contype = 'c' AND starts_with(conname, 'embedmig_')",
        "triggers": "SELECT pg_get_triggerdef(oid) AS d FROM pg_trigger WHERE tgrelid = 'docs'::regclass",
        "slots": "SELECT name, model_id, bridge_model_id, placement, table_name, vector_column, model_column,"
        " hash_column, vector_type, maintained_by FROM embedmig.slot WHERE dropped_at IS NULL",
        "migrations": "SELECT count(*) AS open FROM embedmig.migration WHERE closed_at IS NULL",
    }
    found = {}
    for name, query in queries.items():
        rows = [tuple(row.values()) for row in conn.execute(query).fetchall()]  # type: ignore[arg-type]
        found[name] = sorted(rows, key=repr)
    return found


@pytest.fixture
def docs(conn: Connection) -> Collection:
    return make_docs(conn, 5)


@pytest.fixture
def ini(tmp_path: Path, db: Database) -> Path:
    return make_environment(tmp_path, db)


def without_ids(found: dict[str, Any]) -> dict[str, Any]:
    """Slot ids are arguments of triggers, and grow: how many triggers there are is what is compared."""
    return found | {"triggers": len(found["triggers"])}


def write_slot_revision(ini: Path, op: AddEmbeddingColumnOp, name: str = "r1") -> None:
    write_revision(ini, name, None, render(op), render(op.reverse()), IMPORTS)


@pytest.mark.parametrize("placement", list(Placement))
def test_a_revision_up_and_down_and_up_and_its_printed_sql_all_do_what_expand_does_at_once(
    conn: Connection, ini: Path, docs: Collection, placement: Placement
) -> None:
    op, _, _ = add_operation(conn, docs, NEW, placement)
    write_slot_revision(ini, op)
    before = shape(conn)
    run_statements(conn, docs, op.statements())
    at_once = without_ids(shape(conn))
    assert at_once != without_ids(before)
    undo_expand(conn, docs)
    assert shape(conn) == before
    for _ in range(2):
        upgrade(ini)
        assert without_ids(shape(conn)) == at_once
        downgrade(ini, "base")
        assert shape(conn) == before
    conn.execute("DROP TABLE alembic_version")
    conn.execute(offline_sql(ini, "head"))
    assert without_ids(shape(conn)) == at_once
    conn.execute(offline_sql(ini, "r1:base", down=True))
    assert shape(conn) == before


def test_what_is_printed_is_what_runs(conn: Connection, ini: Path, docs: Collection) -> None:
    op, _, _ = add_operation(conn, docs, NEW, Placement.COLUMN)
    write_slot_revision(ini, op)
    printed = offline_sql(ini, "head")
    for statement in op.statements():
        assert statement + ";" in printed


@pytest.mark.parametrize("placement", list(Placement))
def test_a_slot_operation_run_again_changes_nothing(
    db: Database, conn: Connection, docs: Collection, placement: Placement
) -> None:
    op, _, _ = add_operation(conn, docs, NEW, placement)
    expand_docs(db, placement)
    once = shape(conn)
    run_statements(conn, docs, op.statements())
    assert shape(conn) == once
    undo_expand(conn, docs)
    gone = shape(conn)
    run_statements(conn, docs, op.reverse().statements())
    assert shape(conn) == gone


def test_a_revision_of_another_model_id_fails_and_changes_nothing(
    conn: Connection, ini: Path, docs: Collection
) -> None:
    op, _, _ = add_operation(conn, docs, NEW, Placement.COLUMN)
    write_slot_revision(ini, AddEmbeddingColumnOp(replace(op.slot, model_id=NEW.id + 1)))
    before = shape(conn)
    with pytest.raises(Exception, match=f"with id {NEW.id + 1}, here it has id {NEW.id}"):
        upgrade(ini)
    assert shape(conn) == before


def test_a_revision_of_a_model_that_is_not_registered_says_what_to_do(
    conn: Connection, ini: Path, docs: Collection
) -> None:
    op, _, _ = add_operation(conn, docs, NEW, Placement.COLUMN)
    write_slot_revision(ini, AddEmbeddingColumnOp(replace(op.slot, model="unheard@1")))
    with pytest.raises(Exception, match="embedmig model add unheard@1"):
        upgrade(ini)


@pytest.mark.parametrize("placement", list(Placement))
def test_a_downgrade_refuses_while_its_slot_serves(
    conn: Connection, ini: Path, docs: Collection, placement: Placement
) -> None:
    op, _, _ = add_operation(conn, docs, NEW, placement)
    write_slot_revision(ini, op)
    upgrade(ini)
    routes.set_share(conn, "docs", 500)
    before = shape(conn)
    with pytest.raises(Exception, match=r"serves 5\.00 % of the requests"):
        downgrade(ini, "base")
    assert shape(conn) == before


@pytest.mark.parametrize("placement", list(Placement))
def test_without_the_collection_or_the_control_schema_a_revision_makes_columns_and_checks_only(
    bare_db: Database, tmp_path: Path, placement: Placement, conn: Connection, docs: Collection
) -> None:
    op, _, _ = add_operation(conn, docs, NEW, placement)
    ini = make_environment(tmp_path, bare_db)
    write_slot_revision(ini, op)
    with bare_db.connect() as fresh:
        fresh.execute("CREATE EXTENSION IF NOT EXISTS vector")
        fresh.execute("CREATE TABLE docs (id bigint PRIMARY KEY, title text, body text, embedding vector(16))")
        upgrade(ini)
        table = "docs" if placement is Placement.COLUMN else "embedmig.docs_v2"
        column = op.slot.column
        with pytest.raises(psycopg.errors.CheckViolation if placement is Placement.COLUMN else psycopg.Error):
            fresh.execute(f"INSERT INTO {table} (id, {column}) VALUES (1, %s)", ["[" + "1," * 23 + "1]"])
        fresh.execute(
            f"INSERT INTO {table} (id, {column}, {column}_model) VALUES (1, %s, %s)", ["[" + "1," * 23 + "1]", NEW.id]
        )
        downgrade(ini, "base")
        assert fresh.execute("SELECT to_regclass('embedmig.docs_v2') AS t").fetchone() == {"t": None}


def test_a_column_of_the_users_is_not_taken_for_ours(conn: Connection, ini: Path, docs: Collection) -> None:
    op, _, _ = add_operation(conn, docs, NEW, Placement.COLUMN)
    write_slot_revision(ini, op)
    conn.execute("ALTER TABLE docs ADD COLUMN embedding_v2 text")
    with pytest.raises(Exception, match="has a column embedding_v2 that embedmig did not make"):
        upgrade(ini)


def test_the_users_own_lock_timeout_is_as_before_in_the_rest_of_the_revision(
    conn: Connection, ini: Path, docs: Collection
) -> None:
    op, _, _ = add_operation(conn, docs, NEW, Placement.COLUMN)
    seen = "op.execute(\"INSERT INTO seen SELECT current_setting('lock_timeout')\")"
    conn.execute("CREATE TABLE seen (lock_timeout text)")
    write_revision(ini, "r1", None, render(op) + "\n" + seen, "", IMPORTS)
    upgrade(ini)
    assert conn.execute("SELECT * FROM seen").fetchall() == [{"lock_timeout": "0"}]


def test_a_held_lock_fails_a_revision_soon_and_changes_nothing(
    conn: Connection, ini: Path, docs: Collection, db: Database
) -> None:
    op, _, _ = add_operation(conn, docs, NEW, Placement.COLUMN)
    write_slot_revision(ini, op)
    before = shape(conn)
    with psycopg.connect(db.url) as user:
        user.execute("LOCK TABLE docs IN ACCESS SHARE MODE")
        with pytest.raises(Exception, match="lock timeout"):
            upgrade(ini)
    assert shape(conn) == before


def _index() -> IndexArguments:
    return IndexArguments(
        name="docs_embedding_v2_idx",
        table="docs",
        column="embedding_v2",
        opclass="vector_cosine_ops",
        options={"m": 8},
        collection="docs",
        slot="v2",
    )


def test_an_index_is_built_concurrently_noted_in_the_catalog_and_dropped_by_the_downgrade(
    db: Database, conn: Connection, ini: Path, docs: Collection
) -> None:
    expand_docs(db)
    op = CreateVectorIndexOp(_index())
    write_revision(ini, "r1", None, render(op), render(op.reverse()), IMPORTS)
    printed = offline_sql(ini, "head")
    statement = (
        'CREATE INDEX CONCURRENTLY IF NOT EXISTS "docs_embedding_v2_idx" ON "public"."docs" USING "hnsw"'
        ' ("embedding_v2" "vector_cosine_ops") WITH ("m" = 8);'
    )
    assert statement in printed
    assert printed.index("COMMIT;") < printed.index(statement) < printed.rindex("BEGIN;")
    upgrade(ini)
    assert slots.get_slot(conn, docs, "v2").index_name == "docs_embedding_v2_idx"
    definition = conn.execute("SELECT pg_get_indexdef('docs_embedding_v2_idx'::regclass) AS d").fetchone()
    assert definition is not None
    assert "USING hnsw (embedding_v2 vector_cosine_ops) WITH (m='8')" in definition["d"]
    downgrade(ini, "base")
    assert slots.get_slot(conn, docs, "v2").index_name is None
    assert conn.execute("SELECT to_regclass('docs_embedding_v2_idx') AS i").fetchone() == {"i": None}


def test_of_several_indexes_the_first_stays_the_one_that_searches_use(
    db: Database, conn: Connection, docs: Collection
) -> None:
    expand_docs(db)
    first, second = _index(), replace(_index(), name="docs_english_idx", predicate="lang = 'en'")
    epoch = routes.get_route(conn, "docs").epoch
    for index in (first, second):
        for statement in CreateVectorIndexOp(index).statements():
            conn.execute(statement)
    assert slots.get_slot(conn, docs, "v2").index_name == first.name
    assert routes.get_route(conn, "docs").epoch == epoch + 1
    for statement in CreateVectorIndexOp(second).reverse().statements():
        conn.execute(statement)
    assert slots.get_slot(conn, docs, "v2").index_name == first.name


def test_an_invalid_leftover_is_not_taken_for_the_index(
    db: Database, conn: Connection, ini: Path, docs: Collection
) -> None:
    expand_docs(db)
    conn.execute("CREATE INDEX docs_embedding_v2_idx ON docs USING hnsw (embedding_v2 vector_cosine_ops)")
    conn.execute("SET allow_system_table_mods = on")
    conn.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'docs_embedding_v2_idx'::regclass")
    op = CreateVectorIndexOp(_index())
    write_revision(ini, "r1", None, render(op), render(op.reverse()), IMPORTS)
    upgrade(ini)
    row = conn.execute("SELECT indisvalid AS v FROM pg_index WHERE indexrelid = 'docs_embedding_v2_idx'::regclass")
    assert row.fetchone() == {"v": True}


def test_a_quantised_index_is_over_the_bits(conn: Connection) -> None:
    index = replace(_index(), opclass="bit_hamming_ops", quantised_dimensions=5000, options={})
    (_, statement, _) = CreateVectorIndexOp(index).statements()
    assert statement.endswith('USING "hnsw" (("binary_quantize"("embedding_v2")::bit(5000)) "bit_hamming_ops")')


def test_a_rename_follows_in_check_catalog_and_triggers_and_goes_back(
    db: Database, conn: Connection, ini: Path, docs: Collection
) -> None:
    expand_docs(db)
    op = RenameEmbeddingColumnOp(
        "docs",
        "embedding_v2",
        "vector",
        collection="docs",
        slot="v2",
        schema="public",
        also={"embedding_v2_model": "vector_model", "embedding_v2_hash": "vector_hash"},
    )
    write_revision(ini, "r1", None, render(op), render(op.reverse()), IMPORTS)
    before, epoch = shape(conn), routes.get_route(conn, "docs").epoch
    upgrade(ini)
    slot = slots.get_slot(conn, docs, "v2")
    assert (slot.vector_column, slot.model_column, slot.hash_column) == ("vector", "vector_model", "vector_hash")
    assert routes.get_route(conn, "docs").epoch == epoch + 1
    conn.execute("UPDATE docs SET vector = %s, vector_model = %s WHERE id = 1", ["[" + "1," * 23 + "1]", NEW.id])
    assert conn.execute("SELECT kind::text FROM embedmig.pending").fetchall() == [{"kind": "a"}]
    upgraded = shape(conn)
    run_statements(conn, docs, op.statements())
    assert shape(conn) == upgraded
    downgrade(ini, "base")
    assert shape(conn) == before


def test_a_source_is_dropped_by_contract_and_by_no_revision(
    db: Database, conn: Connection, ini: Path, docs: Collection
) -> None:
    expand_docs(db)
    arguments = SlotArguments(
        table="docs", column="embedding", collection="docs", slot="v1", model="old@1", model_id=1, dimensions=16,
        source="v2",
    )  # fmt: skip
    with pytest.raises(RefusedError, match="embedmig contract docs"):
        run_statements(conn, docs, AddEmbeddingColumnOp(arguments).reverse().statements())
    assert migrations.find_migration(conn, docs) is not None
