"""rollout and rollback: which slot serves."""

from dataclasses import dataclass

from embedmig.backfill.census import count_rows
from embedmig.catalog import migrations
from embedmig.catalog.collections import get_collection
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError
from embedmig.rollout.facts import slots_of
from embedmig.rollout.switching import Switched, raise_share, roll_back
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
    percent: float,
    *,
    accept_report: str | None = None,
    settings: Settings | None = None,
) -> Switched:
    """Sets the share of requests that the target gets. Raises RefusedError with everything that is missing."""
    with db.connect() as conn:
        found = get_collection(conn, collection)
        return raise_share(conn, found, percent, settings or load_settings(), accept_report=accept_report)


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
