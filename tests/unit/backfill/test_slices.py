"""Cutting a chunk's rows into groups."""

import numpy as np

from embedmig.backfill.slices import GroupSize, slice_by_length, slice_by_page


def test_every_row_is_in_exactly_one_group() -> None:
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 5000, 3000)
    pages = rng.integers(0, 400, 3000)
    for groups in (slice_by_length(lengths, GroupSize(rows=64)), slice_by_page(lengths, pages, GroupSize(rows=64))):
        assert sorted(np.concatenate(groups).tolist()) == list(range(3000))


def test_no_group_holds_two_rows_of_a_page() -> None:
    rng = np.random.default_rng(2)
    pages = np.repeat(np.arange(500), rng.integers(1, 30, 500))
    rng.shuffle(pages)
    for group in slice_by_page(rng.integers(1, 300, len(pages)), pages, GroupSize(rows=128)):
        assert len(set(pages[group].tolist())) == len(group)


def test_first_rows_of_all_pages_come_before_second_rows() -> None:
    pages = np.repeat(np.arange(100), 3)
    order = np.concatenate(slice_by_page(np.full(300, 10), pages, GroupSize(rows=50)))
    assert (order % 3).tolist() == [0] * 100 + [1] * 100 + [2] * 100


def test_few_pages_are_not_strided() -> None:
    groups = slice_by_page(np.full(300, 10), np.repeat(np.arange(3), 100), GroupSize(rows=150))
    assert [len(group) for group in groups] == [150, 150]


def test_texts_in_a_group_are_alike_in_length() -> None:
    lengths = np.random.default_rng(3).permutation(1000)
    spans = [np.ptp(lengths[group]) for group in slice_by_length(lengths, GroupSize(rows=100))]
    assert max(spans) < 100


def test_a_group_holds_no_more_text_than_allowed_unless_one_text_does() -> None:
    lengths = np.array([10, 2000, 500, 500, 90, 400])
    groups = slice_by_length(lengths, GroupSize(rows=100, text_bytes=1000))
    assert [sorted(lengths[group].tolist()) for group in groups] == [[10, 90, 400, 500], [500], [2000]]


def test_what_a_model_cuts_off_costs_memory_only() -> None:
    lengths = np.full(100, 100_000)
    size = GroupSize(rows=100, text_bytes=60_000, memory_bytes=1_000_000, max_tokens=100)
    assert {len(group) for group in slice_by_length(lengths, size)} == {10}


def test_no_rows_make_no_group() -> None:
    nothing = np.array([], dtype=np.int64)
    assert slice_by_length(nothing, GroupSize()) == []
    assert slice_by_page(nothing, nothing, GroupSize()) == []
