"""rollout and rollback: which slot serves."""

import threading
from dataclasses import dataclass

from embedmig.backfill.census import count_rows
from embedmig.catalog import migrations
from embedmig.catalog.collections import get_collection
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError, UsageError
from embedmig.rollout.accepting import Accepted
from embedmig.rollout.facts import slots_of
from embedmig.rollout.switching import Switched, raise_share, resume_percent, roll_back
from embedmig.rollout.walking import Way, walk
from embedmig.rollout.watching import LOOK_S, Look, OnLook, watch
from embedmig.settings import Settings, load_settings
from embedmig.types import Collection


@dataclass(frozen=True, kw_only=True)
class RolledBack:
    """A rollback, and what the source lacks: rows with text that have no vector there, or one of another text."""

    switched: Switched
    source: str
    missing_rows: int
    stale_rows: int
    queued_rows: int
    way_back_ended: bool
    """The old model was gone at handover: rows written since then cannot be embedded for the source."""


def rollout(
    db: Database,
    collection: str,
    percent: float | None = None,
    *,
    resume: bool = False,
    accept_report: str | None = None,
    accept_no_way_back: str | None = None,
    accept_unproven: str | None = None,
    hold_hours: float | None = None,
    settings: Settings | None = None,
) -> Switched:
    """Sets the share of requests that the target gets, or goes back to the last one held (``resume``).

    Raises RefusedError with everything that is missing.
    """
    if (percent is None) is not resume:
        raise UsageError("name a share, 0 to 100, or resume the last one: one of the two")
    with db.connect() as conn:
        found = get_collection(conn, collection)
        return raise_share(
            conn,
            found,
            resume_percent(conn, found) if percent is None else percent,
            settings or load_settings(),
            accepted=Accepted(report=accept_report, no_way_back=accept_no_way_back, unproven=accept_unproven),
            hold_hours=hold_hours,
            resumed=resume,
        )


def rollout_auto(
    db: Database,
    collection: str,
    *,
    resume: bool = False,
    accept_report: str | None = None,
    accept_no_way_back: str | None = None,
    accept_unproven: str | None = None,
    hold_hours: float | None = None,
    settings: Settings | None = None,
    look_s: float = LOOK_S,
    on_look: OnLook | None = None,
    stop: threading.Event | None = None,
) -> Look:
    """Climbs the steps of ``rollout_steps`` to 100, each when the one before was held for its time, and rolls back when
    a rollback trigger fires. Ctrl-C ends it where it is, and the next run goes on there. Raises RefusedError, with the
    share where it is, when a gate holds."""
    with db.connect() as conn:
        found = get_collection(conn, collection)
    way = Way(
        settings=settings or load_settings(),
        accepted=Accepted(report=accept_report, no_way_back=accept_no_way_back, unproven=accept_unproven),
        hold_hours=hold_hours,
        resumed=resume,
        look_s=look_s,
    )
    return walk(db, found, way, on_look=on_look, stop=stop)


def rollout_watch(
    db: Database,
    collection: str,
    *,
    settings: Settings | None = None,
    look_s: float = LOOK_S,
    on_look: OnLook | None = None,
    stop: threading.Event | None = None,
) -> Look:
    """Looks at the rollback triggers every ``look_s`` and rolls back when one fires; that, Ctrl-C or ``stop`` ends
    it."""
    with db.connect() as conn:
        found = get_collection(conn, collection)
    return watch(db, found, settings or load_settings(), look_s=look_s, on_look=on_look, stop=stop)


def rollback(db: Database, collection: str, *, if_complete: bool = False, why: str | None = None) -> RolledBack:
    """Sends every request back to the source, then says what the source lacks (``if_complete``: counts first, and
    raises RefusedError when it lacks anything)."""
    with db.connect() as conn:
        found = get_collection(conn, collection)
        if if_complete:
            _require_complete(conn, found)
        switched = roll_back(conn, found, why=why)
        # Counting takes seconds on a large table, so it comes after the commit.
        migration = migrations.get_migration(conn, found)
        source, _ = slots_of(conn, found, migration)
        census = count_rows(conn, found, source)
        return RolledBack(
            switched=switched,
            source=source.name,
            missing_rows=census.missing,
            stale_rows=census.stale,
            queued_rows=census.queued,
            way_back_ended=migration.way_back_ends_at is not None,
        )


def _require_complete(conn: Connection, collection: Collection) -> None:
    source, _ = slots_of(conn, collection, migrations.get_migration(conn, collection))
    census = count_rows(conn, collection, source)
    lacking = census.missing + census.stale
    if lacking or census.queued:
        raise RefusedError(
            f"slot {source.name} of {collection.name} lacks {lacking} rows and has {census.queued} queued:"
            " go back without --if-complete, or let embedmig reembed finish first"
        )
