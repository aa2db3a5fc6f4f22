"""judge: which of two lists is better, said by someone who does not know whose they are."""

from dataclasses import asdict, dataclass

from embedmig.catalog.collections import get_collection
from embedmig.catalog.events import log_event
from embedmig.catalog.reports import add_preference
from embedmig.commands.reporting import find_report
from embedmig.db import Connection, Database
from embedmig.settings import Settings, load_settings
from embedmig.types import Key
from embedmig.validation.preferences import Judge, PreferenceSummary, Question, list_questions, summarise_preferences
from embedmig.validation.report import Preference, report_from_body
from embedmig.validation.row_texts import read_texts

_AT_ONCE = 20
"""Texts are read for so many questions together."""


@dataclass(frozen=True, kw_only=True)
class JudgingResult:
    """A session's end."""

    report: int
    said: int
    """Verdicts of this session, those skipped among them."""
    left: int
    """Queries on which this judge has said nothing yet."""
    summary: PreferenceSummary | None
    """Of all judges; None when nothing was said."""


def judge(
    db: Database,
    collection: str,
    by: Judge,
    *,
    name: str,
    report_id: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    settings: Settings | None = None,
) -> JudgingResult:
    """Asks ``by``, under the ``name`` that its verdicts are kept with, about the queries whose lists differ.

    The report is ``report_id``, the newest by default. Each verdict is kept when it is given, and the next session of
    the same name goes on behind it. No connection is held while the judge thinks. Raises NotFoundError.
    """
    settings = settings or load_settings()
    with db.connect() as conn:
        stored = find_report(conn, get_collection(conn, collection), report_id)
    report = report_from_body(stored.body, stored.id)
    questions = list_questions(report, name, seed=seed)[:limit]
    said = 0
    for start in range(0, len(questions), _AT_ONCE):
        some = questions[start : start + _AT_ONCE]
        texts = _texts(db, collection, some, report.by_document)
        for question in some:
            sides = [
                [texts.get(key, f"row {', '.join(key)}") for key in side] for side in (question.left, question.right)
            ]
            choice = by.prefer(question.result.text, *sides)
            if choice is None:
                return _end(db, collection, stored.id, name, said, settings)
            with db.connect() as conn:
                _keep(conn, stored.id, question, question.verdict_of(choice), name)
            said += 1
    return _end(db, collection, stored.id, name, said, settings)


def _texts(db: Database, collection: str, questions: list[Question], by_document: str | None) -> dict[Key, str]:
    with db.connect() as conn:
        there = get_collection(conn, collection)
        return read_texts(conn, there, [question.result for question in questions], by_document)


def _keep(conn: Connection, report_id: int, question: Question, verdict: str, name: str) -> None:
    preference = Preference(text=question.result.text, label=question.result.label, judge=name, verdict=verdict)
    add_preference(conn, report_id, asdict(preference))


def _end(db: Database, collection: str, report_id: int, name: str, said: int, settings: Settings) -> JudgingResult:
    with db.connect() as conn:
        stored = find_report(conn, get_collection(conn, collection), report_id)
        report = report_from_body(stored.body, stored.id)
        summary = summarise_preferences(report, confidence=settings.confidence)
        if said:
            log_event(conn, "judge", collection, report=report_id, judge=name, verdicts=said)
    return JudgingResult(report=report_id, said=said, left=len(list_questions(report, name)), summary=summary)
