"""Reads queries and judgments from files: JSON lines, CSV, TSV, plain text, and TREC's judgments."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from embedmig.errors import UsageError
from embedmig.types import Key
from embedmig.validation.queries import Query

Judgments = dict[str, dict[Key, int]]
"""Query id to key to grade."""

_FIELDS = {"query", "text", "id", "relevant", "label", "kind", "weight"}


def read_queries(path: Path) -> list[Query]:
    """The queries of a file, by its ending.

    ``.jsonl``: one object a line, ``{"query": ..., "relevant": {"key": grade} | [keys], "label": ..., "weight": ...,
    "id": ...}``, all but the query optional; ``text`` is understood for ``query`` and ``kind`` for ``label``. A key is
    the text that Postgres prints; of several columns, in a list of keys, a list of texts.
    ``.csv``, ``.tsv``: the same fields as columns under a header; ``relevant`` holds keys apart by ``;``, or JSON.
    Anything else: one query a line. Queries without an id get the number of their line, from 1.

    Raises UsageError that names the file, the line and what is wrong with it.
    """
    reader = {".jsonl": _read_jsonl, ".csv": _read_table, ".tsv": _read_table}.get(path.suffix.lower(), _read_text)
    return list(reader(path))


def read_judgments(path: Path) -> Judgments:
    """Grades from a file of their own: TREC's ``query 0 key grade`` between blanks, or a table (``.tsv``, ``.csv``) of
    query id, key and grade, with or without a header. Keys of several columns are not possible here.

    Raises UsageError that names the file and the line.
    """
    judgments: Judgments = {}
    for number, parts in _judgment_lines(path):
        query, key, grade = parts
        try:
            judgments.setdefault(query, {})[(key,)] = int(grade)
        except ValueError:
            if number == 1:
                continue
            raise UsageError(f"{path}, line {number}: the grade {grade!r} is not a whole number") from None
    if not judgments:
        raise UsageError(f"there are no judgments in {path}")
    return judgments


def query_from_fields(fields: Mapping[str, Any], where: str, number: int) -> Query:
    """A query out of named fields, as they come from JSON, a table or SQL. Raises UsageError, saying ``where``."""
    unknown = sorted(set(fields) - _FIELDS)
    if unknown:
        raise UsageError(f"{where}: unknown field {unknown[0]}; the fields are query, relevant, label, weight, id")
    text = fields.get("query", fields.get("text"))
    if not isinstance(text, str):
        raise UsageError(f'{where}: there is no "query" with a text')
    label = fields.get("label", fields.get("kind"))
    return Query(
        text=text,
        id=str(fields["id"]) if fields.get("id") not in (None, "") else str(number),
        relevant=_relevant(fields.get("relevant"), where),
        label=None if label in (None, "") else str(label),
        weight=_weight(fields.get("weight"), where),
    )


def _read_jsonl(path: Path) -> Iterator[Query]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as exc:
            raise UsageError(f"{where} is not JSON: {exc}") from None
        if not isinstance(fields, dict):
            raise UsageError(f'{where}: an object is needed, {{"query": "..."}}')
        yield query_from_fields(fields, where, number)


def _read_table(path: Path) -> Iterator[Query]:
    rows = csv.DictReader(_lines(path), delimiter=_delimiter(path))
    if not {"query", "text"} & set(rows.fieldnames or ()):
        raise UsageError(f"{path}: the first line must name the columns, and one of them query")
    for row in rows:
        if None in row or None in row.values():
            raise UsageError(f"{path}, line {rows.line_num}: it has not as many fields as the first line")
        where = f"{path}, line {rows.line_num}"
        yield query_from_fields(row | {"relevant": _listed(row.get("relevant"))}, where, rows.line_num - 1)


def _read_text(path: Path) -> Iterator[Query]:
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            yield Query(text=line, id=str(number))


def _judgment_lines(path: Path) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Line number, then query, key and grade."""
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        if path.suffix.lower() in (".csv", ".tsv"):
            parts = next(csv.reader([line], delimiter=_delimiter(path)))
        else:
            parts = line.split()
        if len(parts) == 4:
            del parts[1]
        if len(parts) != 3:
            raise UsageError(
                f"{path}, line {number}: a judgment is query, key and grade (TREC: query 0 key grade), not {len(parts)}"
                " fields"
            )
        yield number, (parts[0].strip(), parts[1].strip(), parts[2].strip())


def _relevant(given: Any, where: str) -> dict[Key, int] | None:
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {(str(key),): _grade(grade, where) for key, grade in given.items()}
    if isinstance(given, list):
        return dict(_key_and_grade(entry, where) for entry in given)
    raise UsageError(f'{where}: "relevant" is {{"key": grade}} or a list of keys, not {given!r}')


def _key_and_grade(entry: Any, where: str) -> tuple[Key, int]:
    """A key alone, or for keys of several columns that are to have a grade, {"key": [...], "grade": 2}."""
    if isinstance(entry, Mapping):
        if set(entry) != {"key", "grade"}:
            raise UsageError(f'{where}: a graded key is {{"key": ..., "grade": ...}}, not {dict(entry)}')
        return _key_and_grade(entry["key"], where)[0], _grade(entry["grade"], where)
    parts = entry if isinstance(entry, list) else [entry]
    if not parts or any(isinstance(part, bool) or not isinstance(part, str | int) for part in parts):
        raise UsageError(f"{where}: a key is a text or a whole number, or a list of those, not {entry!r}")
    return tuple(str(part) for part in parts), 1


def _grade(given: Any, where: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int):
        raise UsageError(f"{where}: the grade {given!r} is not a whole number")
    return given


def _weight(given: Any, where: str) -> float:
    if given in (None, ""):
        return 1.0
    try:
        return float(given)
    except (TypeError, ValueError):
        raise UsageError(f"{where}: the weight {given!r} is not a number") from None


def _listed(given: str | None) -> Any:
    """A table's field as JSON would have it."""
    if given is None or not given.strip():
        return None
    if given.lstrip()[0] in "[{":
        try:
            return json.loads(given)
        except json.JSONDecodeError:
            pass
    return [part.strip() for part in given.split(";") if part.strip()]


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            # All at once: a reader that refuses a line would leave the file open.
            return iter(lines.readlines())
    except OSError as exc:
        raise UsageError(f"{path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path} is not UTF-8 text: {exc.reason} at byte {exc.start}") from exc
