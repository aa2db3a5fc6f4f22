"""What keeps a slot from being complete."""

from dataclasses import replace
from typing import Any

import pytest

from embedmig.backfill.census import Census
from embedmig.backfill.completeness import list_reasons, tail_allowed
from embedmig.settings import Settings
from embedmig.types import Collection, KeyColumn, Maintainer, Model, ModelState, Placement, Slot

CLEAN = Census(
    rows=1000, without_text=0, true=1000, bridged=0, missing=0, other_model=0, stale=0, unrecorded=0,
    missing_not_queued=0, stale_not_queued=0, orphans=0, orphans_not_queued=0, queued=0, oldest_queued_s=None,
    failed=0, ignored=0,
)  # fmt: skip
DOCS = Collection(
    id=1, name="docs", group="docs", schema="public", table="docs", key=(KeyColumn(name="id", type="bigint"),),
    text_columns=("body",),
)  # fmt: skip
MODEL = Model(name="m", revision="1", provider="hashing", dimensions=4)
SLOT = Slot(
    id=1, collection_id=1, name="v2", model=MODEL, placement=Placement.COLUMN, schema="public", table="docs",
    vector_column="e", model_column="m", hash_column="h", maintained_by=Maintainer.EMBEDMIG,
)  # fmt: skip


def reasons(slot: Slot = SLOT, **counts: Any) -> list[str]:
    census = replace(CLEAN, **counts)
    return list_reasons(DOCS, slot, census, tail_allowed(census.with_text, Settings()), Settings())


def test_a_clean_slot_is_complete() -> None:
    assert reasons() == []


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"missing": 1, "missing_not_queued": 1}, "no vector"),
        ({"stale": 1, "stale_not_queued": 1}, "earlier text"),
        ({"other_model": 2}, "another model"),
        ({"failed": 1}, "embedmig failures list docs"),
        ({"queued": 11}, "11 rows are queued, 10 may be"),
        ({"queued": 1, "oldest_queued_s": 61.0}, "61 s"),
    ],
)
def test_each_lack_is_a_reason(counts: dict[str, Any], said: str) -> None:
    found = reasons(**counts)
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    "counts",
    [
        {"bridged": 1000, "true": 0},
        {"ignored": 5, "missing": 5},
        {"queued": 10, "oldest_queued_s": 59.0, "stale": 5, "missing": 5},
        {"orphans": 3},
        {"unrecorded": 1000},
        {"without_text": 10},
    ],
)
def test_what_is_bridged_ignored_queued_or_unrecorded_is_no_lack(counts: dict[str, Any]) -> None:
    assert reasons(**counts) == []


@pytest.mark.parametrize(("rows", "allowed"), [(0, 10), (1000, 10), (100_000, 100), (10_000_000, 1000)])
def test_the_tail_is_a_share_a_number_and_ten_always(rows: int, allowed: int) -> None:
    assert tail_allowed(rows, Settings()) == allowed


def test_of_a_model_that_is_gone_the_queue_is_a_loss_and_no_tail() -> None:
    gone = replace(SLOT, model=replace(MODEL, state=ModelState.GONE))
    assert reasons(gone, queued=500, oldest_queued_s=9999.0) == []
    found = reasons(gone, queued=2, missing=1, stale=1)
    assert found == ["2 rows were written since m@1 went: it cannot embed them any more"]
