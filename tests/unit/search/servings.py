"""What the catalog would say, made by hand: for tests of what needs no database."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from embedmig.catalog.serving import Serving, SlotIndex
from embedmig.types import Collection, KeyColumn, Maintainer, Migration, Model, Placement, Route, Slot, bridge_model_id

OLD = Model(name="old", revision="1", provider="hashing", dimensions=2)
NEW = Model(name="new", revision="1", provider="hashing", dimensions=3)

DOCS = Collection(
    id=1,
    name="docs",
    group="docs",
    schema="public",
    table="docs",
    key=(KeyColumn(name="id", type="bigint"),),
    text_columns=("title", "body"),
)

V1 = Slot(
    id=1,
    collection_id=1,
    name="v1",
    model=OLD,
    placement=Placement.COLUMN,
    schema="public",
    table="docs",
    vector_column="embedding",
    model_column=None,
    hash_column=None,
    maintained_by=Maintainer.APP,
)
V2 = replace(
    V1,
    id=2,
    name="v2",
    model=NEW,
    bridge_model_id=bridge_model_id(OLD, NEW),
    vector_column="embedding_v2",
    model_column="embedding_v2_model",
    hash_column="embedding_v2_hash",
    maintained_by=Maintainer.EMBEDMIG,
    filled_at=datetime(2026, 1, 2, tzinfo=UTC),
)
V2_APART = replace(
    V2,
    placement=Placement.COMPANION,
    schema="embedmig",
    table="docs_v2",
    vector_column="embedding",
    model_column="embedding_model",
    hash_column="embedding_hash",
)


def hnsw(opclass: str = "vector_cosine_ops", **changes: Any) -> SlotIndex:
    """A valid HNSW index over the bare column."""
    return replace(SlotIndex(name="docs_hnsw", kind="hnsw", opclass=opclass, expression=None, valid=True), **changes)


def migrating(
    *,
    target: Slot = V2,
    source: Slot = V1,
    share_bp: int = 0,
    epoch: int = 7,
    indexes: dict[int, tuple[SlotIndex, ...]] | None = None,
    **changes: Any,
) -> Serving:
    """``docs`` with an open migration from ``source`` to ``target``, both indexed."""
    serving = Serving(
        collection=DOCS,
        route=Route(group="docs", share_bp=share_bp, epoch=epoch, changed_at=datetime(2026, 1, 1, tzinfo=UTC)),
        group_size=1,
        migration=Migration(
            id=1, collection_id=1, source_id=source.id, target_id=target.id, opened_at=datetime(2026, 1, 1, tzinfo=UTC)
        ),
        slots=(source, target),
        indexes={source.id: (hnsw(),), target.id: (hnsw(),)} if indexes is None else indexes,
        failing=frozenset(),
    )
    return replace(serving, **changes)


def settled(slot: Slot = V1, **changes: Any) -> Serving:
    """``docs`` with one slot and no open migration."""
    return migrating(migration=None, slots=(slot,), indexes={slot.id: (hnsw(),)}, **changes)
