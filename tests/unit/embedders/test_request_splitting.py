from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from embedmig.embedders.batching import split_requests


@given(
    st.lists(st.integers(1, 50), max_size=60),
    st.integers(1, 10),
    st.integers(1, 80),
)
def test_every_text_is_in_one_request_in_order_and_no_request_is_too_large(
    tokens: list[int], max_texts: int, max_tokens: int
) -> None:
    ranges = split_requests(tokens, max_texts=max_texts, max_tokens=max_tokens)
    assert [place for rows in ranges for place in rows] == list(range(len(tokens)))
    for rows in ranges:
        assert 1 <= len(rows) <= max_texts
        assert len(rows) == 1 or sum(tokens[place] for place in rows) <= max_tokens


@given(st.lists(st.integers(1, 50), min_size=2, max_size=60), st.integers(1, 10), st.integers(1, 80))
def test_no_two_neighbours_would_fit_one_request(tokens: list[int], max_texts: int, max_tokens: int) -> None:
    ranges = split_requests(tokens, max_texts=max_texts, max_tokens=max_tokens)
    for before, after in pairwise(ranges):
        joined = sum(tokens[place] for place in before) + tokens[after[0]]
        assert len(before) == max_texts or joined > max_tokens
