"""The revisions that match retire, --keep-source and detach: a no-op here, the change itself where embedmig is not, and
refused or left alone where its own verbs are still to come."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from embedmig import commands
from embedmig.catalog import collections
from embedmig.catalog.install import install
from embedmig.db import Connection, Database
from embedmig.settings import Settings
from embedmig.types import Placement
from tests.alembic_environment import downgrade, make_environment, offline_sql, upgrade, write_revision
from tests.support import make_docs, switch_docs

TABLE = (
    "op.execute('CREATE TABLE IF NOT EXISTS docs (id bigint PRIMARY KEY, title text, body text, lang text,"
    " embedding vector(16))')\n"
    "op.execute('CREATE INDEX IF NOT EXISTS docs_embedding_idx ON docs USING hnsw (embedding vector_cosine_ops)')"
)
SHAPE = """
SELECT n.nspname || '.' || c.relname || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) AS what
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relname ~ '^docs' AND c.relkind IN ('r', 'v', 'i')
 UNION ALL SELECT conname FROM pg_constraint WHERE conname ~ '^embedmig'"""
CATALOG = (
    "SELECT * FROM embedmig.slot ORDER BY id",
    "SELECT * FROM embedmig.migration ORDER BY id",
    "SELECT * FROM embedmig.route",
    "SELECT count(*) FROM embedmig.event",
)


class Ending(NamedTuple):
    """A verb that ends something, run at once."""

    run: Callable[..., Any]
    refused: bool
    """Whether its revision fails where the verb has not been run."""


def _retire(db: Database, settings: Settings | None = None) -> Any:
    return commands.contract(db, "docs", only_retire=True, settings=settings)


def _keep(db: Database, settings: Settings | None = None) -> Any:
    return commands.contract(db, "docs", keep_source=True, settings=settings)


def _detach(db: Database, settings: Settings | None = None) -> Any:
    return commands.detach(db, "docs", keep="v2", settings=settings)


def _detach_from_target(db: Database, settings: Settings | None = None) -> Any:
    return commands.detach(db, "docs", keep="v1", settings=settings)


ENDINGS = {
    "retire": Ending(_retire, True),
    "keep": Ending(_keep, True),
    "detach, the target stays": Ending(_detach, False),
    "detach, the source stays": Ending(_detach_from_target, False),
}


def shape(conn: Connection) -> list[str]:
    return sorted(row["what"] for row in conn.execute(SHAPE))


def everything(conn: Connection) -> list[Any]:
    return [shape(conn), *(conn.execute(query).fetchall() for query in CATALOG)]


def under_way(folder: Path, db: Database, conn: Connection, placement: Placement) -> tuple[Path, Settings]:
    """An environment whose database is at the end of a migration that it began."""
    folder.mkdir()
    make_docs(conn, 3)
    ini = make_environment(folder, db)
    write_revision(ini, "r0", None, TABLE, "")
    upgrade(ini)
    settings = Settings(alembic_ini=ini)
    commands.expand(db, "docs", "new@1", placement=placement, run=True, settings=settings)
    switch_docs(conn, collections.get_collection(conn, "docs"))
    return ini, settings


def copied(here: Path, there: Path, db: Database) -> Path:
    """The same revisions in an environment of another database."""
    there.mkdir()
    ini = make_environment(there, db)
    for path in (here / "migrations" / "versions").glob("*.py"):
        (there / "migrations" / "versions" / path.name).write_text(path.read_text())
    return ini


@pytest.mark.parametrize("placement", list(Placement))
@pytest.mark.parametrize("verb", ENDINGS)
def test_it_changes_nothing_here_and_does_the_same_where_embedmig_is_not(
    db: Database, bare_db: Database, conn: Connection, tmp_path: Path, verb: str, placement: Placement
) -> None:
    ini, settings = under_way(tmp_path / "here", db, conn, placement)
    done = ENDINGS[verb].run(db, settings)
    assert done.revision is not None
    at_end = everything(conn)
    upgrade(ini)
    assert everything(conn) == at_end
    downgrade(ini, "-1")
    upgrade(ini)
    assert everything(conn) == at_end

    other = copied(tmp_path / "here", tmp_path / "there", bare_db)
    with bare_db.connect() as fresh:
        fresh.execute("CREATE EXTENSION IF NOT EXISTS vector")
        upgrade(other, _before(other))
        before = shape(fresh)
        upgrade(other)
        assert shape(fresh) == shape(conn)
        downgrade(other, "-1")
        assert shape(fresh) == before
        upgrade(other)
        assert shape(fresh) == shape(conn)
        assert "follow_embedmig" not in offline_sql(other, f"{_before(other)}:head")
        fresh.execute("DROP SCHEMA IF EXISTS embedmig CASCADE")
        fresh.execute("DROP TABLE docs CASCADE")


@pytest.mark.parametrize("verb", ENDINGS)
def test_where_the_migration_still_runs_its_own_verb_comes_first(
    db: Database, bare_db: Database, conn: Connection, tmp_path: Path, verb: str
) -> None:
    _, settings = under_way(tmp_path / "here", db, conn, Placement.COLUMN)
    with bare_db.connect() as bare:
        bare.execute("CREATE EXTENSION IF NOT EXISTS vector")
    install(bare_db)
    with bare_db.connect() as staging:
        under_way(tmp_path / "there", bare_db, staging, Placement.COLUMN)
        ENDINGS[verb].run(db, settings)
        # As if staging had come here by the same revisions.
        ini = copied(tmp_path / "here", tmp_path / "shared", bare_db)
        staging.execute("UPDATE public.alembic_version SET version_num = %s", [_before(ini)])
        before = shape(staging)
        if ENDINGS[verb].refused:
            with pytest.raises(Exception, match="run embedmig contract --"):
                upgrade(ini)
        else:
            upgrade(ini)
        assert shape(staging) == before
        ENDINGS[verb].run(bare_db)
        upgrade(ini)
        assert shape(staging) == shape(conn)


def test_a_collection_registered_again_after_a_detach_is_not_touched_by_its_revision(
    db: Database, conn: Connection, tmp_path: Path
) -> None:
    ini, settings = under_way(tmp_path / "here", db, conn, Placement.COLUMN)
    commands.detach(db, "docs", keep="v1", settings=settings)
    commands.collection_add(db, "docs", table="docs", text=["title", "body"], embedding="embedding", model="old@1")
    upgrade(ini)
    again = commands.expand(db, "docs", "new@1", placement=Placement.COLUMN, run=True, settings=settings)
    assert again.done
    before = everything(conn)
    upgrade(ini)
    assert everything(conn) == before


def _before(ini: Path) -> str:
    """The revision before the newest."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(Config(str(ini)))
    newest = script.get_revision("head")
    assert newest is not None
    return str(newest.down_revision)
