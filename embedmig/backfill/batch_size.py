"""How large a batch is, by how long batches take: a moving average of duration over the time aimed at."""

from dataclasses import dataclass, replace

from embedmig.backfill.slices import GroupSize

LOWEST_USE, HIGHEST_USE = 0.90, 0.95
"""Of the time aimed at, a batch takes between these shares: then its size stays."""
MOST_GROWTH = 1.2
_SMOOTHING = 0.4
_FEWEST_ROWS, _MOST_ROWS = 16, 8192
_BYTES_A_ROW = 1024


@dataclass(frozen=True, kw_only=True)
class BatchPace:
    """The size in use, and what is known of its pace."""

    rows: int
    use: float | None = None
    """Moving average of duration over the time aimed at; None before the first batch of this size."""


def note_batch(pace: BatchPace, *, rows: int, seconds: float, aim_s: float) -> BatchPace:
    """Takes in a batch of ``rows`` that took ``seconds``. Grows by at most a fifth, shrinks as far as it must. Pure.

    A batch smaller than asked for (the end of a chunk) is judged as if it had been whole.
    """
    if rows <= 0 or seconds <= 0:
        return pace
    use = seconds / aim_s * (pace.rows / rows)
    average = use if pace.use is None else pace.use + _SMOOTHING * (use - pace.use)
    if LOWEST_USE <= average <= HIGHEST_USE:
        return replace(pace, use=average)
    factor = min(MOST_GROWTH, (LOWEST_USE + HIGHEST_USE) / 2 / average)
    resized = max(_FEWEST_ROWS, min(_MOST_ROWS, round(pace.rows * factor)))
    # The average speaks of the old size: carried over in proportion, so that one slow batch does not count twice.
    return BatchPace(rows=resized, use=average * resized / pace.rows)


class BatchSizer:
    """The size that the next chunk is cut to."""

    def __init__(self, size: GroupSize, aim_s: float | None) -> None:
        """``aim_s``: how long writing a batch is to take; None: the size stays."""
        self._size, self._aim_s = size, aim_s
        self._pace = BatchPace(rows=size.rows)

    @property
    def size(self) -> GroupSize:
        """What is in use now."""
        if self._aim_s is None:
            return self._size
        rows = self._pace.rows
        return replace(self._size, rows=rows, text_bytes=max(self._size.text_bytes, rows * _BYTES_A_ROW))

    def note(self, rows: int, seconds: float) -> None:
        """Takes in a batch that was written."""
        if self._aim_s is not None:
            self._pace = note_batch(self._pace, rows=rows, seconds=seconds, aim_s=self._aim_s)
