"""Stored validation reports."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from embedmig.db import Connection, Queries
from embedmig.errors import NotFoundError
from embedmig.types import Collection, Migration

QUERIES = Queries(__package__, "reports.sql")


@dataclass(frozen=True, kw_only=True)
class StoredReport:
    """A report as kept: the verdict beside the whole body. Shares run from 0 to 1."""

    id: int
    verdict: str
    bridged_share: float
    part: float
    body: Mapping[str, Any]
    accepted: str | None
    made_at: datetime

    @property
    def stands(self) -> bool:
        """Whether it opens a ramp: it passed or a person accepted it, and it saw the whole corpus."""
        passed = self.verdict in ("pass", "pass_by_quality") or self.accepted is not None
        return passed and self.part >= 1


def add_report(
    conn: Connection,
    migration: Migration,
    *,
    verdict: str,
    body: Mapping[str, Any],
    bridged_share: float = 0.0,
    part: float = 1.0,
) -> StoredReport:
    """Keeps a report of a migration."""
    values = _pair(migration) | {
        "verdict": verdict,
        "bridged_share": bridged_share,
        "part": part,
        "body": Jsonb(dict(body)),
    }
    row = conn.execute(QUERIES["insert_report"], values).fetchone()
    assert row is not None
    return _from_row(row)


def newest_report(conn: Connection, migration: Migration) -> StoredReport | None:
    """The last report on the migration's two slots."""
    row = conn.execute(QUERIES["newest_report"], _pair(migration)).fetchone()
    return None if row is None else _from_row(row)


def get_report(conn: Connection, collection: Collection, report_id: int) -> StoredReport:
    """A report of the collection by its number, of whichever migration. Raises NotFoundError."""
    row = conn.execute(QUERIES["get_report"], {"collection_id": collection.id, "id": report_id}).fetchone()
    if row is None:
        raise NotFoundError(
            "report", f"{report_id} of {collection.name}", hint=f"embedmig report list {collection.name} shows them"
        )
    return _from_row(row)


def list_reports(
    conn: Connection, collection: Collection, *, limit: int, before: datetime | None = None
) -> list[StoredReport]:
    """The collection's reports of all its migrations, the newest first; ``before``: only those made until then."""
    values = {"collection_id": collection.id, "limit": limit, "before": before}
    return [_from_row(row) for row in conn.execute(QUERIES["list_reports"], values)]


def add_preference(conn: Connection, report_id: int, preference: Mapping[str, Any]) -> None:
    """Appends what a judge said to the report's body, under ``preferences``."""
    conn.execute(QUERIES["add_preference"], {"id": report_id, "preference": Jsonb([dict(preference)])})


def accept_report(conn: Connection, report: StoredReport, why: str) -> None:
    """Notes that a person accepts a report that did not pass, and why."""
    conn.execute(QUERIES["accept_report"], {"id": report.id, "why": why})


def _pair(migration: Migration) -> dict[str, Any]:
    return {
        "collection_id": migration.collection_id,
        "source_id": migration.source_id,
        "target_id": migration.target_id,
    }


def _from_row(row: dict[str, Any]) -> StoredReport:
    return StoredReport(**{name: row[name] for name in StoredReport.__dataclass_fields__})
