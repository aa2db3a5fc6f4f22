"""Processes that search without pause, for tests of a switch: ``python -m tests.processes.crowd`` with a task on stdin.

Each answer is kept with when it was asked and when it came, by a clock that all processes share, and with what its own
snapshot showed of the route: ``d.seen`` is a function of the row, which Postgres lets a statement read like a column.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from embedmig.db import Connection, Database
from embedmig.embedders.hashing import HashingEmbedder
from embedmig.errors import ModelMismatchError
from embedmig.search.searcher import Searcher
from embedmig.types import Embedding, Floats, Model
from tests.support import NEW, OLD

MODELS = {model.key: model for model in (OLD, NEW)}

SEEN = """
CREATE FUNCTION seen(docs) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT share_bp || ' ' || epoch FROM embedmig.route WHERE group_name = 'docs'
$$
"""
FROM_SQL = """
SELECT h.slot, r.share_bp || ' ' || r.epoch AS seen
  FROM embedmig.search_v1('docs', %s, %s, 3) h, embedmig.route r WHERE r.group_name = 'docs'
"""


@dataclass(frozen=True)
class Answer:
    """What a process got for one question."""

    process: int
    way: str
    asked: float
    came: float
    slots: list[str]
    seen: list[str]
    """Share in basis points and epoch, as the statement's own snapshot has them; one a hit."""


@dataclass
class Crowd:
    """``with Crowd(...) as crowd``: inside it all search; after it, ``answers`` and ``errors`` are there."""

    url: str
    folder: Path
    processes: int
    prepared: bool = True
    answers: list[Answer] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    mismatches: int = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.processes.crowd"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            preexec_fn=lambda: os.nice(10) and None,
        )
        task = {
            "url": self.url,
            "folder": str(self.folder),
            "processes": self.processes,
            "prepared": self.prepared,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "all search\n"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        for path in sorted(self.folder.glob("*.jsonl")):
            for line in map(json.loads, path.read_text().splitlines()):
                if "error" in line:
                    self.errors.append(line["error"])
                elif "mismatches" in line:
                    self.mismatches += line["mismatches"]
                else:
                    self.answers.append(Answer(process=int(path.stem), **line))


def main() -> None:
    task = json.loads(sys.stdin.readline())
    folder = Path(task["folder"])
    # Forked before anything has begun to run: the modules are read once.
    children = [child for number in range(task["processes"]) if (child := _fork(number, task, folder))]
    deadline = time.monotonic() + 30
    while len(list(folder.glob("*.ready"))) < len(children) and time.monotonic() < deadline:
        time.sleep(0.01)
    print("all search", flush=True)  # noqa: T201
    sys.stdin.read()
    (folder / "stop").touch()
    for child in children:
        os.waitpid(child, 0)


def _fork(number: int, task: dict[str, Any], folder: Path) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _search(number, task, folder)
            code = 0
        finally:
            os._exit(code)
    return child


def _search(number: int, task: dict[str, Any], folder: Path) -> None:
    ways = (_by_text, _by_vector, _by_sql)
    mismatches = 0
    with (folder / f"{number}.jsonl").open("w") as out, contextlib.ExitStack() as stack:
        try:
            ask = ways[number % len(ways)](task, stack)
            asked = 0
            while not (folder / "stop").exists():
                asked += 1
                start = time.monotonic()
                answer = ask(f"process {number} asks {asked}")
                if answer is None:
                    mismatches += 1
                    continue
                way, slots, seen = answer
                line = {"way": way, "asked": start, "came": time.monotonic(), "slots": slots, "seen": seen}
                out.write(json.dumps(line) + "\n")
                if asked == 1:
                    (folder / f"{number}.ready").touch()
        except Exception as error:  # noqa: BLE001 whatever it is, the test reports it
            out.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
            (folder / f"{number}.ready").touch()
        out.write(json.dumps({"mismatches": mismatches}) + "\n")


def _connect(task: dict[str, Any], stack: contextlib.ExitStack) -> Searcher:
    return stack.enter_context(
        Searcher.connect("docs", database_url=task["url"], max_connections=1, prepared=task["prepared"])
    )


def _by_text(task: dict[str, Any], stack: contextlib.ExitStack) -> Any:
    search = _connect(task, stack)

    def ask(text: str) -> tuple[str, list[str], list[str]]:
        hits = search(text, k=3, columns=["seen"])
        return "text", [hit.slot for hit in hits], [hit.columns["seen"] for hit in hits]

    return ask


def _by_vector(task: dict[str, Any], stack: contextlib.ExitStack) -> Any:
    """A caller who embeds by himself, with the model that the last refusal named."""
    search, model = _connect(task, stack), OLD.key

    def ask(text: str) -> tuple[str, list[str], list[str]] | None:
        nonlocal model
        try:
            hits = search(Embedding(_embed(MODELS[model], text), model=model), k=3, columns=["seen"])
        except ModelMismatchError as error:
            model = error.slot_model
            return None
        return "vector", [hit.slot for hit in hits], [hit.columns["seen"] for hit in hits]

    return ask


def _by_sql(task: dict[str, Any], stack: contextlib.ExitStack) -> Any:
    """A client in another language, as far as one can be written in this one."""
    conn: Connection = stack.enter_context(Database(task["url"]).connect())
    conn.prepare_threshold = 5 if task["prepared"] else None
    model = OLD.key

    def ask(text: str) -> tuple[str, list[str], list[str]] | None:
        nonlocal model
        try:
            rows = conn.execute(FROM_SQL, [_embed(MODELS[model], text), model]).fetchall()
        except psycopg.Error as error:
            if error.sqlstate != "EM002":
                raise
            model = json.loads(error.diag.message_detail or "")["model"]
            return None
        return "sql", [row["slot"] for row in rows], [row["seen"] for row in rows]

    return ask


def _embed(model: Model, text: str) -> Floats:
    return HashingEmbedder(options=model.options).embed_queries([text])[0]


if __name__ == "__main__":
    main()
