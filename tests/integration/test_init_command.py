"""embedmig init without a terminal: flags are the answers, and without flags it only installs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from embedmig.catalog.collections import get_collection, list_collections
from embedmig.catalog.install import is_installed
from embedmig.catalog.slots import list_slots
from embedmig.cli.main import run
from embedmig.commands.setup import holds_secret, write_settings
from embedmig.db import Database
from embedmig.settings import load_settings

Verb = Callable[..., tuple[int, str]]


@pytest.fixture
def bare(bare_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database with a table of the user's and no control schema; the working folder is empty."""
    monkeypatch.chdir(tmp_path)
    with bare_db.connect() as conn:
        conn.execute("CREATE EXTENSION vector")
        conn.execute("CREATE TABLE docs (id int PRIMARY KEY, title text, body text, embedding vector(32))")
        conn.execute("INSERT INTO docs SELECT i, 'title', repeat('body ', 3) FROM generate_series(1, 9) i")
    return bare_db


@pytest.fixture
def init(bare: Database, capsys: pytest.CaptureFixture[str]) -> Verb:
    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = run(["init", *arguments, "--database-url", bare.url])
        captured = capsys.readouterr()
        return code, " ".join((captured.out + captured.err).split())

    return call


def test_without_flags_it_installs_and_says_what_is_next(init: Verb, bare: Database, tmp_path: Path) -> None:
    code, printed = init()
    assert code == 0, printed
    assert "control schema embedmig installed" in printed
    assert "collection add --table public.docs --text body,title --embedding embedding --model" in printed
    with bare.connect() as conn:
        assert is_installed(conn)
        assert list_collections(conn) == []
    assert list(tmp_path.iterdir()) == []
    assert "is there and up to date" in init()[1]


def test_flags_do_all_of_it_and_again_changes_nothing(init: Verb, bare: Database, tmp_path: Path) -> None:
    flags = ("--yes", "--table", "docs", "--model", "tiny@1", "--provider", "hashing", "--option", "seed=2")
    for _ in range(2):
        code, printed = init(*flags)
        assert code == 0, printed
    with bare.connect() as conn:
        collection = get_collection(conn, "docs")
        assert collection.text_columns == ("body", "title")
        (slot,) = list_slots(conn, collection)
        assert (slot.vector_column, slot.model.key, dict(slot.model.options)) == ("embedding", "tiny@1", {"seed": 2})
    url = load_settings(tmp_path).database_url
    assert url is not None
    assert url.get_secret_value() == bare.url


def test_the_result_is_json_where_asked(init: Verb) -> None:
    code, printed = init("--json")
    assert code == 0
    assert json.loads(printed)["candidates"][0]["table"] == "public.docs"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--table", "docs"), "name the model that made the vectors there are: --model"),
        (("--table", "docs", "--model", "tiny@1"), "or give its --provider here"),
        (("--table", "dosc", "--model", "tiny@1", "--provider", "hashing"), "no table dosc; there are: public.docs"),
        (("--table", "two", "--model", "tiny@1", "--provider", "hashing"), "--embedding: one of a, b"),
        (("--table", "none", "--model", "tiny@1", "--provider", "hashing"), "it has none that this role may read"),
        (("--table", "mute", "--model", "tiny@1", "--provider", "hashing"), "name the text columns of public.mute"),
    ],
)
def test_what_cannot_be_guessed_is_asked_for(init: Verb, bare: Database, flags: tuple[str, ...], said: str) -> None:
    with bare.connect() as conn:
        conn.execute("CREATE TABLE two (id int PRIMARY KEY, body text, a vector(32), b vector(32))")
        conn.execute("CREATE TABLE none (id int PRIMARY KEY, body text)")
        conn.execute("CREATE TABLE mute (id int PRIMARY KEY, a vector(32))")
    code, printed = init("--yes", *flags)
    assert (code, said in printed) == (2, True), printed


def test_without_pgvector_nothing_is_installed(
    bare_db: Database, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["init", "--database-url", bare_db.url]) == 2
    assert "pgvector is not installed in database" in capsys.readouterr().err
    with bare_db.connect() as conn:
        assert not is_installed(conn)


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("postgresql://me@host/db", False),
        ("postgresql://me:pw@host/db", True),
        ("host=h dbname=d password=pw", True),
        ("postgresql://me@host/db?sslpassword=pw", True),
        ("host=h dbname=d", False),
    ],
)
def test_a_url_with_a_password_is_never_written(tmp_path: Path, url: str, secret: bool) -> None:
    assert holds_secret(url) is secret
    path = write_settings(tmp_path, url)
    assert path is not None
    assert ("pw" in path.read_text()) is False
    kept = load_settings(tmp_path).database_url
    assert (kept is None) is secret
    if kept is not None:
        assert kept.get_secret_value() == url


def test_settings_that_are_there_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "embedmig.toml").write_text("stability_days = 3.0\n")
    assert write_settings(tmp_path, "postgresql://me@host/db") is None
    assert load_settings(tmp_path).stability_days == 3.0
