"""Renders a report as one self-contained HTML page; every text in it is escaped, and no other script than ours runs."""

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from typing import Any

from embedmig.errors import UsageError
from embedmig.types import Key
from embedmig.validation.page import drawing
from embedmig.validation.preferences import summarise_preferences
from embedmig.validation.quality import DECIDING
from embedmig.validation.redacting import redact
from embedmig.validation.report import ValidationReport

CHANGED = 50
"""So many queries with both lists make a page of about half a megabyte."""


def render_page(
    report: ValidationReport,
    texts: Mapping[Key, str] | None,
    *,
    made_at: datetime | None = None,
    changed: int = CHANGED,
) -> str:
    """The page. ``texts``: what to show of the rows; None leaves every word of rows and queries out, and their keys.

    Raises UsageError when jinja2 is not installed.
    """
    if texts is None:
        report = redact(report)
    folder = files(__package__)
    script = folder.joinpath("page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return str(
        environment()
        .get_template("page.html")
        .render(
            report=report,
            made_at=made_at,
            with_texts=texts is not None,
            style=folder.joinpath("page.css").read_text(encoding="utf-8"),
            script=script,
            script_digest=digest,
            **_facts(report, texts or {}, changed),
        )
    )


def _facts(report: ValidationReport, texts: Mapping[Key, str], changed: int) -> dict[str, Any]:
    sides = (report.source, report.target)
    most = [one for one in report.results if one.overlap < 1 or _order(one) != _order(one, new=True)][:changed]
    judged = [*report.quality, *(report.pipeline.quality if report.pipeline else ())]
    gaps = [one.difference for one in judged]
    same_scale = report.source.distance == report.target.distance
    said = report.verdict.sentence.partition(": ")[2] or report.verdict.sentence
    return {
        "sentence": said,
        "preferences": summarise_preferences(report),
        "both_ways": drawing.Scale(low=-1, high=1),
        "unit": drawing.UNIT,
        "bars": drawing.overlap_histogram(report.results),
        "fates": drawing.fates(report.results),
        "entered": drawing.entered(report.results),
        "gain_scale": drawing.scale_around(gaps, 0.0, -report.thresholds.quality_margin) if gaps else None,
        "deciding": next((one for one in report.quality if one.measure == DECIDING), None),
        "band_scales": [drawing.band_scale(sides if same_scale else (side,)) for side in sides],
        "sides": sides,
        "slowest": max((side.index.p95_ms for side in sides if side.index), default=0.0) or 1.0,
        "changed": [
            drawing.pair_up(number, result, report.source, report.target, dict(texts))
            for number, result in enumerate(most, 1)
        ],
        "differing": sum(one.overlap < 1 for one in report.results),
        "labels": sorted({one.label for one in most if one.label is not None}),
    }


def _order(result: Any, *, new: bool = False) -> list[Key]:
    return [found.key for found in (result.target if new else result.source)]


def environment() -> Any:
    """Of our templates. Raises UsageError when jinja2 is not installed."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as exc:
        raise UsageError(
            "the page is made with jinja2, which is not installed: pip install 'embedmig[validate]'"
        ) from exc
    made = Environment(
        loader=PackageLoader("embedmig.validation.page", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["number"] = lambda value, digits=3: f"{value:.{digits}f}"
    made.filters["signed"] = lambda value, digits=3: f"{value:+.{digits}f}"
    made.filters["percent"] = lambda value: f"{value:.0%}"
    made.filters["whole"] = lambda value: f"{value:,}"
    return made
