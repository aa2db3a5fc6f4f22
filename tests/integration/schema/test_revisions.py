"""Revisions in a user's own Alembic environment, beside the control schema's in one database."""

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config

from embedmig import commands
from embedmig.catalog import migrations, models, slots
from embedmig.catalog.collections import get_collection
from embedmig.catalog.install import alembic_ini
from embedmig.db import Connection, Database
from embedmig.errors import DatabaseError, LockedError, RefusedError, UsageError
from embedmig.schema.revisions import find_environment
from embedmig.settings import Settings
from embedmig.types import Collection, Placement
from tests.alembic_environment import downgrade, make_environment, upgrade, write_revision
from tests.support import NEW, fill_slot, make_docs, switch_docs

MODELS = """
import sys
sys.path.insert(0, {folder!r})
from app_models import Base
from embedmig.schema.operations import include_object
target_metadata = Base.metadata
"""

APP = """
from pgvector.sqlalchemy import Vector
from sqlalchemy import BigInteger, CheckConstraint, Index, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Doc(Base):
    __tablename__ = "docs"
    __table_args__ = (
        CheckConstraint("lang <> ''", name="lang_is_said"),
        Index(
            "docs_embedding_idx", "embedding", postgresql_using="hnsw",
            postgresql_ops={"embedding": "vector_cosine_ops"},
        ),
    )
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    title: Mapped[str | None] = mapped_column(Text)
    body: Mapped[str | None] = mapped_column(Text)
    lang: Mapped[str | None] = mapped_column(Text)
    embedding = mapped_column(Vector(16))
"""


@pytest.fixture
def docs(conn: Connection) -> Collection:
    return make_docs(conn, 5)


@pytest.fixture
def ini(tmp_path: Path, db: Database) -> Path:
    return make_environment(tmp_path, db)


@pytest.fixture
def settings(ini: Path) -> Settings:
    return Settings(alembic_ini=ini, lock_timeout_s=0.05, lock_attempts=2)


def test_expand_writes_a_revision_to_review_and_changes_nothing(
    db: Database, conn: Connection, docs: Collection, settings: Settings
) -> None:
    change = commands.expand(db, "docs", "new@1", placement=Placement.COLUMN, settings=settings)
    assert (change.done, change.changed) == (False, True)
    assert migrations.find_migration(conn, docs) is None
    assert change.revision is not None
    text = change.revision.read_text()
    for line in (
        "import embedmig.schema.operations",
        "    op.add_embedding_column(",
        "    'docs', 'embedding_v2',",
        "    model='new@1',",
        "    source_model_column='embedding_model',",
        "    op.drop_embedding_column(",
    ):
        assert line in text
    again = commands.expand(db, "docs", "new@1", placement=Placement.COLUMN, settings=settings)
    assert again.revision == change.revision, "a second run writes no second revision"


@pytest.mark.parametrize("run", [False, True])
def test_a_waiting_revision_of_another_model_or_placement_is_neither_taken_for_this_one_nor_run(
    db: Database, conn: Connection, docs: Collection, settings: Settings, run: bool
) -> None:
    written = commands.expand(db, "docs", "new@1", placement=Placement.COLUMN, settings=settings).revision
    assert written is not None
    models.add_model(conn, replace(NEW, revision="2"), None)
    for model, placement in (("new@2", Placement.COLUMN), ("new@1", Placement.COMPANION)):
        with pytest.raises(RefusedError, match="for another model or placement"):
            commands.expand(db, "docs", model, placement=placement, run=run, settings=settings)
    assert migrations.find_migration(conn, docs) is None
    written.write_text(written.read_text().replace("'", '"'))
    again = commands.expand(db, "docs", "new@1", placement=Placement.COLUMN, run=run, settings=settings)
    assert again.revision == written, "reformatted is still the same"


@pytest.mark.parametrize("placement", list(Placement))
def test_with_run_the_revision_runs_and_alembic_goes_down_and_up_again(
    db: Database, conn: Connection, docs: Collection, settings: Settings, ini: Path, placement: Placement
) -> None:
    change = commands.expand(db, "docs", "new@1", placement=placement, run=True, settings=settings)
    assert change.done
    assert slots.get_slot(conn, docs, "v2").placement is placement
    assert conn.execute("SELECT FROM pg_constraint WHERE NOT convalidated").fetchall() == []
    again = commands.expand(db, "docs", "new@1", placement=placement, run=True, settings=settings)
    assert not again.changed
    downgrade(ini, "base")
    assert migrations.find_migration(conn, docs) is None
    upgrade(ini)
    assert migrations.find_migration(conn, docs) is not None


def test_a_collection_that_was_detached_begins_with_revisions_of_its_own(
    db: Database, conn: Connection, docs: Collection, settings: Settings, ini: Path
) -> None:
    before = commands.expand(db, "docs", "new@1", run=True, settings=settings)
    fill_slot(conn, docs, slots.get_slot(conn, docs, "v2"))
    first = commands.index(db, "docs", settings=settings)
    upgrade(ini)
    commands.detach(db, "docs", settings=settings)
    upgrade(ini)
    commands.collection_add(db, "docs", table="docs", text=["title", "body"], embedding="embedding", model="old@1")
    after = commands.expand(db, "docs", "new@1", run=True, settings=settings)
    assert (after.target, after.done) == (before.target, True)
    assert after.revision != before.revision
    anew = get_collection(conn, "docs")
    fill_slot(conn, anew, slots.get_slot(conn, anew, "v2"))
    again = commands.index(db, "docs", settings=settings)
    assert again.revision is not None
    assert again.revision != first.revision
    assert commands.index(db, "docs", settings=settings).revision == again.revision


def test_undo_is_a_revision_too(db: Database, conn: Connection, docs: Collection, settings: Settings) -> None:
    commands.expand(db, "docs", "new@1", run=True, settings=settings)
    undone = commands.expand_undo(db, "docs", run=True, settings=settings)
    assert undone.revision is not None
    assert [slot.name for slot in slots.list_slots(conn, docs)] == ["v1"]


def test_undo_of_a_revision_that_was_not_run_says_to_delete_the_file(
    db: Database, conn: Connection, docs: Collection, settings: Settings
) -> None:
    with pytest.raises(RefusedError, match="docs has no open migration"):
        commands.expand_undo(db, "docs", settings=settings)
    written = commands.expand(db, "docs", "new@1", settings=settings).revision
    assert written is not None
    with pytest.raises(RefusedError, match=f"{written.name} has not been run.*delete the file"):
        commands.expand_undo(db, "docs", run=True, settings=settings)
    written.unlink()
    assert commands.expand(db, "docs", "new@1", settings=settings).revision != written


def test_run_is_refused_while_another_revision_waits_and_writes_no_file(
    db: Database, conn: Connection, docs: Collection, settings: Settings, ini: Path
) -> None:
    write_revision(ini, "theirs", None, "op.execute('CREATE TABLE theirs ()')", "op.execute('DROP TABLE theirs')")
    with pytest.raises(RefusedError, match=r"theirs \(theirs\)"):
        commands.expand(db, "docs", "new@1", run=True, settings=settings)
    assert [path.name for path in (ini.parent / "migrations" / "versions").glob("*.py")] == ["theirs.py"]
    written = commands.expand(db, "docs", "new@1", settings=settings)
    assert written.revision is not None
    with pytest.raises(RefusedError, match=r"theirs \(theirs\)"):
        commands.expand(db, "docs", "new@1", run=True, settings=settings)
    upgrade(ini, "theirs")
    assert commands.expand(db, "docs", "new@1", run=True, settings=settings).revision == written.revision


def test_several_heads_are_an_error_that_says_so(db: Database, docs: Collection, settings: Settings, ini: Path) -> None:
    write_revision(ini, "one", None, "", "")
    write_revision(ini, "two", None, "", "")
    with pytest.raises(UsageError, match="alembic merge heads"):
        commands.expand(db, "docs", "new@1", settings=settings)


def test_a_template_without_a_place_for_operations_is_refused(
    db: Database, docs: Collection, settings: Settings, ini: Path
) -> None:
    template = ini.parent / "migrations" / "script.py.mako"
    template.write_text(template.read_text().replace("${upgrades if", '${"pass" if'))
    with pytest.raises(UsageError, match="leaves the operations of a revision out"):
        commands.expand(db, "docs", "new@1", settings=settings)
    assert list((ini.parent / "migrations" / "versions").glob("*.py")) == []


def test_a_held_lock_leaves_the_file_and_nothing_else(
    db: Database, conn: Connection, docs: Collection, settings: Settings
) -> None:
    with psycopg.connect(db.url) as user:
        user.execute("LOCK TABLE docs IN ACCESS SHARE MODE")
        with pytest.raises(LockedError, match="Nothing was changed"):
            commands.expand(db, "docs", "new@1", placement=Placement.COLUMN, run=True, settings=settings)
    assert migrations.find_migration(conn, docs) is None
    assert commands.expand(db, "docs", "new@1", placement=Placement.COLUMN, run=True, settings=settings).done


def test_a_refusal_inside_a_revision_is_a_refusal(
    db: Database, conn: Connection, docs: Collection, settings: Settings, ini: Path
) -> None:
    commands.expand(db, "docs", "new@1", settings=settings)
    conn.execute("UPDATE embedmig.route SET share_bp = 100")
    with pytest.raises(Exception, match="route of group docs"):
        upgrade(ini)
    with pytest.raises(RefusedError, match="route of group docs"):
        commands.expand(db, "docs", "new@1", run=True, settings=settings)


def test_an_environment_of_another_database_is_noticed(
    db: Database, bare_db: Database, docs: Collection, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    ini = make_environment(other, bare_db)
    with bare_db.connect() as conn:
        conn.execute("CREATE EXTENSION IF NOT EXISTS vector")
        conn.execute("CREATE TABLE docs (id bigint PRIMARY KEY, title text, body text, embedding vector(16))")
    with pytest.raises(DatabaseError, match="connect to another database"):
        commands.expand(db, "docs", "new@1", run=True, settings=Settings(alembic_ini=ini))


def test_index_writes_the_matching_revision_which_changes_nothing_here(
    db: Database, conn: Connection, docs: Collection, settings: Settings, ini: Path
) -> None:
    commands.expand(db, "docs", "new@1", placement=Placement.COLUMN, run=True, settings=settings)
    fill_slot(conn, docs, slots.get_slot(conn, docs, "v2"))
    built = commands.index(db, "docs", settings=settings)
    assert built.revision is not None
    text = built.revision.read_text()
    assert "    op.create_vector_index(" in text
    assert "    op.drop_vector_index(" in text
    query = "SELECT indexrelid::regclass::text AS n, pg_relation_filenode(indexrelid) AS f FROM pg_index"
    before = conn.execute(query).fetchall()
    upgrade(ini)
    after = {row["n"]: row["f"] for row in conn.execute(query)}
    assert all(after[row["n"]] == row["f"] for row in before)
    assert commands.index(db, "docs", settings=settings).revision == built.revision
    downgrade(ini, "-1")
    assert slots.get_slot(conn, docs, "v2").index_name is None


def test_an_environment_that_knows_nothing_of_the_slot_gets_no_matching_revision(
    db: Database, conn: Connection, docs: Collection, settings: Settings, ini: Path
) -> None:
    commands.expand(db, "docs", "new@1", placement=Placement.COLUMN, at_once=True, settings=settings)
    switch_docs(conn, docs)
    assert commands.index(db, "docs", settings=settings).revision is None
    assert commands.contract(db, "docs", settings=settings).revision is None
    assert list((ini.parent / "migrations" / "versions").glob("*.py")) == []


def test_at_once_leaves_the_environment_aside(
    db: Database, conn: Connection, docs: Collection, settings: Settings, ini: Path
) -> None:
    change = commands.expand(db, "docs", "new@1", at_once=True, settings=settings)
    assert (change.revision, change.done) == (None, True)
    assert list((ini.parent / "migrations" / "versions").glob("*.py")) == []


def test_the_environment_is_the_one_named_or_beside_and_never_our_own(tmp_path: Path, ini: Path) -> None:
    assert find_environment(Settings(), tmp_path) == ini
    assert find_environment(Settings(), tmp_path / "nowhere") is None
    assert find_environment(Settings(), alembic_ini().parent) is None
    assert find_environment(Settings(alembic_ini=Path("alembic.ini")), tmp_path) == ini
    with pytest.raises(UsageError, match="which is not there"):
        find_environment(Settings(alembic_ini=Path("gone.ini")), tmp_path)


def test_the_two_environments_live_in_one_database_without_meeting(
    db: Database, conn: Connection, docs: Collection, settings: Settings, ini: Path
) -> None:
    control = conn.execute("SELECT version_num FROM embedmig.alembic_version").fetchall()
    commands.expand(db, "docs", "new@1", run=True, settings=settings)
    assert conn.execute("SELECT version_num FROM embedmig.alembic_version").fetchall() == control
    theirs = conn.execute("SELECT version_num FROM public.alembic_version").fetchall()
    assert len(theirs) == 1
    assert theirs != control


@pytest.mark.parametrize("placement", list(Placement))
def test_a_real_autogenerate_sees_nothing_to_do_before_and_after_expand(
    db: Database, conn: Connection, tmp_path: Path, docs: Collection, placement: Placement
) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "app_models.py").write_text(APP)
    ini = make_environment(
        folder,
        db,
        metadata=MODELS.format(folder=str(folder)),
        configure=", include_object=include_object, include_schemas=False, compare_type=True",
    )
    conn.execute("ALTER TABLE docs ADD CONSTRAINT lang_is_said CHECK (lang <> '')")
    conn.execute("CREATE INDEX docs_embedding_idx ON docs USING hnsw (embedding vector_cosine_ops)")
    assert _generated(ini, "before") == []
    commands.expand(db, "docs", "new@1", placement=placement, at_once=True)
    slot = slots.get_slot(conn, docs, "v2")
    conn.execute(
        "CREATE INDEX ON docs USING hnsw (embedding_v2 vector_cosine_ops)"
        if placement is Placement.COLUMN
        else "CREATE INDEX ON embedmig.docs_v2 USING hnsw (embedding vector_cosine_ops)"
    )
    if placement is Placement.COLUMN:
        conn.execute("CREATE INDEX ON docs USING hnsw ((binary_quantize(embedding_v2)::bit(24)) bit_hamming_ops)")
    assert slot.name == "v2"
    assert _generated(ini, "after") == []
    conn.execute("ALTER TABLE docs ADD COLUMN forgotten_v2 int")
    assert _generated(ini, "theirs") == ["op.drop_column('docs', 'forgotten_v2')"]


def test_without_the_filter_autogenerate_would_drop_what_is_ours(
    db: Database, conn: Connection, tmp_path: Path, docs: Collection
) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "app_models.py").write_text(APP)
    ini = make_environment(folder, db, metadata=MODELS.format(folder=str(folder)))
    commands.expand(db, "docs", "new@1", placement=Placement.COLUMN, at_once=True)
    assert "op.drop_column('docs', 'embedding_v2')" in _generated(ini, "unfiltered")


def test_a_column_of_ours_that_the_models_have_too_is_no_difference(
    db: Database, conn: Connection, tmp_path: Path, docs: Collection
) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "app_models.py").write_text(APP + "    embedding_v2 = mapped_column(Vector(24))\n")
    ini = make_environment(
        folder, db, metadata=MODELS.format(folder=str(folder)), configure=", include_object=include_object"
    )
    conn.execute("ALTER TABLE docs ADD CONSTRAINT lang_is_said CHECK (lang <> '')")
    conn.execute("CREATE INDEX docs_embedding_idx ON docs USING hnsw (embedding vector_cosine_ops)")
    commands.expand(db, "docs", "new@1", placement=Placement.COLUMN, at_once=True)
    assert _generated(ini, "both") == []


def _generated(ini: Path, message: str) -> list[str]:
    """The operations that a real ``alembic revision --autogenerate`` writes into upgrade; the file is taken away."""
    import sys

    sys.modules.pop("app_models", None)
    script = command.revision(Config(str(ini)), message, autogenerate=True)
    assert script is not None
    assert not isinstance(script, list)
    path = Path(script.path)
    body = path.read_text().split("def upgrade():")[1].split("def downgrade():")[0]
    path.unlink()
    return [line.strip() for line in body.splitlines() if line.strip().startswith("op.")]
