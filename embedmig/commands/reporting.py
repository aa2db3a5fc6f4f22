"""Stored validation reports: list, show, compare, and the page for a decision meeting."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from embedmig.catalog.collections import get_collection
from embedmig.catalog.reports import StoredReport, get_report, list_reports
from embedmig.db import Connection, Database
from embedmig.errors import NotFoundError, UsageError
from embedmig.settings import Settings, load_settings
from embedmig.types import Collection
from embedmig.validation.over_time import Comparison, compare_reports
from embedmig.validation.page import render_page
from embedmig.validation.preferences import PreferenceSummary, summarise_preferences
from embedmig.validation.report import ValidationReport, report_from_body
from embedmig.validation.row_texts import read_texts


@dataclass(frozen=True, kw_only=True)
class ReportLine:
    """A stored report in one line. Shares run from 0 to 1."""

    id: int
    made_at: datetime
    verdict: str
    stands: bool
    """Whether it opens a ramp."""
    accepted: str | None
    """Why a person accepted it though it did not pass."""
    source: str
    target: str
    queries: int
    judged_queries: int
    overlap: float
    """Mean overlap@10."""
    quality: float | None
    """Change in nDCG@10; None where nobody judged."""
    part: float
    bridged_share: float


@dataclass(frozen=True, kw_only=True)
class ReportsListed:
    """A collection's reports, the newest first."""

    collection: str
    reports: tuple[ReportLine, ...]


@dataclass(frozen=True, kw_only=True)
class ReportShown:
    """A stored report in full."""

    made_at: datetime
    stands: bool
    accepted: str | None
    preferences: PreferenceSummary | None
    """What judges said; None when none did."""
    report: ValidationReport


@dataclass(frozen=True, kw_only=True)
class ReportsCompared:
    """An earlier report and a later one."""

    before: ReportLine
    after: ReportLine
    comparison: Comparison


def report_list(db: Database, collection: str, *, limit: int = 20) -> ReportsListed:
    """The collection's reports, of all its migrations."""
    with db.connect() as conn:
        found = list_reports(conn, get_collection(conn, collection), limit=limit)
    return ReportsListed(collection=collection, reports=tuple(_line(report) for report in found))


def report_show(db: Database, collection: str, report_id: int | None = None) -> ReportShown:
    """Report ``report_id``, the newest by default. Raises NotFoundError."""
    with db.connect() as conn:
        stored = find_report(conn, get_collection(conn, collection), report_id)
    report = _read(stored)
    return ReportShown(
        made_at=stored.made_at,
        stands=stored.stands,
        accepted=stored.accepted,
        preferences=summarise_preferences(report),
        report=report,
    )


def report_page(db: Database, collection: str, path: Path, *, report_id: int | None = None, texts: bool = True) -> Path:
    """Writes the report as one HTML page and gives its path; texts are those that the rows have now.

    ``texts=False`` leaves out what rows and queries say, and their keys. Raises NotFoundError for a report that is not
    there, UsageError when jinja2 is not installed or the file cannot be written.
    """
    with db.connect() as conn:
        there = get_collection(conn, collection)
        stored = find_report(conn, there, report_id)
        report = _read(stored)
        words = read_texts(conn, there, report.results, report.by_document) if texts else None
    page = render_page(report, words, made_at=stored.made_at)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as exc:
        raise UsageError(f"the page cannot be written to {path}: {exc.strerror or exc}") from exc
    return path


def report_compare(
    db: Database,
    collection: str,
    before: int | None = None,
    after: int | None = None,
    *,
    days: float | None = None,
    settings: Settings | None = None,
) -> ReportsCompared:
    """An earlier report with a later one; by default the newest with the one before it.

    ``days`` takes the newest that was made so many days before the later one. Raises NotFoundError when there is no
    such report, UsageError for both ``before`` and ``days``.
    """
    if before is not None and days is not None:
        raise UsageError("an earlier report is named by its number or by days, not by both")
    settings = settings or load_settings()
    with db.connect() as conn:
        there = get_collection(conn, collection)
        later = find_report(conn, there, after)
        earlier = _earlier(conn, there, later, days) if before is None else get_report(conn, there, before)
    return ReportsCompared(
        before=_line(earlier),
        after=_line(later),
        comparison=compare_reports(_read(earlier), _read(later), confidence=settings.confidence),
    )


def find_report(conn: Connection, collection: Collection, report_id: int | None) -> StoredReport:
    """Report ``report_id``, the newest for None. Raises NotFoundError."""
    if report_id is not None:
        return get_report(conn, collection, report_id)
    newest = list_reports(conn, collection, limit=1)
    if not newest:
        raise NotFoundError("report", f"of {collection.name}", hint=f"embedmig validate {collection.name} makes one")
    return newest[0]


def _earlier(conn: Connection, collection: Collection, later: StoredReport, days: float | None) -> StoredReport:
    until = later.made_at - timedelta(days=days or 0)
    found = [one for one in list_reports(conn, collection, limit=2, before=until) if one.id != later.id]
    if not found:
        when = "" if days is None else f" made {days:g} days before it"
        raise NotFoundError("report", f"earlier than {later.id}{when}", hint=f"embedmig report list {collection.name}")
    return found[0]


def _read(stored: StoredReport) -> ValidationReport:
    try:
        return report_from_body(stored.body, stored.id)
    except ValueError as exc:
        raise UsageError(f"report {stored.id} was kept by another version and cannot be read: {exc}") from exc


def _line(stored: StoredReport) -> ReportLine:
    report = _read(stored)
    return ReportLine(
        id=stored.id,
        made_at=stored.made_at,
        verdict=stored.verdict,
        stands=stored.stands,
        accepted=stored.accepted,
        source=f"{report.source.slot} ({report.source.model})",
        target=f"{report.target.slot} ({report.target.model})",
        queries=report.queries.distinct,
        judged_queries=report.queries.judged,
        overlap=report.agreement.overlap[10].mean,
        quality=next((one.difference.mean for one in report.quality if one.measure == "nDCG@10"), None),
        part=stored.part,
        bridged_share=stored.bridged_share,
    )
