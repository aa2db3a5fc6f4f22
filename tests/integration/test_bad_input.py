"""What a clumsy hand does wrong, at every verb: one sentence, the right exit code, nothing done, JSON where asked."""

import json
import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from embedmig.catalog.install import alembic_ini, known_revisions, newest_revision
from embedmig.cli.main import embedmig, run
from embedmig.commands import events, index
from embedmig.db import Database
from embedmig.schema.index_building import IndexProgress
from embedmig.types import Placement
from tests.conftest import copied_database
from tests.support import expand_docs, make_docs

ELSEWHERE = ("demo", "init", "doctor")
"""What works without a control schema."""
FURTHER = {
    ("expand",): ["--to", "new@1"],
    ("rollout",): ["100"],
    ("contract",): ["--yes"],
    ("detach",): ["--yes"],
    ("validate",): ["--queries-from-rows", "3"],
}
"""What a command line must say beside its required arguments."""
VALUES = {"collection": "dogs", "model": "strange@1", "provider": "hashing", "table": "dogs", "embedding": "embedding"}


def _leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _leaves(command, (*path, name))
        else:
            yield (*path, name), command


def _line(path: tuple[str, ...], command: click.Command) -> list[str]:
    line = [*path]
    for parameter in command.params:
        value = VALUES.get(str(parameter.name), "words")
        if isinstance(parameter, click.Argument) and (parameter.required or parameter.name == "collection"):
            line.append(value)
        elif isinstance(parameter, click.Option) and parameter.required:
            line += [parameter.opts[0], value]
    return line + FURTHER.get(path, [])


LINES = {" ".join(path): _line(path, command) for path, command in _leaves(embedmig)}
WITH_CATALOG = [pytest.param(line, id=name) for name, line in LINES.items() if name not in ELSEWHERE]
OF_A_COLLECTION = [pytest.param(line, id=name) for name, line in LINES.items() if "dogs" in line and "add" not in line]

Complaint = Callable[[list[str], Database], tuple[int, dict[str, Any]]]


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Complaint:
    """Runs a line with ``--json``; its exit code, and the one document that it must have printed."""

    def call(line: list[str], db: Database) -> tuple[int, dict[str, Any]]:
        code = run([*line, "--json", "--database-url", db.url])
        document = json.loads(capsys.readouterr().out)
        assert isinstance(document, dict)
        return code, document

    return call


@pytest.fixture(scope="module")
def no_catalog(server_url: str) -> Iterator[Database]:
    with copied_database(server_url, "template1") as db:
        with db.connect() as conn:
            conn.execute("CREATE EXTENSION vector")
        yield db


@pytest.fixture(scope="module")
def outdated(server_url: str, template: str) -> Iterator[Database]:
    with copied_database(server_url, template) as db:
        with db.connect() as conn:
            conn.execute("UPDATE embedmig.alembic_version SET version_num = '0001'")
        yield db


@pytest.fixture(scope="module")
def with_docs(server_url: str, template: str) -> Iterator[Database]:
    with copied_database(server_url, template) as db:
        with db.connect() as conn:
            make_docs(conn, 3)
        yield db


@pytest.mark.parametrize("line", WITH_CATALOG)
def test_without_a_control_schema_every_verb_names_init(
    line: list[str], no_catalog: Database, complaint: Complaint
) -> None:
    code, said = complaint(line, no_catalog)
    assert (code, said["error"]) == (2, "ControlSchemaError")
    assert "has no control schema: run embedmig init" in said["message"]


@pytest.mark.parametrize("line", WITH_CATALOG)
def test_with_an_older_control_schema_every_verb_says_that_init_upgrades_it(
    line: list[str], outdated: Database, complaint: Complaint
) -> None:
    code, said = complaint(line, outdated)
    assert (code, said["error"]) == (2, "ControlSchemaError")
    assert f"at revision 0001, this embedmig works with {newest_revision()}" in said["message"]
    assert "embedmig init, which upgrades it" in said["message"]


@pytest.mark.parametrize("line", OF_A_COLLECTION)
def test_a_collection_that_is_not_there_is_named_by_every_verb(
    line: list[str], with_docs: Database, complaint: Complaint
) -> None:
    code, said = complaint(line, with_docs)
    assert (code, said["error"]) == (2, "NotFoundError")
    assert said["message"].startswith("no collection dogs; there are: docs: ")


def test_the_revisions_that_are_read_from_the_files_are_alembics_own() -> None:
    scripts = ScriptDirectory.from_config(Config(str(alembic_ini())))
    newest_first = [script.revision for script in scripts.walk_revisions()]
    assert known_revisions() == tuple(reversed(newest_first))
    assert newest_revision() == newest_first[0]


def test_init_changes_nothing_of_a_control_schema_that_a_newer_embedmig_made(
    db: Database, complaint: Complaint
) -> None:
    with db.connect() as conn:
        conn.execute("UPDATE embedmig.alembic_version SET version_num = '9999'")
        code, said = complaint(["init"], db)
        assert (code, said["error"]) == (2, "ControlSchemaError")
        assert "at revision 9999, which this embedmig does not know" in said["message"]
        assert conn.execute("SELECT version_num FROM embedmig.alembic_version").fetchall() == [{"version_num": "9999"}]


LONG = 'My ":snake:" table [b]with[/b] a name that goes on and on and on and on'
"""As long as Postgres takes, with what terminals and markup languages take for theirs."""


@pytest.fixture(scope="module")
def long_names(server_url: str, template: str) -> Iterator[Database]:
    with copied_database(server_url, template) as db:
        with db.connect() as conn:
            make_docs(conn, 3, table=LONG[:63], schema="Odd, Schema", key=[("the whole and only key", "text")])
        yield db


@pytest.mark.parametrize("columns", ["60", "80", "120", None])
@pytest.mark.parametrize("line", [["collection", "list"], ["collection", "show", "docs"], ["status"], ["doctor"]])
def test_names_are_printed_whole_however_wide_the_terminal(
    line: list[str],
    columns: str | None,
    long_names: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    run([*line, "--database-url", long_names.url])
    printed = capsys.readouterr().out
    assert "…" not in printed
    if columns is None:
        assert f"Odd, Schema.{LONG[:63]}" in printed
    else:
        # Broken over lines of a cell, whose neighbours stand between: word by word.
        assert all(word in printed for word in LONG[:63].split())
        assert max(map(len, printed.splitlines())) <= int(columns) or line == ["doctor"]


def test_what_init_says_to_type_can_be_typed(
    server_url: str, template: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with copied_database(server_url, template) as db:
        with db.connect() as conn:
            conn.execute('CREATE TABLE "it\'s a ""table" ("a, b" text, "embed ding" vector(16), id int PRIMARY KEY)')
        model = ["old@1", "--provider", "hashing", "--option", "dimensions=16"]
        assert run(["model", "add", *model, "--database-url", db.url]) == 0
        assert run(["init", "--database-url", db.url]) == 0
        (add,) = [text for text in capsys.readouterr().out.splitlines() if "collection add" in text]
        verb, *arguments = shlex.split(add)
        assert verb == "embedmig"
        typed = [{"NAME": "tables", "NAME@REVISION": "old@1"}.get(argument, argument) for argument in arguments]
        assert run([*typed, "--database-url", db.url]) == 0, capsys.readouterr().err


def test_init_by_a_role_that_may_make_no_schema_is_a_privilege_that_is_missing(
    server_url: str, complaint: Complaint
) -> None:
    with copied_database(server_url, "template1") as db:
        with db.connect() as conn:
            conn.execute("CREATE EXTENSION vector")
            conn.execute("DROP ROLE IF EXISTS reads_only")
            conn.execute("CREATE ROLE reads_only LOGIN")
        reader = Database(psycopg.conninfo.make_conninfo(db.url, user="reads_only"))
        code, said = complaint(["init"], reader)
        assert (code, said["error"]) == (3, "PrivilegeError")
        assert "permission denied for database" in said["message"]
        with db.connect() as conn:
            conn.execute("DROP ROLE reads_only")


@pytest.mark.parametrize(
    "line",
    [
        ["status"],
        ["verify", "docs"],
        ["audit", "docs"],
        ["search", "docs", "words"],
        ["collection", "list"],
        ["collection", "show", "docs"],
        ["plan", "docs", "--to", "new@1"],
        ["index", "docs", "--slot", "v1"],
        ["expand", "docs", "--to", "new@1"],
    ],
    ids=" ".join,
)
def test_behind_a_lock_of_somebody_a_verb_gives_up_and_says_whose(
    line: list[str], with_docs: Database, complaint: Complaint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDMIG_LOCK_TIMEOUT_S", "0.1")
    monkeypatch.setenv("EMBEDMIG_LOCK_ATTEMPTS", "1")
    somebody = Database(with_docs.url, application_name="somebody")
    with somebody.connect() as other, other.transaction():
        other.execute("LOCK TABLE docs IN ACCESS EXCLUSIVE MODE")
        pid = other.info.backend_pid
        code, said = complaint(line, with_docs)
    assert (code, said["error"]) == (3, "LockedError")
    assert "docs" in said["message"]
    assert f"pid {pid} (somebody, " in said["message"]


def test_an_index_that_waits_for_its_table_says_for_whom(with_docs: Database) -> None:
    somebody = Database(with_docs.url, application_name="somebody")
    waited_for = []
    with somebody.connect() as other:
        # The build waits as long as the lock is held: where nothing is told of it, the lock goes by itself.
        other.execute("SET idle_in_transaction_session_timeout = '60s'")
        other.execute("BEGIN")
        other.execute("LOCK TABLE docs IN SHARE ROW EXCLUSIVE MODE")

        def see(progress: IndexProgress) -> None:
            if "somebody" in progress.phase and not waited_for:
                waited_for.append(progress.waits_for_pid)
                other.execute("COMMIT")

        index(with_docs, "docs", slot="v1", on_progress=see)
        assert waited_for == [other.info.backend_pid]
        other.execute("DROP INDEX docs_embedding_hnsw")


def test_where_there_is_nothing_to_tell_a_sentence_says_so(
    with_docs: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["events", "docs", "--served", "--database-url", with_docs.url]) == 0
    assert capsys.readouterr().out == "nothing of docs was served in the last 24 hours\n"
    with with_docs.connect() as conn:
        conn.execute("UPDATE docs SET embedding = NULL")
    assert run(["audit", "docs", "--database-url", with_docs.url]) == 0
    assert "no row could be compared" in capsys.readouterr().out
    assert events(with_docs, "docs", limit=1)[0].became == "nothing compared"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "no open migration"),
        (["--queries", "nul.jsonl"], "holds the character NUL"),
        (["--queries-from-rows", "1", "--cutoff", "nan"], "a cut-off is a number, not nan"),
        (["--queries-from-rows", "1", "--pipeline-sql", "BYTES"], "cannot be read as UTF-8 text"),
        (["--queries-from-rows", "1", "--report", "/nowhere/at/all.html"], "there is no folder /nowhere/at"),
    ],
)
def test_validate_says_what_of_its_input_cannot_be_before_it_asks_anything(
    given: list[str], said: str, with_docs: Database, complaint: Complaint, tmp_path: Path
) -> None:
    (tmp_path / "nul.jsonl").write_text('{"query": "a\\u0000b"}\n')
    (tmp_path / "BYTES").write_bytes(b"\xff")
    line = [str(tmp_path / word) if word in ("nul.jsonl", "BYTES") else word for word in given]
    if "nul.jsonl" in given:
        expand_docs(with_docs, Placement.COMPANION)
    code, document = complaint(["validate", "docs", *line], with_docs)
    assert said in document["message"]
    assert code == (2 if given else 1)
    if "nul.jsonl" in given:
        assert run(["expand", "docs", "--undo", "--database-url", with_docs.url]) == 0


@pytest.mark.parametrize(
    "line",
    [
        ["status"],
        ["verify", "docs"],
        ["audit", "docs"],
        ["plan", "docs", "--to", "new@1"],
        ["index", "docs", "--slot", "v1"],
        ["search", "docs", "words"],
        ["expand", "docs", "--to", "new@1"],
    ],
    ids=" ".join,
)
def test_ctrl_c_is_exit_code_130_and_json_where_that_was_asked_for(
    line: list[str], with_docs: Database, complaint: Complaint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDMIG_LOCK_TIMEOUT_S", "120")
    monkeypatch.setenv("EMBEDMIG_LOCK_ATTEMPTS", "1")

    def press() -> None:
        with with_docs.connect() as conn:
            for _ in range(6000):
                if conn.execute("SELECT FROM pg_locks WHERE NOT granted AND relation = 'docs'::regclass").rowcount:
                    os.kill(os.getpid(), signal.SIGINT)
                    return
                time.sleep(0.01)

    with with_docs.connect() as other, other.transaction():
        other.execute("LOCK TABLE docs IN ACCESS EXCLUSIVE MODE")
        finger = threading.Thread(target=press)
        finger.start()
        code, said = complaint(line, with_docs)
        finger.join()
    assert (code, said["error"], said["exit_code"]) == (130, "Interrupted", 130)
