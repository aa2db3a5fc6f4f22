"""The wizard at a real terminal: what it asks, what it does, and that Ctrl-C leaves nothing half done."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from embedmig.catalog.collections import get_collection
from embedmig.catalog.install import is_installed
from embedmig.catalog.models import get_model
from embedmig.db import Connection, Database
from embedmig.settings import load_settings
from embedmig.types import ModelState

pytestmark = pytest.mark.processes


class Terminal:
    """``embedmig init`` at a pseudo-terminal."""

    def __init__(self, url: str, folder: Path) -> None:
        self._screen, there = pty.openpty()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EMBEDMIG_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from embedmig.cli.main import main; main()", "init"],
            stdin=there,
            stdout=there,
            stderr=there,
            cwd=folder,
            env=environment | {"EMBEDMIG_DATABASE_URL": url, "TERM": "dumb", "COLUMNS": "200"},
            start_new_session=True,
        )
        os.close(there)
        self._read = b""

    @property
    def seen(self) -> str:
        """What came since the last answer, however the reads cut it."""
        return re.sub(r"\s+", " ", self._read.decode(errors="replace"))

    def wait_for(self, text: str, seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < deadline, f"no {text!r} in:\n{self.seen}"
            if select.select([self._screen], [], [], 0.1)[0]:
                try:
                    self._read += os.read(self._screen, 65536)
                except OSError:
                    raise AssertionError(f"it ended without {text!r}:\n{self.seen}") from None

    def answer(self, question: str, text: str) -> None:
        self.wait_for(question)
        self._read = b""
        os.write(self._screen, text.encode() + b"\n")

    def interrupt(self, answer: str) -> None:
        """Ctrl-C until it is answered: one that comes between the printed question and the read is not seen there."""
        for _ in range(30):
            os.kill(self.process.pid, signal.SIGINT)
            try:
                self.wait_for(answer, seconds=2)
            except AssertionError:
                continue
            return
        raise AssertionError(f"no {answer!r} in:\n{self.seen}")

    def end(self) -> int:
        code = self.process.wait(timeout=90)
        os.close(self._screen)
        return code


OpenTerminal = Callable[[str], Terminal]


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[OpenTerminal]:
    """Terminals in the test's folder, whose wizards do not outlive the test."""
    opened: list[Terminal] = []

    def open_one(url: str) -> Terminal:
        opened.append(Terminal(url, tmp_path))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.process.kill()
        terminal.process.wait()


@pytest.fixture
def shop(bare_db: Database) -> Iterator[tuple[Database, Connection]]:
    with bare_db.connect() as conn:
        conn.execute("CREATE EXTENSION vector")
    with bare_db.connect() as conn:
        conn.execute("CREATE TABLE docs (id int PRIMARY KEY, title text, body text, lang text, embedding vector(32))")
        conn.execute("INSERT INTO docs SELECT i, 'title', repeat('body ', 9), 'en' FROM generate_series(1, 9) i")
        conn.execute("CREATE TABLE nokey (body text, v vector(4))")
        yield bare_db, conn


def test_the_wizard_registers_a_model_and_a_table(
    shop: tuple[Database, Connection], tmp_path: Path, open_terminal: OpenTerminal
) -> None:
    db, conn = shop
    terminal = open_terminal(make_conninfo(db.url, password="secret"))
    terminal.wait_for("public.nokey.v vector(4): no primary key")
    terminal.wait_for("1 public.docs.embedding vector(32), text body")
    terminal.answer("Which column? [1]:", "")
    terminal.answer("[body]:", "title,bodi")
    terminal.answer("no column bodi in public.docs", "title,body")
    terminal.answer("Name of the collection [docs]:", "")
    terminal.answer("as name@revision:", "tiny")
    terminal.answer("'tiny' is not a model", "tiny@1")
    terminal.answer("Can tiny@1 still be run? [Y/n]:", "")
    terminal.answer("Provider", "hashing")
    terminal.answer("Its options", "seed=3 dimensions")
    terminal.answer("'dimensions' is not KEY=VALUE", "seed=3")
    terminal.wait_for("model tiny@1, loaded, and its vectors probed")
    assert not is_installed(conn)
    terminal.answer("Go ahead? [Y/n]:", "")
    terminal.wait_for("embedmig plan docs --to NAME@REVISION")
    assert terminal.end() == 0
    assert get_collection(conn, "docs").text_columns == ("title", "body")
    assert get_model(conn, "tiny@1").options == {"seed": 3}
    written = (tmp_path / "embedmig.toml").read_text()
    assert "secret" not in written
    assert load_settings(tmp_path).database_url is None


def test_a_model_that_is_gone_is_declared_with_the_columns_dimensions(
    shop: tuple[Database, Connection], tmp_path: Path, open_terminal: OpenTerminal
) -> None:
    db, conn = shop
    terminal = open_terminal(db.url)
    terminal.answer("Which column? [1]:", "")
    terminal.answer("[body]:", "")
    terminal.answer("Name of the collection [docs]:", "papers")
    terminal.answer("as name@revision:", "dead@1")
    terminal.answer("still be run? [Y/n]:", "n")
    terminal.answer("Go ahead? [Y/n]:", "y")
    terminal.wait_for("next:")
    assert terminal.end() == 0
    model = get_model(conn, "dead@1")
    assert (model.state, model.dimensions) == (ModelState.GONE, 32)
    assert get_collection(conn, "papers").table == "docs"
    assert load_settings(tmp_path).database_url is not None


@pytest.mark.parametrize("after", ["Which column? [1]:", "Go ahead? [Y/n]:"])
def test_ctrl_c_at_a_question_changes_nothing(
    shop: tuple[Database, Connection], tmp_path: Path, open_terminal: OpenTerminal, after: str
) -> None:
    db, conn = shop
    terminal = open_terminal(db.url)
    if after.startswith("Go"):
        terminal.answer("Which column? [1]:", "0")
    terminal.wait_for(after)
    terminal.interrupt("interrupted; nothing was changed")
    assert terminal.end() == 130
    assert not is_installed(conn)
    assert list(tmp_path.iterdir()) == []


def test_no_to_the_last_question_changes_nothing(
    shop: tuple[Database, Connection], tmp_path: Path, open_terminal: OpenTerminal
) -> None:
    db, conn = shop
    terminal = open_terminal(db.url)
    terminal.answer("Which column? [1]:", "0")
    terminal.answer("Go ahead? [Y/n]:", "n")
    terminal.wait_for("nothing was changed")
    assert terminal.end() == 1
    assert not is_installed(conn)
    assert list(tmp_path.iterdir()) == []
