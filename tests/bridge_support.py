"""A bridge between the models of tests.support, fitted and kept."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache

import numpy as np
from psycopg import sql

from embedmig.adapters import Direction, Pairs, Provenance, StoredAdapter, dump_adapter
from embedmig.adapters.kinds import fit_adapter
from embedmig.catalog.adapters import KeptAdapter, add_adapter
from embedmig.db import Connection
from embedmig.db import identifiers as ident
from embedmig.types import Collection, Floats, Slot
from tests.support import NEW, OLD, embed, text_of

TEXTS = ["\n\n".join(text_of(number)) for number in range(1000, 1500)]


@cache
def fit_bridge(kind: str = "ridge") -> StoredAdapter:
    """From ``old@1`` to ``new@1``, on texts that are not those of the rows."""
    pairs = Pairs(old=embed(OLD, TEXTS), new=embed(NEW, TEXTS), texts=TEXTS)
    provenance = Provenance(
        direction=Direction.BRIDGE, source_model=OLD.key, target_model=NEW.key, n_pairs=len(TEXTS), seed=0,
        code_version="test", fitted_at=datetime.now(UTC), collection="docs",
    )  # fmt: skip
    return StoredAdapter(adapter=fit_adapter(kind, pairs, Direction.BRIDGE), kind=kind, provenance=provenance)


def keep_bridge(conn: Connection, collection: Collection, kind: str = "ridge", name: str | None = None) -> KeptAdapter:
    """Fitted and in the catalog."""
    fitted = fit_bridge(kind)
    body = dump_adapter(fitted.adapter, fitted.provenance, {OLD.key: None, NEW.key: None})
    return add_adapter(
        conn, collection, name=name, direction="bridge", from_model=OLD, to_model=NEW, kind=kind, normalise=True,
        body=body, provenance={},
    )  # fmt: skip


def vectors_of(conn: Connection, collection: Collection, slot: Slot) -> dict[tuple[str, ...], tuple[int, Floats]]:
    """By key, of those that have one: which model made the vector, and the vector."""
    query = sql.SQL("SELECT {} AS key, {} AS model, {}::text AS vector FROM {} AS d {} WHERE {} IS NOT NULL").format(
        ident.key_array(collection, "d"),
        ident.model_id(slot),
        ident.vector(slot),
        ident.table(collection),
        ident.join_slot(collection, slot),
        ident.vector(slot),
    )
    return {
        tuple(row["key"]): (row["model"], np.fromstring(row["vector"].strip("[]"), sep=",", dtype=np.float32))
        for row in conn.execute(query)
    }


def bridged_keys(conn: Connection, collection: Collection, slot: Slot) -> Sequence[tuple[str, ...]]:
    """The keys of the rows whose vector was mapped."""
    return [key for key, (model, _) in vectors_of(conn, collection, slot).items() if model == slot.bridge_model_id]
