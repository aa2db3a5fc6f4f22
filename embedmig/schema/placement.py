"""Where a new slot's vectors go when nobody says: pure, so that plan and expand never disagree."""

from dataclasses import dataclass

from embedmig.types import Placement

SMALL_ROWS = 100_000
SMALL_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class PlacementFacts:
    """What the choice hangs on. ``inspection.placement_facts`` reads it."""

    rows: int
    """Of the user's table: exact below 100,000, an estimate above."""
    size_bytes: int
    """Of the user's table with TOAST, its indexes left out."""
    has_ann_index: bool
    """Any HNSW or IVFFlat index on the user's table, whichever column it is on."""
    published: bool = False
    """In a publication that would carry a new column: the subscriber's table lacks it."""
    select_star_statements: int = 0
    """``SELECT *`` statements on the table that pg_stat_statements has seen; 0 where it is not installed."""


def choose_placement(facts: PlacementFacts) -> tuple[Placement, str]:
    """The placement that ``auto`` means here, and why."""
    if facts.published:
        return Placement.COMPANION, "the table is published: a new column would stop its subscribers"
    if facts.select_star_statements:
        return Placement.COMPANION, (
            f"{facts.select_star_statements} SELECT * statement(s) on the table were seen: a new column breaks them"
            " where they are prepared, until the client connects again"
        )
    if not facts.has_ann_index:
        return Placement.COLUMN, "the table has no ANN index that updates would have to maintain"
    if facts.rows < SMALL_ROWS and facts.size_bytes < SMALL_BYTES:
        return Placement.COLUMN, f"the table is small ({facts.rows:,} rows, {facts.size_bytes / 2**20:,.0f} MiB)"
    return Placement.COMPANION, (
        f"the table has {facts.rows:,} rows, {facts.size_bytes / 2**20:,.0f} MiB and an ANN index: writing in place"
        " would insert rows into the serving index again, about ten times as slow as a companion"
    )
