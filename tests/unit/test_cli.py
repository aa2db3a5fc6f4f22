"""The command line's frame: help is fast and whole, errors are a sentence and an exit code."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from embedmig.cli.main import VERBS, run
from embedmig.db.connection import checked_url


def test_help_names_every_verb_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from embedmig.cli.main import run; run(['--help']);"
        "heavy = {'numpy', 'torch', 'psycopg', 'sqlalchemy', 'alembic', 'pydantic', 'rich'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert f"\n  {verb} " in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    assert "Usage: embedmig" in capsys.readouterr().out


def test_an_unknown_verb_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["frobnicate"]) == 2
    assert "frobnicate" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_a_sentence_and_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["events", "--database-url", "postgresql://nobody:secret@127.0.0.1:1/none"]) == 3
    said = capsys.readouterr().err
    assert said.startswith("embedmig: ")
    assert "Traceback" not in said
    assert "secret" not in said


def test_errors_are_json_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["events", "--json", "--database-url", "postgresql://127.0.0.1:1/none"]) == 3
    said = json.loads(capsys.readouterr().out)
    assert said["error"] == "DatabaseError"
    assert said["exit_code"] == 3


def test_an_unknown_variable_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EMBEDMIG_DATABSE_URL", "postgresql://x")
    assert run(["events"]) == 2
    assert "EMBEDMIG_DATABSE_URL" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [["plan", "docs"], ["rollout", "docs", "many"], ["status", "--colour"], ["frobnicate"]]
)
def test_wrong_usage_is_json_for_machines_too(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*wrong, "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert (said["error"], said["exit_code"]) == ("UsageError", 2)
    assert said["message"]


def test_an_argument_that_is_no_text_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "\udcff", "--json", "--database-url", "postgresql://127.0.0.1:1/none"]) == 2
    assert "not written in UTF-8" in json.loads(capsys.readouterr().out)["message"]


def test_a_uuid_is_printed_whole_however_narrow_the_terminal() -> None:
    from rich.console import Console

    from embedmig.cli.search import _render
    from embedmig.commands.searching import Found, SearchResult

    key = UUID(int=7919)
    found = Found(key=key, distance=0.5, slot="v1", model="old@1", stale=False, snippet="a long piece of text " * 9)
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(_render(SearchResult(collection="docs", hits=[found], explanation=None)))
    assert str(key) in console.export_text()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hunter2@h/x",
        "postgresql+psycopg://u:hunter2@h/x",
        "postgresql://u:hunter2 or so@h/x",
        "postgresql://u:wh@hunter2@h/x",
        "postgresql://u:hun/hunter2@h/x",
        "postgresql://u:hunter2%@h/x",
        " ",
    ],
)
def test_a_url_that_cannot_be_read_is_wrong_usage_and_not_quoted(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--json", "--database-url", url]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["error"] == "SettingsError"
    assert "hunter2" not in said["message"]


@pytest.mark.parametrize(
    "url",
    [
        "host=/srv/a@b dbname=x password=p",
        "postgresql://u:p%40ss@h1:1,h2:2/x",
        "postgresql://u@[::1]:5432/x",
        "postgresql:///x?host=@abstract",
    ],
)
def test_every_form_that_libpq_takes_is_taken(url: str) -> None:
    assert checked_url(url) == url


def test_a_folder_that_cannot_be_made_is_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EMBEDMIG_DATA_DIR", str(tmp_path / "file" / "data"))
    assert run(["status"]) == 2
    assert "data_dir" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_an_interruption_and_no_verdict() -> None:
    read, write = os.pipe()
    os.close(read)
    code = "from embedmig.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "--help"], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (130, b"")
