"""Cuts the rows of a chunk into groups that are embedded and written together. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]
Counts = npt.NDArray[np.int64]

_FEW_PAGES = 64
"""Fewer pages than this leave groups too small to embed well: then order is given up."""
_CUT_OFF = 6
"""Bytes a token, at most, as far as a model's limit is concerned."""


@dataclass(frozen=True, kw_only=True)
class GroupSize:
    """How much goes into one group."""

    rows: int = 512
    text_bytes: int = 128 * 1024
    """Of what the model reads: about 32,000 tokens."""
    memory_bytes: int = 8 * 1024 * 1024
    """Of whole texts, however much of them the model cuts off."""
    max_tokens: int | None = None
    """Where the model truncates."""


def slice_by_length(text_bytes: Counts, size: GroupSize) -> list[Indices]:
    """Groups of texts that are alike in length, which a model embeds with the least padding."""
    return list(_cut(np.argsort(text_bytes, kind="stable"), text_bytes, size))


def slice_by_page(text_bytes: Counts, pages: Counts, size: GroupSize) -> list[Indices]:
    """Groups that hold a row of each page at most, the second rows of the pages after the first ones, and so on.

    An update moves a row off its full page, but leaves room behind for the next update there: with one row a page and
    transaction, most updates find such room and leave the table's indexes alone (HOT).
    """
    if len(np.unique(pages)) < _FEW_PAGES:
        return slice_by_length(text_bytes, size)
    ranks = _ranks(pages)
    order = np.lexsort((text_bytes, ranks))
    bounds = np.flatnonzero(np.diff(ranks[order])) + 1
    return [group for same_rank in np.split(order, bounds) for group in _cut(same_rank, text_bytes, size)]


def _ranks(pages: Counts) -> Counts:
    """How many rows of the same page come before each."""
    order = np.argsort(pages, kind="stable")
    arranged = pages[order]
    starts = np.flatnonzero(np.r_[True, arranged[1:] != arranged[:-1]])
    lengths = np.diff(np.r_[starts, len(arranged)])
    ranks = np.empty(len(pages), dtype=np.int64)
    ranks[order] = np.arange(len(pages)) - np.repeat(starts, lengths)
    return ranks


def _cut(order: Indices, text_bytes: Counts, size: GroupSize) -> Iterator[Indices]:
    read = text_bytes if size.max_tokens is None else np.minimum(text_bytes, size.max_tokens * _CUT_OFF)
    start = 0
    while start < len(order):
        window = order[start : start + size.rows]
        fits = (np.cumsum(read[window]) <= size.text_bytes) & (np.cumsum(text_bytes[window]) <= size.memory_bytes)
        count = max(1, int(np.count_nonzero(fits)))
        yield order[start : start + count]
        start += count
