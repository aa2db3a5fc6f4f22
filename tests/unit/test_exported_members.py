"""The public names of the package."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import embedmig
from embedmig import errors


def _imported_for_types() -> set[str]:
    tree = ast.parse(Path(embedmig.__file__).read_text(encoding="utf-8"))
    guarded = [node for node in tree.body if isinstance(node, ast.If)]
    return {alias.name for node in guarded for line in node.body for alias in getattr(line, "names", ())}


def test_all_is_sorted_and_is_exactly_what_type_checkers_see() -> None:
    assert embedmig.__all__ == sorted(embedmig.__all__)
    assert set(embedmig.__all__) == _imported_for_types()


def test_every_public_name_loads_from_where_type_checkers_think_it_is() -> None:
    for name in embedmig.__all__:
        assert getattr(embedmig, name).__name__ == name


def test_every_error_is_public() -> None:
    classes = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == "embedmig.errors"
    }
    assert classes <= set(embedmig.__all__)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import embedmig, sys; print(sorted({'numpy', 'psycopg', 'sqlalchemy', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
