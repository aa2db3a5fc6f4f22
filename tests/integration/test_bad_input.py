"""What a clumsy hand does wrong, at every verb: one sentence, the right exit code, nothing done, JSON where asked."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest

from embedmig.catalog.install import newest_revision
from embedmig.cli.main import embedmig, run
from embedmig.db import Database
from tests.conftest import copied_database
from tests.support import make_docs

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


def test_the_newest_revision_is_alembics_own() -> None:
    from embedmig.catalog.install import known_revisions

    assert newest_revision() == known_revisions()[0]
