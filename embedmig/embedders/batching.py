"""Cuts texts into requests: pure."""

from collections.abc import Sequence


def split_requests(tokens: Sequence[int], *, max_texts: int, max_tokens: int) -> list[range]:
    """Ranges of neighbouring texts, none with more texts or tokens than that; a text longer than a request may be
    stands alone."""
    ranges: list[range] = []
    start = total = 0
    for place, count in enumerate(tokens):
        if place > start and (place - start >= max_texts or total + count > max_tokens):
            ranges.append(range(start, place))
            start, total = place, 0
        total += count
    if start < len(tokens):
        ranges.append(range(start, len(tokens)))
    return ranges
