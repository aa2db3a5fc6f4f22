"""Signs that the database suffers: small, named, each with a threshold among the settings. None writes anything."""

from collections.abc import Callable
from dataclasses import dataclass

from psycopg import sql

from embedmig.backfill.canary import Canary
from embedmig.db import Connection, Queries
from embedmig.settings import Settings
from embedmig.types import Collection, Slot

QUERIES = Queries(__package__, "throttle.sql")

_FEW_DEAD = 1000
"""Fewer dead rows than this are no burden, whatever their share."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """Whose health it is."""

    collection: Collection
    slots: tuple[Slot, ...]
    serving: Slot
    """The slot that most requests are answered from."""
    canary: Canary | None
    """None where a search would read the whole table."""

    @property
    def tables(self) -> list[str]:
        """The user's table and the companions, as ``regclass`` reads them."""
        own = [(self.collection.schema, self.collection.table), *((slot.schema, slot.table) for slot in self.slots)]
        return [sql.Identifier(*name).as_string() for name in dict.fromkeys(own)]


Check = Callable[[Connection, Watched, Settings], str | None]
"""Says what is wrong, with its value and the threshold; None while all is well."""


def replica_lag(conn: Connection, watched: Watched, settings: Settings) -> str | None:
    """A standby replays later than ``throttle_replica_lag_s``."""
    lag_s = _value(conn, "replica_lag")
    if lag_s is None or lag_s <= settings.throttle_replica_lag_s:
        return None
    return f"a replica is {lag_s:.0f} s behind, {settings.throttle_replica_lag_s:g} s are allowed"


def running_queries(conn: Connection, watched: Watched, settings: Settings) -> str | None:
    """More statements of others run at once than ``throttle_running_queries``."""
    running = _value(conn, "running_queries") or 0
    if running <= settings.throttle_running_queries:
        return None
    return f"{running:.0f} queries run at once, {settings.throttle_running_queries} are allowed"


def wal_archive(conn: Connection, watched: Watched, settings: Settings) -> str | None:
    """More WAL files wait for the archive than ``throttle_wal_files``."""
    files = _value(conn, "wal_waiting") or 0
    if files <= settings.throttle_wal_files:
        return None
    return f"{files:.0f} WAL files wait for the archive, {settings.throttle_wal_files} may"


def slot_retention(conn: Connection, watched: Watched, settings: Settings) -> str | None:
    """A replication slot keeps more WAL than ``throttle_retained_mb``."""
    row = conn.execute(QUERIES["retained"]).fetchone()
    if row is None or row["mb"] is None or row["mb"] <= settings.throttle_retained_mb:
        return None
    allowed = settings.throttle_retained_mb
    return f"the replication slot {row['slot_name']} keeps {row['mb']:,.0f} MB of WAL, {allowed:,.0f} MB are allowed"


def vacuum(conn: Connection, watched: Watched, settings: Settings) -> str | None:
    """A vacuum is at work on one of the tables: it should get done."""
    if not settings.throttle_vacuum:
        return None
    row = conn.execute(QUERIES["vacuum"], {"tables": watched.tables}).fetchone()
    return None if row is None else f"{row['relation']} is being vacuumed ({row['phase']})"


def dead_rows(conn: Connection, watched: Watched, settings: Settings) -> str | None:
    """The serving table holds more dead rows, which its index still leads to, than ``throttle_dead_share``."""
    table = sql.Identifier(watched.serving.schema, watched.serving.table).as_string()
    row = conn.execute(QUERIES["dead_rows"], {"table": table}).fetchone()
    dead, live = (0, 0) if row is None else (row["dead"] or 0, row["live"] or 0)
    if dead <= _FEW_DEAD or dead <= settings.throttle_dead_share * (dead + live):
        return None
    share, allowed = dead / (dead + live), settings.throttle_dead_share
    return f"{share:.0%} of the rows of {table} are dead, {allowed:.0%} are allowed: it waits for (auto)vacuum"


def own_sql(conn: Connection, watched: Watched, settings: Settings) -> str | None:
    """The user's query ``throttle_sql`` answers true, a number above 0, or a text, which is then the reason."""
    if settings.throttle_sql is None:
        return None
    row = conn.execute(settings.throttle_sql.encode()).fetchone()
    value = None if row is None else next(iter(row.values()))
    if not value:
        return None
    return value if isinstance(value, str) else f"throttle_sql answered {value}"


def canary(conn: Connection, watched: Watched, settings: Settings) -> str | None:
    """Searches on the serving index take ``throttle_canary_factor`` times as long as before the run."""
    if watched.canary is None:
        return None
    before_ms, now_ms = watched.canary.look(conn)
    if now_ms <= before_ms * settings.throttle_canary_factor:
        return None
    allowed = settings.throttle_canary_factor
    return f"searches take {now_ms:.1f} ms (p95), {before_ms:.1f} ms before the run; {allowed:g} times are allowed"


CHECKS: tuple[tuple[str, Check], ...] = (
    ("replica lag", replica_lag),
    ("running queries", running_queries),
    ("WAL archive", wal_archive),
    ("slot retention", slot_retention),
    ("vacuum", vacuum),
    ("dead rows", dead_rows),
    ("own SQL", own_sql),
    ("canary", canary),
)
"""In the order they are asked; the first that says slow is the one shown."""


def _value(conn: Connection, name: str) -> float | None:
    row = conn.execute(QUERIES[name]).fetchone()
    assert row is not None
    value: float | None = row["value"]
    return value
