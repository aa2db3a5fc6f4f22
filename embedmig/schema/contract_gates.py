"""What stands between a migration and the end of its source, each as a sentence that says what to do."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from psycopg import sql

from embedmig.catalog import routes, suspects, traffic
from embedmig.db import Connection, Queries, identifiers
from embedmig.schema.dependents import list_dependents
from embedmig.types import Collection, Migration, Placement, Slot

QUERIES = Queries(__package__, "contracting.sql")

APP_WRITES_DAYS = 7
FULL_BP = 10_000


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A precondition that does not hold."""

    name: str
    why: str
    of_time: bool = False
    """Time alone would open it; ``--force`` opens it too."""


def retire_gates(
    conn: Connection, collection: Collection, migration: Migration, source: Slot, *, stability_days: float
) -> list[Gate]:
    """What forbids dropping the source's index: after that there is no instant way back."""
    if migration.retired_at is not None:
        return []
    gates = share_gates(conn, collection, source) or _stability_gates(conn, collection, stability_days)
    if migration.handover_at is None:
        gates.append(
            Gate(name="handover", why=f"{source.name} was never handed over: embedmig handover {collection.name}")
        )
    return gates + pin_gates(conn, collection, source)


def share_gates(conn: Connection, collection: Collection, source: Slot) -> list[Gate]:
    """The source serves as long as the route is not at 100."""
    share = routes.get_route(conn, collection.group)
    if share.share_bp >= FULL_BP:
        return []
    why = (
        f"{source.name} still serves: the route of group {collection.group} is at {share.percent:g} %,"
        f" embedmig rollout {collection.name} 100"
    )
    return [Gate(name="share", why=why)]


def _stability_gates(conn: Connection, collection: Collection, stability_days: float) -> list[Gate]:
    since = routes.full_since(conn, collection.group)
    left = timedelta(0) if since is None else since + timedelta(days=stability_days) - datetime.now(UTC)
    if left <= timedelta(0):
        return []
    why = (
        f"the stability period of {stability_days:g} days since the route reached 100 has {_in_words(left)} left"
        " (--stability DAYS, or --force)"
    )
    return [Gate(name="stability", why=why, of_time=True)]


def traffic_gates(conn: Connection, collection: Collection, source: Slot, quiet_hours: float) -> list[Gate]:
    """What was answered from the source lately, by searchers that count: someone may still need it."""
    if quiet_hours <= 0:
        return []
    recent = traffic.count_served(conn, source, quiet_hours)
    if not recent.requests or recent.last_hour is None:
        return []
    why = (
        f"{source.name} of {collection.name} answered {recent.requests:,} requests in the last {quiet_hours:g} hours,"
        f" the last in the hour from {recent.last_hour:%Y-%m-%d %H:%M %Z}: let it be quiet for that long (--force)"
    )
    return [Gate(name="traffic", why=why, of_time=True)]


def scans_noticed(conn: Connection, collection: Collection, source: Slot, quiet_hours: float) -> list[str]:
    """Which index of the source was scanned lately though nothing is routed there: the application's own SQL is in no
    count. It closes no gate, since shadow reads and ``validate`` scan too."""
    full_since = routes.full_since(conn, collection.group)
    if full_since is None:
        return []
    since = max(full_since, datetime.now(UTC) - timedelta(hours=quiet_hours))
    slot = {"schema": source.schema, "table": source.table, "column": source.vector_column}
    return [
        f"index {row['name']} was scanned at {row['scanned_at']:%Y-%m-%d %H:%M %Z}, though the route is at 100 since"
        f" {full_since:%Y-%m-%d %H:%M %Z}: by SQL of your own that names {source.vector_column}, by shadow reads or by"
        " validate; searches that follow the route do not"
        for row in conn.execute(QUERIES["scanned_indexes"], {**slot, "since": since})
    ]


def guard_gates(conn: Connection, collection: Collection) -> list[Gate]:
    """Somebody writes vectors of another model: which one, and into which column, is to be known before any goes."""
    return [
        Gate(name="guard", why=f"{writer}: stop that writer, then embedmig guard {collection.name}")
        for writer in suspects.list_writers(conn, collection)
    ]


def drop_gates(
    conn: Connection, collection: Collection, source: Slot, target: Slot, *, keep_source: bool
) -> list[Gate]:
    """What forbids closing the migration and, unless the source is kept, dropping its column or companion."""
    gates = share_gates(conn, collection, source) + pin_gates(conn, collection, source)
    bridged = count_bridged(conn, collection, target)
    if bridged:
        gates.append(
            Gate(
                name="bridged",
                why=f"{bridged} rows of {target.name} are bridged from {source.name}'s vectors, not embedded by"
                f" {target.model.key}: embedmig reembed {collection.name}",
            )
        )
    if keep_source:
        return gates
    # With a companion the whole table goes.
    column = source.vector_column if source.placement is Placement.COLUMN else None
    gates += [
        Gate(name="dependent", why=f"{dependent} needs {source.vector_column}: {dependent.how_to_free}")
        for dependent in list_dependents(conn, source.schema, source.table, column)
    ]
    writes = count_app_writes(conn, source)
    if writes:
        gates.append(
            Gate(
                name="app writes",
                why=f"the application wrote {source.vector_column} of {collection.qualified} {writes} times in the last"
                f" {APP_WRITES_DAYS} days, and would fail without it: take it out of its statements (--force)",
                of_time=True,
            )
        )
    return gates


def pin_gates(conn: Connection, collection: Collection, slot: Slot) -> list[Gate]:
    """The processes whose environment pins them to ``slot``."""
    return [
        Gate(
            name="pin",
            why=f"pid {pin.pid} on {pin.host} is pinned to {slot.name} by EMBEDMIG_ACTIVE_INDEX={pin.pin}: unset it"
            " there, and try again 10 minutes later",
        )
        for pin in routes.live_pins(conn, collection)
        if pin.slot == slot.name
    ]


def count_bridged(conn: Connection, collection: Collection, slot: Slot) -> int:
    """Rows whose vector in ``slot`` was mapped from another model's; one pass over the slot."""
    if slot.bridge_model_id is None or slot.model_column is None:
        return 0
    query = sql.SQL("SELECT count(*) AS rows FROM {} AS {} WHERE {}").format(
        identifiers.slot_table(slot), sql.Identifier(identifiers.row_alias(slot)), identifiers.is_bridged(slot)
    )
    row = conn.execute(query).fetchone()
    assert row is not None
    return int(row["rows"])


def count_app_writes(conn: Connection, slot: Slot) -> int:
    """How often the application brought vectors of ``slot`` in the last 7 days, as the queue remembers."""
    row = conn.execute(QUERIES["count_app_writes"], {"slot_id": slot.id, "days": APP_WRITES_DAYS}).fetchone()
    assert row is not None
    return int(row["writes"])


def _in_words(left: timedelta) -> str:
    hours = left.total_seconds() / 3600
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours"
