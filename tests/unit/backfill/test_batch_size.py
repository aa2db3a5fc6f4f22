"""Batches follow the time that they take."""

from hypothesis import given
from hypothesis import strategies as st

from embedmig.backfill.batch_size import HIGHEST_USE, LOWEST_USE, BatchPace, BatchSizer, note_batch
from embedmig.backfill.slices import GroupSize

sizes = st.integers(16, 8192)
uses = st.none() | st.floats(0.001, 50)
seconds = st.floats(0.0001, 100)


@given(rows=sizes, use=uses, took=seconds, aim=st.floats(0.1, 10))
def test_a_batch_never_grows_by_more_than_a_fifth_nor_leaves_its_bounds(
    rows: int, use: float | None, took: float, aim: float
) -> None:
    after = note_batch(BatchPace(rows=rows, use=use), rows=rows, seconds=took, aim_s=aim)
    assert 16 <= after.rows <= 8192
    assert after.rows <= max(16, rows * 1.2 + 0.5)


@given(rows=sizes, took=seconds)
def test_a_first_batch_that_is_too_slow_shrinks_and_one_too_fast_grows(rows: int, took: float) -> None:
    after = note_batch(BatchPace(rows=rows), rows=rows, seconds=took, aim_s=1.0)
    if took > HIGHEST_USE:
        assert after.rows <= rows
    elif took < LOWEST_USE:
        assert after.rows >= rows
    else:
        assert after.rows == rows


@given(ms_a_row=st.floats(0.2, 40), overhead_s=st.floats(0, 0.2), start=sizes)
def test_the_size_comes_to_rest_where_a_batch_takes_the_time_aimed_at(
    ms_a_row: float, overhead_s: float, start: int
) -> None:
    pace = BatchPace(rows=start)
    for _ in range(80):
        took = overhead_s + pace.rows * ms_a_row / 1000
        pace = note_batch(pace, rows=pace.rows, seconds=took, aim_s=1.0)
    took = overhead_s + pace.rows * ms_a_row / 1000
    one_row = 1 / pace.rows
    assert LOWEST_USE - one_row - 0.02 <= took <= HIGHEST_USE + one_row + 0.02 or pace.rows in (16, 8192)


@given(rows=sizes, use=uses)
def test_nothing_written_says_nothing(rows: int, use: float | None) -> None:
    pace = BatchPace(rows=rows, use=use)
    assert note_batch(pace, rows=0, seconds=1, aim_s=1) == pace
    assert note_batch(pace, rows=10, seconds=0, aim_s=1) == pace


def test_the_last_small_batch_of_a_chunk_is_judged_as_if_it_were_whole() -> None:
    whole = note_batch(BatchPace(rows=1000), rows=1000, seconds=0.93, aim_s=1.0)
    part = note_batch(BatchPace(rows=1000), rows=10, seconds=0.0093, aim_s=1.0)
    assert whole.rows == part.rows == 1000


def test_a_size_that_was_given_stays() -> None:
    fixed = BatchSizer(GroupSize(rows=100), None)
    fixed.note(100, 50.0)
    assert fixed.size == GroupSize(rows=100)
    moving = BatchSizer(GroupSize(rows=100), 1.0)
    moving.note(100, 0.1)
    assert moving.size.rows == 120
