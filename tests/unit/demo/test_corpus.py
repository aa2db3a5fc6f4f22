"""The corpus: many distinct documents, the same each time, and nothing noticed by the program that collects them."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from embedmig.demo.corpus import Document, collect_documents


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return collect_documents()


@pytest.fixture(scope="module")
def by_name(documents: list[Document]) -> dict[str, Document]:
    return {document.name: document for document in documents}


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own, every warning an error, with ``folder`` first on sys.path."""
    command = [sys.executable, "-W", "error", "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_there_are_at_least_3000_documents(documents: list[Document]) -> None:
    assert len(documents) >= 3000


def test_names_and_texts_are_distinct(documents: list[Document]) -> None:
    assert len({document.name for document in documents}) == len(documents)
    assert len({document.text for document in documents}) == len(documents)


def test_texts_say_something_and_carry_no_indentation(documents: list[Document]) -> None:
    for document in documents:
        assert document.text == document.text.strip()
        assert len(document.text.split()) >= 3, document


def test_all_kinds_are_there_and_no_other(documents: list[Document]) -> None:
    assert {document.kind for document in documents} == {"module", "class", "function", "method", "property"}


@pytest.mark.parametrize(
    ("name", "kind", "module"),
    [
        ("json", "module", "json"),
        ("json.loads", "function", "json"),
        ("json.JSONEncoder", "class", "json"),
        ("json.JSONEncoder.encode", "method", "json"),
        ("datetime.timedelta.days", "property", "datetime"),
        ("os.path.splitext", "function", "os.path"),
        ("xml.etree.ElementTree.iterparse", "function", "xml.etree.ElementTree"),
        ("sorted", "function", "builtins"),
        ("str.casefold", "method", "builtins"),
    ],
)
def test_documents_carry_the_name_that_programmers_write(
    by_name: dict[str, Document], name: str, kind: str, module: str
) -> None:
    assert (by_name[name].kind, by_name[name].module) == (kind, module)


@pytest.mark.parametrize(
    ("kept", "alias"),
    [
        ("random.sample", "random.Random.sample"),
        ("asyncio.run", "asyncio.runners.run"),
        ("array.array", "array.ArrayType"),
        ("os.path.join", "posixpath.join"),
        ("os.listdir", "posix.listdir"),
    ],
)
def test_of_several_names_the_best_known_is_kept(by_name: dict[str, Document], kept: str, alias: str) -> None:
    assert kept in by_name
    assert alias not in by_name


def test_private_names_and_dunders_are_left_out(documents: list[Document]) -> None:
    assert not [d.name for d in documents if any(part.startswith("_") for part in d.name.split("."))]


def test_a_class_does_not_repeat_its_base_class(by_name: dict[str, Document]) -> None:
    assert "collections.OrderedDict.get" not in by_name
    assert by_name["json.JSONDecodeError"].text != ValueError.__doc__


def test_the_corpus_does_not_depend_on_what_was_imported_before(tmp_path: Path) -> None:
    code = """
from embedmig.demo.corpus import collect_documents
print([document.name for document in collect_documents()])
"""
    fresh = run_python(code, tmp_path)
    late = run_python("import curses.has_key, unittest.main, concurrent.futures.thread, numpy" + code, tmp_path)
    assert fresh.stderr == late.stderr == ""
    assert fresh.stdout == late.stdout != ""


def test_what_other_libraries_patch_in_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def warning_twice() -> None:
        """Log a warning, and log it again."""

    monkeypatch.setattr(logging.Logger, "warning_twice", warning_twice, raising=False)
    monkeypatch.setattr(logging, "info", warning_twice)
    names = {document.name for document in collect_documents()}
    assert "logging.Logger.warning" in names
    assert not names & {"logging.Logger.warning_twice", "logging.info"}


def test_collecting_leaves_no_trace_in_the_process(tmp_path: Path) -> None:
    code = """
import locale, os, signal, sys, threading, warnings
def state():
    return [
        [signal.getsignal(number) for number in signal.valid_signals()],
        list(sys.path), list(warnings.filters), [sys.displayhook, sys.excepthook],
        os.getcwd(), dict(os.environ), locale.setlocale(locale.LC_ALL), threading.enumerate(),
        os.listdir("/proc/self/fd") if os.path.isdir("/proc/self") else [],
    ]
before = state()
from embedmig.demo.corpus import collect_documents
assert collect_documents()
for was, now in zip(before, state()):
    assert was == now, (was, now)
acting = {"antigravity", "this", "tkinter", "turtle", "idlelib", "readline", "rlcompleter", "test"} & set(sys.modules)
assert not acting, acting
"""
    done = run_python(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_module_of_the_same_name_in_the_users_folder_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "colorsys.py").write_text('"""Not the library\'s module at all."""\nprint("imported")\n')
    code = """
from embedmig.demo.corpus import collect_documents
names = [document.name for document in collect_documents()]
assert "colorsys" not in names and "json.loads" in names
"""
    done = run_python(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
