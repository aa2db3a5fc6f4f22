"""What tests of the share begin from."""

from collections.abc import Callable

from embedmig.catalog import migrations, reports, slots
from embedmig.db import Connection, Database
from embedmig.schema.handing_over import hand_over
from embedmig.schema.indexes import build_index
from embedmig.types import Collection, Placement
from tests.support import expand_docs, fill_slot, make_docs

Ready = Callable[..., Collection]


def add_report(conn: Connection, collection: Collection, verdict: str, *, part: float = 1.0) -> None:
    """The newest report on the open migration."""
    migration = migrations.get_migration(conn, collection)
    reports.add_report(conn, migration, verdict=verdict, body={}, part=part)


def make_ready(
    db: Database,
    conn: Connection,
    placement: Placement = Placement.COLUMN,
    *,
    verdict: str = "pass",
    rows: int = 20,
) -> Collection:
    """A migration of ``docs`` that may serve: filled, indexed, reported, handed over."""
    collection = make_docs(conn, rows=rows)
    expand_docs(db, placement)
    _, target = slots.list_slots(conn, collection)
    fill_slot(conn, collection, target)
    build_index(db, collection, target)
    slots.mark_filled(conn, target)
    add_report(conn, collection, verdict)
    hand_over(conn, collection)
    return collection
