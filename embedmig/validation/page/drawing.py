"""From a report's numbers to what the page draws: shares of a width, tables of ranks. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from embedmig.validation.cutoffs import Band
from embedmig.validation.intervals import Estimate
from embedmig.validation.report import QueryResult, Side

SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A stretch of numbers that a drawing's width stands for."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Where ``value`` lies, in percent of the width, 0 to 100."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 2)

    def width(self, low: float, high: float) -> float:
        """How wide the stretch from ``low`` to ``high`` is, in percent of the width."""
        return round(self.at(high) - self.at(low), 2)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A bar of a histogram. Shares from 0 to 1."""

    overlap: float
    share: float
    """Of all queries' weight."""
    height: float
    """Of the tallest bar."""


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What became of the results that stood at one old rank: shares from 0 to 1 of those results."""

    rank: int
    now: tuple[float, ...]
    """By new rank, the first first."""
    left: float
    """No more among the first ten."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A result in one of a query's two lists; ranks count from 1."""

    rank: int
    key: str
    similarity: float
    grade: int | None
    text: str | None
    other: int | None
    """Its rank in the other list; None: it is not there."""


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A query with both lists."""

    number: int
    result: QueryResult
    old: tuple[Row, ...]
    new: tuple[Row, ...]

    @property
    def links(self) -> list[tuple[int, int]]:
        """Old and new rank of each shared result."""
        return [(row.rank, row.other) for row in self.old if row.other is not None]

    @property
    def entered(self) -> int:
        """How many results are new."""
        return sum(row.other is None for row in self.new)

    @property
    def left(self) -> int:
        """How many results are gone."""
        return sum(row.other is None for row in self.old)

    @property
    def gain(self) -> float | None:
        """The change in nDCG@10; None where nobody judged."""
        before, after = self.result.source_quality, self.result.target_quality
        return None if before is None or after is None else after - before


UNIT = Scale(low=0, high=1)


def overlap_histogram(results: Sequence[QueryResult]) -> list[Bar]:
    """The queries' weight by overlap@10, in tenths from 0 to 1."""
    shares = [0.0] * (SHOWN + 1)
    total = sum(result.weight for result in results)
    for result in results:
        shares[round(result.overlap * SHOWN)] += result.weight / total
    most = max(shares, default=0.0) or 1.0
    return [Bar(overlap=n / SHOWN, share=share, height=share / most) for n, share in enumerate(shares)]


def fates(results: Sequence[QueryResult]) -> list[Fate]:
    """Old against new rank: for each old rank, where its results stand now."""
    found = []
    for place in range(SHOWN):
        now, left, total = [0.0] * SHOWN, 0.0, 0.0
        for result in results:
            if place >= len(result.source):
                continue
            total += result.weight
            rank = _rank(result.source[place].key, [found.key for found in result.target])
            if rank is None:
                left += result.weight
            else:
                now[rank - 1] += result.weight
        if total:
            found.append(Fate(rank=place + 1, now=tuple(one / total for one in now), left=left / total))
    return found


def entered(results: Sequence[QueryResult]) -> list[float]:
    """For each new rank, the share of its results that were not among the old first ten."""
    shares = []
    for place in range(SHOWN):
        there = [result for result in results if place < len(result.target)]
        total = sum(result.weight for result in there)
        new = sum(
            result.weight for result in there if result.target[place].key not in {found.key for found in result.source}
        )
        shares.append(new / total if total else 0.0)
    return shares


def scale_around(estimates: Sequence[Estimate], *marks: float) -> Scale:
    """Wide enough for all the intervals and marks, with some air."""
    values = [*marks, *(end for one in estimates for end in (one.low, one.high))]
    air = 0.06 * (max(values) - min(values)) or 0.01
    return Scale(low=min(values) - air, high=max(values) + air)


def band_scale(sides: Sequence[Side]) -> Scale:
    """Wide enough for all of the sides' bands."""
    values = [value for side in sides for band in _quantiles(side.band) for value in band]
    air = 0.04 * (max(values) - min(values)) or 0.01
    return Scale(low=min(values) - air, high=max(values) + air)


def pair_up(number: int, result: QueryResult, old: Side, new: Side, texts: dict[tuple[str, ...], str]) -> Changed:
    """Both lists of a query, each result knowing its place in the other."""
    before, after = [found.key for found in result.source], [found.key for found in result.target]

    def rows(side: Side, mine: str, others: list[tuple[str, ...]]) -> tuple[Row, ...]:
        return tuple(
            Row(
                rank=rank,
                key=", ".join(part for part in found.key if part),
                similarity=_similarity(found.distance, side.distance),
                grade=found.grade,
                text=texts.get(found.key),
                other=_rank(found.key, others),
            )
            for rank, found in enumerate(getattr(result, mine), 1)
        )

    return Changed(number=number, result=result, old=rows(old, "source", after), new=rows(new, "target", before))


def _quantiles(band: Band) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return band.nearest, band.shown


def _rank(key: tuple[str, ...], keys: Sequence[tuple[str, ...]]) -> int | None:
    return keys.index(key) + 1 if key in keys else None


def _similarity(distance: float, kind: str) -> float:
    return {"cosine": 1 - distance, "ip": -distance}.get(kind, distance)
