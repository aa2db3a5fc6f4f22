"""embedmig expand|handover|contract|detach, through the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from embedmig.catalog import migrations, slots
from embedmig.cli.main import run
from embedmig.db import Connection, Database
from embedmig.types import Collection
from tests.alembic_environment import make_environment
from tests.support import make_docs, switch_docs

Verb = Callable[..., tuple[int, str]]


@pytest.fixture
def docs(conn: Connection) -> Collection:
    return make_docs(conn, 5)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_expand_without_an_environment_is_done_at_once_and_shown_as_sql(
    verb: Verb, conn: Connection, docs: Collection
) -> None:
    code, printed = verb("expand", "docs", "--to", "new@1", "--placement", "column")
    assert code == 0, printed
    assert 'ADD COLUMN IF NOT EXISTS "embedding_v2" "vector"(24)' in printed
    assert "slot v2 of docs (new@1, column) is open" in printed
    code, printed = verb("expand", "docs", "--to", "new@1")
    assert (code, "is open already" in printed) == (0, True)
    code, printed = verb("expand", "docs", "--undo")
    assert (code, "is gone; v1 is the only slot" in printed) == (0, True)
    assert migrations.find_migration(conn, docs) is None


def test_expand_beside_an_alembic_ini_writes_a_revision(
    verb: Verb, db: Database, conn: Connection, docs: Collection, tmp_path: Path
) -> None:
    make_environment(tmp_path, db)
    code, printed = verb("expand", "docs", "--to", "new@1")
    assert code == 0, printed
    assert "review the revision, then alembic upgrade head" in printed
    assert migrations.find_migration(conn, docs) is None
    code, printed = verb("expand", "docs", "--to", "new@1", "--run", "--json")
    assert code == 0, printed
    assert json.loads(printed)["done"] is True


def test_a_command_that_says_neither_to_nor_undo_is_wrong_usage(verb: Verb, docs: Collection) -> None:
    assert verb("expand", "docs")[0] == 2
    assert verb("expand", "docs", "--undo", "--to", "new@1")[0] == 2
    assert verb("handover", "docs", "--undo", "--to", "app")[0] == 2


def test_names_that_are_not_there_are_said_with_those_that_are(verb: Verb, docs: Collection) -> None:
    code, printed = verb("expand", "nodocs", "--to", "new@1")
    assert (code, "no collection nodocs; there are: docs" in printed) == (2, True)
    code, printed = verb("expand", "docs", "--to", "nobody@1")
    assert (code, "no model nobody@1; there are: new@1, old@1" in printed) == (2, True)


def test_handover_says_the_cost_before_it_queues(verb: Verb, conn: Connection, docs: Collection) -> None:
    verb("expand", "docs", "--to", "new@1")
    conn.execute("UPDATE docs SET embedding = NULL WHERE id IN (1, 2)")
    code, printed = verb("handover", "docs")
    assert code == 0, printed
    assert printed.index("2 rows have text and no source vector: about") < printed.index("2 rows are queued")
    code, printed = verb("handover", "docs", "--undo")
    assert (code, "now maintained by the application" in printed) == (0, True)


def test_contract_asks_a_person_or_wants_a_yes(verb: Verb, db: Database, conn: Connection, docs: Collection) -> None:
    verb("expand", "docs", "--to", "new@1", "--placement", "column")
    switch_docs(conn, docs, days_ago=1)
    code, printed = verb("contract", "docs", "--yes")
    assert (code, "stability period of 7 days" in printed) == (1, True)
    code, printed = verb("contract", "docs", "--stability", "0")
    assert (code, "say --yes" in printed) == (2, True)
    code, printed = verb("contract", "docs", "--stability", "0", "--dry-run")
    assert code == 0
    assert "\\copy (SELECT" in printed
    assert 'DROP COLUMN IF EXISTS "embedding"' in printed
    code, printed = verb("contract", "docs", "--force", "--yes", "--why", "room")
    assert (code, "v2 is the only slot" in printed) == (0, True)
    assert "way back" not in printed
    assert "without waiting for: stability" in printed
    code, printed = verb("contract", "docs", "--yes")
    assert (code, "no migration of docs is open" in printed) == (0, True)


def test_sql_is_printed_in_one_line_a_statement(
    db: Database, conn: Connection, docs: Collection, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["expand", "docs", "--to", "new@1", "--placement", "column", "--database-url", db.url])
    switch_docs(conn, docs)
    capsys.readouterr()
    run(["contract", "docs", "--dry-run", "--database-url", db.url])
    (save,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("\\copy")]
    assert save.endswith("WITH (FORMAT csv, HEADER)")


def test_detach_wants_a_yes_and_prints_sql_without_one(verb: Verb, conn: Connection, docs: Collection) -> None:
    verb("expand", "docs", "--to", "new@1", "--placement", "companion")
    code, printed = verb("detach", "docs")
    assert (code, "say --yes" in printed) == (2, True)
    code, printed = verb("detach", "docs", "--sql")
    assert (code, printed.count("DROP TRIGGER IF EXISTS")) == (0, 4)
    assert len(slots.list_slots(conn, docs)) == 2
    code, printed = verb("detach", "docs", "--yes")
    assert (code, "embedmig is off docs: v1 stays" in printed) == (0, True)
    code, printed = verb("detach", "docs", "--sql")
    assert (code, "no trigger of embedmig is there" in printed) == (0, True)
