"""Questions a programmer would ask of the standard library, with the documents that answer them, judged by hand.

The questions avoid the docstrings' own words, so that a model has to understand them. ``queries.jsonl`` holds one
a line; a document that is not listed there counts as not relevant.
"""

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class LabelledQuery:
    """One question and its judged documents."""

    text: str
    kind: str
    """``how-to`` (a task), ``concept`` (a thing described), ``name`` (a thing named)."""
    relevant: Mapping[str, int]
    """Document name to grade: 2 answers the question, 1 is also useful."""

    def grades_among(self, names: Container[str]) -> dict[str, int]:
        """The judgments of the documents that are there: Python versions differ by a few docstrings."""
        return {name: grade for name, grade in self.relevant.items() if name in names}


def load_queries() -> list[LabelledQuery]:
    """All labelled queries, in the file's order."""
    text = files("embedmig.demo").joinpath("queries.jsonl").read_text(encoding="utf-8")
    return [_parse_query(line) for line in text.splitlines()]


def _parse_query(line: str) -> LabelledQuery:
    entry = json.loads(line)
    return LabelledQuery(entry["query"], entry["kind"], entry["relevant"])
