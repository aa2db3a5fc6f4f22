"""A report without a word of the corpus or of what people ask, for a page that may leave the house. Pure."""

from dataclasses import replace
from pathlib import PurePath

from embedmig.types import Key
from embedmig.validation.report import Found, ValidationReport


def redact(report: ValidationReport) -> ValidationReport:
    """Queries and rows as numbers, alike in both lists; the source of the queries without its folder. Labels, model
    names and names of columns stay."""
    numbers: dict[Key, Key] = {}

    def number(found: tuple[Found, ...]) -> tuple[Found, ...]:
        return tuple(replace(one, key=numbers.setdefault(one.key, (f"row {len(numbers) + 1}",))) for one in found)

    names = {(one.text, one.label): f"query {place}" for place, one in enumerate(report.results, 1)}
    results = tuple(
        replace(one, text=f"query {place}", source=number(one.source), target=number(one.target))
        for place, one in enumerate(report.results, 1)
    )
    queries = replace(report.queries, origin=PurePath(report.queries.origin).name or report.queries.origin)
    judges = {name: f"judge {n}" for n, name in enumerate(dict.fromkeys(one.judge for one in report.preferences), 1)}
    preferences = tuple(
        replace(one, text=names.get((one.text, one.label), ""), judge=judges[one.judge]) for one in report.preferences
    )
    return replace(report, results=results, queries=queries, preferences=preferences)
