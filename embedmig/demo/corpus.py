"""The standard library's docstrings as documents: a real corpus that every machine already has."""

import importlib
import inspect
import pkgutil
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

_ACT_ON_IMPORT = frozenset(
    # a browser, a poem, a display, a grammar cache written to disk
    {"antigravity", "this", "tkinter", "turtle", "turtledemo", "idlelib", "lib2to3"}
    # readline takes hold of the terminal; pdb brings it in from 3.13 on, doctest brings in pdb
    | {"readline", "rlcompleter", "pdb", "doctest"}
)
_NOT_FOR_READERS = frozenset({"distutils", "ensurepip", "pydoc_data", "site", "test", "tests"})
_SECOND_NAMES = frozenset({"posix", "nt", "posixpath", "ntpath", "genericpath", "nturl2path"})
"""What programmers know as ``os`` and ``os.path``."""
_TABLES = frozenset({"encodings"})
"""Packages whose submodules are data."""
_MIN_WORDS = 3
"""Shorter docstrings only repeat a name (``ast.Add``: "Add")."""
_GENERATED = "Alias for field number"


@dataclass(frozen=True)
class Document:
    """One docstring."""

    name: str
    """What a programmer writes: ``json.loads``, ``pathlib.Path.suffix``, ``str.split``; unique in the corpus."""
    kind: str
    """``module``, ``class``, ``function``, ``method`` or ``property``."""
    text: str
    """The docstring without its indentation; unique in the corpus."""
    module: str
    """Where the name is imported from."""


def collect_documents() -> list[Document]:
    """The public docstrings of the running interpreter's standard library, in an order that does not change
    between runs. Of a text that stands in several places the best-known name is kept: the shallowest module, a
    function before a method.

    Imports most of the standard library: nothing is printed or warned, modules that act on import are left out.
    """
    documents: dict[str, Document] = {}
    texts: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in _walk_modules():
            for document in _module_documents(module):
                if document.name not in documents and document.text not in texts:
                    documents[document.name] = document
                    texts.add(document.text)
    return list(documents.values())


def _walk_modules() -> Iterator[tuple[str, ModuleType]]:
    """Public modules with the name people import them by; builtins first, then by depth and name."""
    names = sorted(name for name in sys.stdlib_module_names if _is_wanted(name) and _is_genuine(name))
    level = ["builtins", *(name for name in names if name != "builtins")]
    while level:
        deeper: list[str] = ["os.path"] if "os" in level else []
        for name in level:
            try:
                module = importlib.import_module(name)
            except ImportError:  # an optional part this interpreter was built without, or another system's
                continue
            yield name, module
            deeper += [f"{name}.{part}" for part in _submodules(module) if _is_wanted(part)]
        level = sorted(deeper)


def _is_wanted(name: str) -> bool:
    return not name.startswith("_") and name not in _ACT_ON_IMPORT | _NOT_FOR_READERS | _SECOND_NAMES


def _is_genuine(name: str) -> bool:
    """False for a stranger's ``queue.py`` on sys.path that would be imported in the library's place."""
    spec: ModuleSpec | None = find_spec(name)
    if spec is None or spec.origin is None or spec.origin in ("built-in", "frozen"):
        return spec is not None
    homes = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), sysconfig.get_config_var("DESTSHARED"))
    origin = Path(spec.origin).resolve()
    return any(home and origin.is_relative_to(Path(home).resolve()) for home in homes)


def _submodules(module: ModuleType) -> list[str]:
    if module.__name__ in _TABLES or not hasattr(module, "__path__"):
        return []
    return [part.name for part in pkgutil.iter_modules(module.__path__)]


def _module_documents(named: tuple[str, ModuleType]) -> Iterator[Document]:
    """The module, then its functions and classes, then what the classes hold."""
    name, module = named
    # stable: array.array before its alias array.ArrayType, else as written in the source
    members = sorted(_public_members(module), key=lambda pair: getattr(pair[1], "__name__", "") != pair[0])
    prefix = "" if name == "builtins" else f"{name}."
    yield from _documents(name, "module", module.__doc__, name)
    for attribute, member in members:
        kind = "class" if inspect.isclass(member) else "function"
        yield from _documents(prefix + attribute, kind, _own_doc(member), name)
    for attribute, member in members:
        if inspect.isclass(member):
            yield from _class_documents(f"{prefix}{attribute}", member, name)


def _documents(name: str, kind: str, doc: object, module: str) -> Iterator[Document]:
    """One document, or none where there is nothing to read."""
    text = inspect.cleandoc(doc).strip() if isinstance(doc, str) else ""
    if len(text.split()) >= _MIN_WORDS and not text.startswith(_GENERATED):
        yield Document(name, kind, text, module)


def _public_members(module: ModuleType) -> Iterator[tuple[str, object]]:
    exported = getattr(module, "__all__", None)
    submodules = _submodules(module)
    # vars, not getattr: a module's __getattr__ answers for deprecated names, and warns
    for attribute, member in list(vars(module).items()):
        if attribute.startswith("_") or not (inspect.isclass(member) or inspect.isroutine(member)):
            continue
        if _is_patched_in(member):
            continue
        if attribute in submodules:  # curses.has_key: a function, until the submodule of that name is imported
            continue
        if attribute in exported if exported is not None else _is_at_home(member, module):
            yield attribute, member


def _is_patched_in(member: object) -> bool:
    """Other libraries put functions of theirs into modules and classes (transformers, ``Logger.warning_once``)."""
    home = getattr(member, "__module__", None)
    return isinstance(home, str) and home.split(".")[0] not in sys.stdlib_module_names


def _is_at_home(member: object, module: ModuleType) -> bool:
    """Whether it was defined in this module, its package, or the C half of either (``_sqlite3``)."""
    home = getattr(member, "__module__", None)
    return isinstance(home, str) and home.lstrip("_").split(".")[0] == module.__name__.split(".")[0]


def _own_doc(member: object) -> object:
    """A class's own docstring, not its base's."""
    return vars(member).get("__doc__") if inspect.isclass(member) else getattr(member, "__doc__", None)


def _class_documents(name: str, owner: type, module: str) -> Iterator[Document]:
    for attribute, member in list(vars(owner).items()):
        if attribute.startswith("_") or _is_patched_in(member):
            continue
        if isinstance(member, staticmethod | classmethod) or inspect.isroutine(member):
            yield from _documents(f"{name}.{attribute}", "method", member.__doc__, module)
        elif isinstance(member, cached_property) or inspect.isdatadescriptor(member):
            yield from _documents(f"{name}.{attribute}", "property", member.__doc__, module)
