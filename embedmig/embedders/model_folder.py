"""Where on this machine a model lies: a directory, or an installed package that carries one."""

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from embedmig.errors import UsageError

_MARKS = ("modules.json", "config.json")


def find_model_folder(options: Mapping[str, Any]) -> Path:
    """The directory that ``path`` names or ``package`` carries. Raises UsageError unless there is exactly one of the
    two options and a model there: nothing is ever looked up on a hub."""
    path, package = options.get("path"), options.get("package")
    if (path is None) == (package is None):
        raise UsageError("sentence-transformers needs one of path (a directory) and package (one that carries a model)")
    return _check_folder(Path(path).expanduser()) if path is not None else _find_in_package(str(package))


def _check_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise UsageError(f"no model directory {folder}: models are not downloaded, put one there or name a package")
    if not _holds_model(folder):
        raise UsageError(f"the directory {folder} holds no model: neither {' nor '.join(_MARKS)} is in it")
    return folder


def _find_in_package(name: str) -> Path:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        hint = f"pip install {name.partition('.')[0].replace('_', '-')}"
        raise UsageError(f"the package {name} cannot be imported ({error}): {hint}, or name a path") from error
    for folder in _candidates(module):
        if _holds_model(folder):
            return folder
    raise UsageError(f"the package {name} carries no model: no folder of it has {' or '.join(_MARKS)}")


def _candidates(module: ModuleType) -> Iterator[Path]:
    if callable(get_model_path := getattr(module, "get_model_path", None)):
        yield Path(get_model_path())
    if (model_dir := getattr(module, "MODEL_DIR", None)) is not None:
        yield Path(model_dir)
    for root in map(Path, getattr(module, "__path__", ())):
        yield root
        yield from sorted(folder for folder in root.iterdir() if folder.is_dir())


def _holds_model(folder: Path) -> bool:
    return any((folder / mark).is_file() for mark in _MARKS)
