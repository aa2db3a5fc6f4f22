"""Gathers the facts that a migration's stage hangs on."""

from datetime import UTC, datetime

from psycopg import sql

from embedmig.backfill.census import Census, count_rows
from embedmig.backfill.completeness import completeness
from embedmig.catalog import migrations, reports, routes, slots
from embedmig.catalog.reports import StoredReport
from embedmig.catalog.suspects import list_writers
from embedmig.catalog.tails import get_tail
from embedmig.db import Connection, identifiers
from embedmig.errors import NotFoundError
from embedmig.rollout import ladder
from embedmig.rollout.evidence import look_at_triggers
from embedmig.rollout.triggers import TriggerState, Verdict
from embedmig.schema.indexes import index_state
from embedmig.settings import Settings
from embedmig.stages import Facts
from embedmig.types import Collection, Migration, ModelState, Slot

FULL_BP = 10_000
BRIDGED_POINTS = 0.10
"""A report stands for the share of bridged rows that it saw, give or take so much."""


def slots_of(conn: Connection, collection: Collection, migration: Migration | None) -> tuple[Slot, Slot | None]:
    """Source and target of the open migration; with none open, the newest slot and None."""
    live = slots.list_slots(conn, collection)
    if not live:
        raise NotFoundError("slot", f"of {collection.name}", hint=f"embedmig collection show {collection.name}")
    if migration is None:
        return live[-1], None
    by_id = {slot.id: slot for slot in live}
    return by_id[migration.source_id], by_id[migration.target_id]


def way_back_ended(migration: Migration, source: Slot) -> bool:
    """Whether rows written from some moment on have no vector in the source, and never will."""
    return migration.way_back_ends_at is not None or source.model.state is ModelState.GONE


def gather_facts(
    conn: Connection, collection: Collection, settings: Settings, *, counted: bool, hold_hours: float | None = None
) -> Facts:
    """Reads what is so. ``counted``: the target's completeness by a full count of the table (seconds for millions of
    rows), as a rise of the share demands; else by the queue and the catalog, which is enough to look at.
    ``hold_hours``: in place of the setting."""
    migration = migrations.find_migration(conn, collection)
    source, target = slots_of(conn, collection, migration)
    if migration is None or target is None:
        return Facts(collection=collection.name, source=source.name, target=None)
    whole = completeness(conn, collection, target, settings) if counted else None
    reasons = _at_a_glance(conn, target, settings) if whole is None else whole.reasons
    report = reports.newest_report(conn, migration)
    stands, why_not = _stands(report, None if whole is None else whole.census)
    if report is None and not _has_text(conn, collection):
        stands = True  # There is nothing to compare, and no query that could be answered worse.
    since = routes.full_since(conn, collection.group)
    climb = routes.read_ladder(conn, collection.group)
    lost = way_back_ended(migration, source) and migration.no_way_back_accepted is None
    answered = climb.left_at is not None and report is not None and report.made_at > climb.left_at
    # At 100 there is nothing to rise to, and the source answers nothing to compare with.
    states = look_at_triggers(conn, collection.group, settings.rollout.triggers) if climb.share_bp < FULL_BP else []
    return Facts(
        collection=collection.name,
        source=source.name,
        target=target.name,
        target_has_vectors=target.filled_at is not None or _has_vectors(conn, target),
        target_complete=not reasons,
        incomplete_why=tuple(reasons),
        index_valid=index_state(conn, target).valid,
        report_stands=stands,
        report_why_not=why_not,
        handed_over=migration.handover_at is not None,
        source_model_gone=source.model.key if lost else None,
        rows_without_way_back=count_rows(conn, collection, source).missing if lost and counted else None,
        suspects=tuple(str(writer) for writer in list_writers(conn, collection)),
        share_bp=climb.share_bp,
        next_percent=ladder.next_step(climb.share_bp, settings.rollout_steps) or 100.0,
        hold_left_s=ladder.hold_left_s(
            climb.share_bp, climb.held_s, settings.hold_hours if hold_hours is None else hold_hours
        ),
        tripped=None if answered else climb.tripped,
        firing=tuple(str(state) for state in states if climb.share_bp and state.verdict is Verdict.FIRES),
        unproven=tuple(str(state) for state in states if _is_unproven(state, climb.share_bp)),
        stability_left_s=stability_left_s(since, settings.stability_days),
        retired=migration.retired_at is not None,
    )


def _is_unproven(state: TriggerState, share_bp: int) -> bool:
    """At 0 nothing was served, and only what shadow reads speak against the target for is to be answered."""
    return state.holds if share_bp else state.verdict is Verdict.FIRES


def stability_left_s(full_since: datetime | None, days: float) -> float:
    """Seconds until the stability period is over; all of it while the share is not 100."""
    if full_since is None:
        return days * 86_400
    return days * 86_400 - (datetime.now(UTC) - full_since).total_seconds()


def _at_a_glance(conn: Connection, target: Slot, settings: Settings) -> list[str]:
    tail = get_tail(conn, target)
    reasons = []
    if target.filled_at is None:
        reasons.append("not every row has a vector yet")
    if tail.failed:
        reasons.append(f"{tail.failed:,} rows could not be embedded")
    if tail.queued > settings.tail_always_rows and (tail.oldest_s or 0) > settings.tail_age_s:
        reasons.append(f"{tail.queued:,} rows are queued, the oldest for {tail.oldest_s:,.0f} s")
    return reasons


def _stands(report: StoredReport | None, census: Census | None) -> tuple[bool, str]:
    """``census``: of the target, where it was counted; a report stands for the share of bridged rows that it saw."""
    if report is None:
        return False, "it has not been validated"
    share = report.bridged_share
    if census is not None and census.with_text:
        share = census.bridged / census.with_text
    if abs(share - report.bridged_share) > BRIDGED_POINTS and report.accepted is None:
        return False, f"report {report.id} saw {report.bridged_share:.0%} bridged rows, now it is {share:.0%}"
    if report.stands:
        return True, ""
    if report.part < 1:
        return False, f"report {report.id} judged {report.part:.0%} of the rows"
    return False, f"report {report.id} says {report.verdict}"


def _has_text(conn: Connection, collection: Collection) -> bool:
    """Whether any row is to be found at all."""
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} AS d WHERE {}) AS has").format(
        identifiers.table(collection), identifiers.wants_vector(collection, "d")
    )
    row = conn.execute(query).fetchone()
    return row is not None and bool(row["has"])


def _has_vectors(conn: Connection, slot: Slot) -> bool:
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NOT NULL) AS has").format(
        identifiers.slot_table(slot), sql.Identifier(slot.vector_column)
    )
    row = conn.execute(query).fetchone()
    return row is not None and bool(row["has"])
