"""How much of what searches show is by true vectors, and what is left to make nearly all of it so."""

from dataclasses import dataclass

from psycopg import sql

from embedmig.db import Connection, Queries
from embedmig.db import identifiers as ident
from embedmig.types import Collection, Slot

QUERIES = Queries(__package__, "impressions.sql")


@dataclass(frozen=True, kw_only=True)
class Impressions:
    """Rows shown from a slot since yesterday began (UTC); a row shown twice counts twice."""

    slot: str
    shown: int
    bridged_when_shown: int
    bridged_now: int
    """Of rows that are bridged still: what the same traffic would show of them now."""
    rows_to_99_percent: int
    """So many rows more, the most shown first, and 99 % of the same traffic would be of true vectors."""

    @property
    def true_share(self) -> float | None:
        """As they were shown, 0 to 1; None before any was."""
        return 1 - self.bridged_when_shown / self.shown if self.shown else None

    @property
    def true_share_now(self) -> float | None:
        """As the same traffic would be answered now."""
        return 1 - min(self.bridged_now, self.shown) / self.shown if self.shown else None


def read_impressions(conn: Connection, collection: Collection, slot: Slot) -> Impressions | None:
    """None where no bridge can have led to the slot."""
    if slot.bridge_model_id is None or slot.model_column is None:
        return None
    alias = ident.row_alias(slot)
    query = QUERIES["impressions"].format(
        typed_key=ident.key_columns_from_array(collection, sql.SQL("k.key")),
        slot=ident.slot_table(slot),
        alias=sql.Identifier(alias),
        matches=ident.key_match(collection, alias, "typed"),
        is_bridged=ident.is_bridged(slot),
    )
    row = conn.execute(query, {"slot_id": slot.id}).fetchone()
    assert row is not None
    return Impressions(slot=slot.name, **row)
