"""Estimates against what was measured: pgvector's own sizes, and Postgres's own HOT counts."""

import pytest

from embedmig.schema.estimates import (
    choose_lists,
    column_bytes,
    companion_bytes,
    hnsw_index_bytes,
    hnsw_memory_bytes,
    hot_share,
    out_of_line,
)


@pytest.mark.parametrize(("vector_type", "memory_gb", "index_gb"), [("vector", 69, 82), ("halfvec", 38, 41)])
def test_an_hnsw_index_of_ten_million_vectors_is_as_large_as_measured(
    vector_type: str, memory_gb: int, index_gb: int
) -> None:
    assert hnsw_memory_bytes(10_000_000, 1536, vector_type) / 1e9 == pytest.approx(memory_gb, rel=0.02)
    assert hnsw_index_bytes(10_000_000, 1536, vector_type) / 1e9 == pytest.approx(index_gb, rel=0.02)


@pytest.mark.parametrize(
    ("dimensions", "fillfactor", "tuples_a_page", "row_bytes", "added_bytes", "measured"),
    [
        (384, 100, 3.91, 1816, 40, 0.50),
        (384, 85, 2.93, 1816, 40, 1.0),
        (384, 50, 1.99, 1816, 40, 1.0),
        (1536, 100, 27.91, 290, 40, 0.857),
        (128, 100, 10.0, 790, 540, 0.50),
        (768, 100, 13.39, 600, 40, 0.857),
    ],
)
def test_hot_updates_are_foretold_as_postgres_counted_them(
    dimensions: int, fillfactor: int, tuples_a_page: float, row_bytes: float, added_bytes: float, measured: float
) -> None:
    share = hot_share(tuples_a_page=tuples_a_page, row_bytes=row_bytes, added_bytes=added_bytes, fillfactor=fillfactor)
    assert share == pytest.approx(measured, abs=0.05)


def test_no_update_is_hot_on_full_pages_while_the_horizon_is_held() -> None:
    assert hot_share(tuples_a_page=4, row_bytes=1816, added_bytes=40, horizon_held=True) == 0
    assert hot_share(tuples_a_page=2, row_bytes=1816, added_bytes=40, fillfactor=50, horizon_held=True) == 1


def test_vectors_leave_their_rows_only_where_postgres_looks_at_them() -> None:
    # 384-d beside a text of some hundred bytes: four rows a page, and all of their updates fit once vectors are out.
    found = out_of_line(1776, [1544], 1544)
    assert found is not None
    toast_target, left = found
    assert left < toast_target < 600
    assert hot_share(tuples_a_page=4.4, row_bytes=1776, added_bytes=left - 1776) == 1
    # 128-d rows stay below the 2,032 bytes from which Postgres toasts, 1,536-d vectors are out of line by themselves.
    assert out_of_line(720, [520], 520) is None
    assert out_of_line(290, [6152], 6152) is None
    # A long text keeps the row above any target that would help.
    assert out_of_line(1900, [136], 1544) is None


def test_writing_in_place_wants_more_room_than_a_companion() -> None:
    # 20,000 rows of 384-d: 39 MB became 110 MB in place.
    assert column_bytes(20_000, 384, "vector", row_bytes=1816) / 1e6 == pytest.approx(71, rel=0.2)
    assert companion_bytes(20_000, 384, "vector", key_bytes=8) < column_bytes(20_000, 384, "vector", row_bytes=1816)


def test_lists_follow_pgvectors_advice() -> None:
    assert [choose_lists(rows) for rows in (0, 10_000, 1_000_000, 4_000_000)] == [1, 10, 1000, 2000]
