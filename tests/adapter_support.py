"""What tests of adapters in use begin from: one that was fitted without a database, and kept."""

from datetime import UTC, datetime

import numpy as np

from embedmig.adapters import Direction, Pairs, Provenance, dump_adapter
from embedmig.adapters.farness import fit_farness
from embedmig.adapters.kinds import fit_adapter
from embedmig.adapters.normal_equations import NormalEquations
from embedmig.catalog import adapters, models
from embedmig.catalog.adapters import KeptAdapter
from embedmig.catalog.collections import get_collection
from embedmig.db import Connection
from embedmig.types import Model
from tests.support import NEW, OLD, embed, text_of

OTHER = Model(name="other", revision="1", provider="hashing", dimensions=24, options={"dimensions": 24, "seed": 3})
TEXTS = ["\n\n".join(text_of(number)) for number in range(1, 301)]


def keep_adapter(
    conn: Connection,
    *,
    made: tuple[Model, Model] = (NEW, OLD),
    told: tuple[Model, Model] | None = None,
    kind: str = "procrustes",
) -> KeptAdapter:
    """A query adapter fitted between two models over 300 texts; ``told``: between which the catalog says it is."""
    source, target = made
    pairs = Pairs(old=embed(target, TEXTS), new=embed(source, TEXTS))
    adapter = fit_adapter(kind, pairs, Direction.QUERY, of_a_part=True)
    moments = NormalEquations(source.dimensions, 1).add(pairs.new, np.zeros((300, 1), dtype=np.float32)).moments()
    provenance = Provenance(
        direction=Direction.QUERY,
        source_model=source.key,
        target_model=target.key,
        n_pairs=300,
        seed=0,
        code_version="0",
        fitted_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    fingerprints = {source.key: None, target.key: None}
    models.add_model(conn, OTHER, None)
    told = told or made
    return adapters.add_adapter(
        conn,
        get_collection(conn, "docs"),
        name=None,
        direction="query",
        from_model=told[0],
        to_model=told[1],
        kind=kind,
        normalise=adapter.normalise,
        body=dump_adapter(adapter, provenance, fingerprints, farness=fit_farness(moments, pairs.new)),
        provenance={"scores": [{"kind": kind, "share": 0.75, "interval": [0.7, 0.8]}]},
    )
