"""What either placement of a new slot would cost the database, and who would notice: read and computed, not tried."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from embedmig.db import Connection, Queries
from embedmig.db.identifiers import keys
from embedmig.schema.bridge_forecast import REINDEXED_ROWS_PER_S
from embedmig.schema.dependents import list_dependents
from embedmig.schema.estimates import (
    LABEL_BYTES,
    PAGE_BYTES,
    column_bytes,
    column_wal_bytes,
    companion_bytes,
    companion_wal_bytes,
    hnsw_index_bytes,
    hnsw_insert_wal_bytes,
    hot_share,
    out_of_line,
    stored_vector_bytes,
    vector_bytes,
)
from embedmig.schema.inspection import AnnIndex, TableFacts, find_ann_indexes, find_select_star
from embedmig.types import Collection, Placement, Slot

QUERIES = Queries(__package__, "forecast.sql")

# Rows per second that one client wrote in place on 2 cores (MiniLM's width), by what an update has to do.
_COMPANION_BYTES_PER_S = 90e6
_COMPANION_ROWS_PER_S = 45_000
_HOT_ROWS_PER_S = 15_000
_UNINDEXED_ROWS_PER_S = 26_000
_WORTH_SAYING = 0.1


@dataclass(frozen=True, kw_only=True)
class WriteForecast:
    """What filling a slot costs in one placement. About: computed from counts, not tried."""

    placement: Placement
    disk_bytes: int
    """That the database grows by, the new index left out."""
    wal_bytes: int
    rows_per_s: float
    """That the database takes, whatever the model gives."""
    hot_share: float | None
    """In place: updates that leave the other indexes alone. None where no row of the user's is touched."""
    consequences: tuple[str, ...]
    """What only this placement does."""


@dataclass(frozen=True, kw_only=True)
class Onlooker:
    """Someone outside embedmig who would notice."""

    kind: str
    name: str
    what: str
    placement: Placement | None
    """The placement under which they would; None: either."""


def forecast_companion(conn: Connection, collection: Collection, target: Slot, *, rows: int) -> WriteForecast:
    """A 1:1 table beside the user's."""
    width, kind = target.model.dimensions, target.vector_type
    key_bytes = _key_bytes(conn, collection)
    consequences = ["the user's table is not touched; searches join it: 10 to 30 % slower"]
    return WriteForecast(
        placement=Placement.COMPANION,
        disk_bytes=companion_bytes(rows, width, kind, key_bytes=key_bytes),
        wal_bytes=companion_wal_bytes(rows, width, kind, key_bytes=key_bytes),
        rows_per_s=min(_COMPANION_ROWS_PER_S, _COMPANION_BYTES_PER_S / vector_bytes(width, kind)),
        hot_share=None,
        consequences=tuple(consequences),
    )


def forecast_column(
    conn: Connection, target: Slot, facts: TableFacts, *, rows: int, horizon_held: bool
) -> WriteForecast:
    """Columns on the user's table, written row by row in place."""
    width, kind = target.model.dimensions, target.vector_type
    tuples, row_bytes = _tuples(facts)
    inside, outside = stored_vector_bytes(width, kind, beside_bytes=row_bytes + LABEL_BYTES)
    hot = hot_share(
        tuples_a_page=tuples,
        row_bytes=row_bytes,
        added_bytes=inside + LABEL_BYTES,
        fillfactor=facts.fillfactor,
        horizon_held=horizon_held,
    )
    indexes = find_ann_indexes(conn, *facts.name)
    moved = round(rows * (1 - hot))
    grown = column_bytes(moved, width, kind, row_bytes=row_bytes) + round(rows * hot) * outside
    return WriteForecast(
        placement=Placement.COLUMN,
        disk_bytes=grown + sum(_reindexed_bytes(facts, index, moved) for index in indexes),
        wal_bytes=column_wal_bytes(
            rows,
            width,
            kind,
            row_bytes=row_bytes,
            hot=hot,
            index_count=_index_count(conn, facts),
            hnsw_wal_bytes=sum(_insert_wal_bytes(facts, index) for index in indexes),
        ),
        rows_per_s=_in_place_rows_per_s(hot, bool(indexes)),
        hot_share=hot,
        consequences=(
            *_of_a_column(facts, indexes, hot, horizon_held=horizon_held),
            *(() if horizon_held or not indexes else _room_by_toast(facts, target, hot)),
        ),
    )


def list_onlookers(conn: Connection, facts: TableFacts, source: Slot) -> tuple[list[Onlooker], list[str]]:
    """Who would notice, and what could not be looked at."""
    found = [
        Onlooker(
            kind="publication",
            name=publication.name,
            what="would carry the new columns: the subscriber's table lacks them, and its apply worker stops",
            placement=Placement.COLUMN,
        )
        for publication in facts.publications
        if publication.carries_new_columns
    ]
    found += [
        Onlooker(
            kind="trigger",
            name=trigger.name,
            what="fires for every row that is embedded",
            placement=Placement.COLUMN,
        )
        for trigger in facts.triggers
        if trigger.fires_on_our_updates
    ]
    statements = find_select_star(conn, facts)
    found += [
        Onlooker(
            kind="statement",
            name=statement,
            what="fails where it is prepared (cached plan must not change result type), until the client reconnects",
            placement=Placement.COLUMN,
        )
        for statement in statements or ()
    ]
    found += [
        Onlooker(
            kind=dependent.kind,
            name=dependent.name,
            what=f"reads {source.vector_column} and keeps it from being dropped at the end: {dependent.how_to_free}",
            placement=None,
        )
        for dependent in list_dependents(conn, source.schema, source.table, source.vector_column)
    ]
    unseen = []
    if statements is None:
        unseen.append(
            "pg_stat_statements is not installed, or not to be read: whether clients prepare SELECT * on the table"
            " is not known (pg_prepared_statements shows a session's own only)"
        )
    return found, unseen


def locks_taken(collection: Collection, target: Slot) -> list[str]:
    """Each step's lock, how long it is held, and who waits for it."""
    table = collection.qualified
    expand = (
        f"expand: ACCESS EXCLUSIVE on {table} for milliseconds: columns without a default, no row is read or rewritten"
        if target.placement is Placement.COLUMN
        else f"expand: SHARE ROW EXCLUSIVE on {table} for milliseconds, for the triggers: writers wait, readers do not"
    )
    fill = (
        f"reembed: row locks in {table}, a batch at a time; rows that others hold are left for later"
        if target.placement is Placement.COLUMN
        else f"reembed: none on {table}"
    )
    return [
        f"{expand}; under lock_timeout, tried again, or given up with nothing changed",
        "expand: checks are validated under SHARE UPDATE EXCLUSIVE, which reads and writes do not feel",
        fill,
        f"index: SHARE UPDATE EXCLUSIVE on {target.schema}.{target.table} while it is built: vacuum and other DDL"
        " wait; it waits itself for every transaction older than it",
    ]


def is_horizon_held(conn: Connection) -> bool:
    """Whether a transaction older than a minute keeps updates from being HOT."""
    row = conn.execute(QUERIES["horizon_held"]).fetchone()
    return row is not None and bool(row["held"])


def _tuples(facts: TableFacts) -> tuple[float, int]:
    """Rows a page, and what one takes of it."""
    pages = max(1, facts.heap_bytes // PAGE_BYTES)
    tuples = max(1.0, (facts.rows + facts.dead_rows) / pages)
    return tuples, round((PAGE_BYTES - 24) * facts.fillfactor / 100 / tuples)


def _key_bytes(conn: Connection, collection: Collection) -> int:
    statement = sql.SQL(
        "SELECT coalesce(avg(pg_column_size(ROW({})) - 24), 8) AS bytes FROM (SELECT * FROM {} LIMIT 1000) d"
    )
    row = conn.execute(
        statement.format(keys(collection, "d"), sql.Identifier(collection.schema, collection.table))
    ).fetchone()
    assert row is not None
    size: int = round(row["bytes"])
    return size


def _index_count(conn: Connection, facts: TableFacts) -> int:
    row = conn.execute(QUERIES["count_indexes"], {"oid": facts.oid}).fetchone()
    assert row is not None
    return int(row["n"])


def _indexed_width(facts: TableFacts, index: AnnIndex) -> tuple[int, str]:
    for column in facts.columns:
        if column.name in index.columns and column.dimensions:
            return column.dimensions, column.type_name
    return 0, "vector"


def _reindexed_bytes(facts: TableFacts, index: AnnIndex, rows: int) -> int:
    width, kind = _indexed_width(facts, index)
    return hnsw_index_bytes(rows, width, kind) if width and index.kind == "hnsw" else 0


def _insert_wal_bytes(facts: TableFacts, index: AnnIndex) -> int:
    width, kind = _indexed_width(facts, index)
    if not width:
        return 0
    return hnsw_insert_wal_bytes(width, kind, int(index.options.get("m", 16)))


def _in_place_rows_per_s(hot: float, has_index: bool) -> float:
    if not has_index:
        return _UNINDEXED_ROWS_PER_S
    return 1 / (hot / _HOT_ROWS_PER_S + (1 - hot) / REINDEXED_ROWS_PER_S)


def _room_by_toast(facts: TableFacts, target: Slot, hot: float) -> list[str]:
    """What lets updates stay on their pages where the rows' vectors are in their way."""
    # A row is taken for as large as its share of the page: what is free beside it comes on top, so "at least".
    tuples, row_bytes = _tuples(facts)
    stored = [vector_bytes(column.dimensions, column.type_name) for column in facts.columns if column.dimensions]
    found = out_of_line(row_bytes, stored, vector_bytes(target.model.dimensions, target.vector_type))
    if found is None:
        return []
    toast_target, left = found
    share = hot_share(
        tuples_a_page=tuples, row_bytes=row_bytes, added_bytes=left - row_bytes, fillfactor=facts.fillfactor
    )
    if share < hot + _WORTH_SAYING:
        return []
    return [
        f"at least {share:.0%} of the updates stay on their page after ALTER TABLE {facts.name.typed} SET"
        f" (toast_tuple_target = {toast_target}), milliseconds under SHARE UPDATE EXCLUSIVE; afterwards RESET"
        f" (toast_tuple_target): about {_in_place_rows_per_s(share, True):,.0f} rows/s. The vectors of updated rows"
        " then stand in the TOAST table: searches by an index do not feel it, exact ones do"
    ]


def _of_a_column(facts: TableFacts, indexes: Sequence[AnnIndex], hot: float, *, horizon_held: bool) -> list[str]:
    told = []
    if indexes:
        names = ", ".join(index.name for index in indexes)
        told.append(
            f"about {1 - hot:.0%} of the updates insert their row into {names} again: larger, slower, until vacuumed"
        )
        if horizon_held:
            told.append("a transaction older than a minute keeps every update from being HOT: end it first (doctor)")
    told.append("writers under REPEATABLE READ can get 40001 from our writes, and must try again")
    told.append(f"afterwards: VACUUM {facts.name}, for the old version of each row that moved")
    return told
