"""What a person takes on so that a share may rise: each with a reason, kept where it counts and in the log."""

from collections.abc import Sequence
from dataclasses import dataclass

from embedmig.catalog import migrations, reports, routes
from embedmig.catalog.events import log_event
from embedmig.catalog.reports import StoredReport
from embedmig.db import Connection
from embedmig.errors import RefusedError, UsageError
from embedmig.rollout.facts import slots_of, way_back_ended
from embedmig.types import Collection


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """Reasons, by what they let pass; None where nothing is to be let pass."""

    report: str | None = None
    """The last report did not pass, or is older than a rollback by a rollback trigger."""
    no_way_back: str | None = None
    """The old model is gone: rows written since would not be found after a rollback."""
    unproven: str | None = None
    """Rollback triggers have seen too little, or nothing that decides."""


NOTHING = Accepted()


def accept(conn: Connection, collection: Collection, members: Sequence[Collection], accepted: Accepted) -> None:
    """Keeps the reasons. Raises UsageError for one that is empty or stands for nothing, RefusedError where there is
    nothing that could be accepted."""
    reasons = {
        "--accept-report": accepted.report,
        "--accept-no-way-back": accepted.no_way_back,
        "--accept-unproven": accepted.unproven,
    }
    for option, why in reasons.items():
        if why is not None and not why.strip():
            raise UsageError(f"{option} needs a reason: it is kept with the event")
    if accepted.report is not None:
        _accept_reports(conn, collection, members, accepted.report)
    if accepted.no_way_back is not None:
        _accept_no_way_back(conn, members, accepted.no_way_back)


def _accept_reports(conn: Connection, collection: Collection, members: Sequence[Collection], why: str) -> None:
    tripped = routes.read_ladder(conn, collection.group).tripped
    found = [(member, _acceptable_report(conn, member)) for member in members]
    for member, report in found:
        if report.stands and tripped is None:
            continue
        with conn.transaction():
            if not report.stands:
                reports.accept_report(conn, report, why)
            routes.forgive(conn, member.group)
            log_event(
                conn, "accept-report", member.name, was=report.verdict, became="accepted", why=why, report=report.id
            )


def _acceptable_report(conn: Connection, member: Collection) -> StoredReport:
    report = reports.newest_report(conn, migrations.get_migration(conn, member))
    if report is None:
        raise RefusedError(f"there is no report on {member.name} to accept: embedmig validate {member.name}")
    if report.part < 1:
        raise RefusedError(
            f"report {report.id} judged {report.part:.0%} of the rows of {member.name}: embed the rest and"
            f" validate again, embedmig reembed {member.name}"
        )
    return report


def _accept_no_way_back(conn: Connection, members: Sequence[Collection], why: str) -> None:
    ended = []
    for member in members:
        migration = migrations.get_migration(conn, member)
        source, _ = slots_of(conn, member, migration)
        if way_back_ended(migration, source):
            ended.append((member, migration))
    if not ended:
        raise UsageError("--accept-no-way-back is for an old model that is gone: here it is not, and handover does it")
    for member, migration in ended:
        with conn.transaction():
            migrations.accept_no_way_back(conn, migration, why)
            log_event(conn, "accept-no-way-back", member.name, became="accepted", why=why)
