"""What a bridge, and replacing bridged vectors under an index, would take: computed, not tried. Pure."""

from dataclasses import dataclass

from psycopg import sql

from embedmig.schema.estimates import hnsw_index_bytes
from embedmig.types import Slot

_BRIDGED_ROWS_PER_S = 30_000
"""Of 256 dimensions read and 384 written into a companion, on 2 cores; wider ones by their bytes."""
_BRIDGED_BYTES_PER_S = 75e6
REINDEXED_ROWS_PER_S = 1_500
"""Rows whose vector is replaced where an HNSW index of MiniLM's width takes each of them in."""
_REINDEXED_DIMENSIONS = 384
_TRANSACTION_S = 0.5
_LARGEST_BATCH = 512


@dataclass(frozen=True, kw_only=True)
class BridgeForecast:
    """A complete new slot before the corpus is embedded, and what replacing its vectors costs the index. About."""

    bridge_rows_per_s: float
    bridge_s: float
    replaced_rows_per_s: float
    """Once the slot carries its index: each replaced vector is taken in by it."""
    replace_s: float
    """All rows, whatever the model gives."""
    batch_rows: int
    """``reembed --batch-size``: a transaction of so many takes about half a second."""
    reindex: str
    """To plan for a quiet hour when most rows are replaced: dead entries slow searches until then."""
    reindex_bytes: int
    """That the index takes beside itself meanwhile."""


def forecast_bridge(source: Slot, target: Slot, *, rows: int, index: str) -> BridgeForecast | None:
    """``index``: the target's, by the name it has or will have. None where nothing can be bridged from."""
    if source.vector_type == "bit":
        return None
    old, new = source.model.dimensions, target.model.dimensions
    bridged = min(_BRIDGED_ROWS_PER_S, _BRIDGED_BYTES_PER_S / (4 * (old + new)))
    replaced = REINDEXED_ROWS_PER_S * min(1.0, _REINDEXED_DIMENSIONS / new)
    return BridgeForecast(
        bridge_rows_per_s=bridged,
        bridge_s=rows / bridged,
        replaced_rows_per_s=replaced,
        replace_s=rows / replaced,
        batch_rows=max(16, min(_LARGEST_BATCH, round(replaced * _TRANSACTION_S))),
        reindex=f"REINDEX INDEX CONCURRENTLY {sql.Identifier(target.schema, index).as_string(None)}",
        reindex_bytes=hnsw_index_bytes(rows, new, target.vector_type),
    )
