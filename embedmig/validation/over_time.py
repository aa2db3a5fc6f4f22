"""Two reports of the same collection side by side: what changed between last week's and today's. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from embedmig.validation.intervals import Estimate, estimate_mean
from embedmig.validation.report import QueryResult, ValidationReport


@dataclass(frozen=True, kw_only=True)
class Change:
    """One measure in both reports, over all of each one's queries; ``difference`` over those that both asked."""

    measure: str
    before: float | None
    after: float | None
    difference: Estimate | None
    """Later less earlier, query by query; None where they share no query with a value."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A query whose overlap or quality changed. ``overlap`` and ``quality``: later less earlier."""

    text: str
    label: str | None
    overlap: float
    quality: float | None
    """Of the new slot's nDCG@10; None where one of the two has no judgments."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An earlier and a later report."""

    common: int
    """Queries that both asked."""
    only_before: int
    only_after: int
    changes: tuple[Change, ...]
    moved: tuple[Moved, ...]
    """The common queries that changed, those that changed most first."""
    notes: tuple[str, ...]
    """What else differs between the two, and may be why."""


def compare_reports(before: ValidationReport, after: ValidationReport, *, confidence: float = 0.95) -> Comparison:
    """``before`` and ``after`` may have asked other queries; differences are over those that both asked, by their
    text and label, weighted as in the later one."""
    earlier = {(one.text, one.label): one for one in before.results}
    pairs = [(earlier[key], one) for one in after.results if (key := (one.text, one.label)) in earlier]
    return Comparison(
        common=len(pairs),
        only_before=len(before.results) - len(pairs),
        only_after=len(after.results) - len(pairs),
        changes=tuple(_changes(before, after, pairs, confidence)),
        moved=tuple(_moved(pairs)),
        notes=tuple(_notes(before, after)),
    )


def _changes(
    before: ValidationReport, after: ValidationReport, pairs: list[tuple[QueryResult, QueryResult]], confidence: float
) -> Iterator[Change]:
    depths = sorted(set(before.agreement.overlap) | set(after.agreement.overlap))
    for k in depths:
        one, other = before.agreement.overlap.get(k), after.agreement.overlap.get(k)
        yield Change(
            measure=f"overlap@{k}",
            before=None if one is None else one.mean,
            after=None if other is None else other.mean,
            difference=_difference(pairs, "overlap", confidence) if k == 10 else None,
        )
    for side in ("source", "target"):
        means = [{one.measure: getattr(one, side).mean for one in report.quality} for report in (before, after)]
        for measure in {**means[0], **means[1]}:
            yield Change(
                measure=f"{measure} {'old' if side == 'source' else 'new'}",
                before=means[0].get(measure),
                after=means[1].get(measure),
                difference=_difference(pairs, f"{side}_quality", confidence) if measure == "nDCG@10" else None,
            )


def _difference(pairs: list[tuple[QueryResult, QueryResult]], field: str, confidence: float) -> Estimate | None:
    both = [(getattr(a, field), getattr(b, field), b.weight) for a, b in pairs]
    known = [(y - x, weight) for x, y, weight in both if x is not None and y is not None]
    if not known:
        return None
    values, weights = np.array(known, dtype=np.float64).T
    return estimate_mean(values, weights, bounds=(-1.0, 1.0), confidence=confidence)


def _moved(pairs: list[tuple[QueryResult, QueryResult]]) -> list[Moved]:
    moved = []
    for one, other in pairs:
        a, b = one.target_quality, other.target_quality
        quality = None if a is None or b is None else b - a
        overlap = other.overlap - one.overlap
        if abs(overlap) > 1e-9 or abs(quality or 0.0) > 1e-9:
            moved.append(Moved(text=other.text, label=other.label, overlap=overlap, quality=quality))
    return sorted(moved, key=lambda one: (-abs(one.quality or 0.0) - abs(one.overlap), one.text))


def _notes(before: ValidationReport, after: ValidationReport) -> Iterator[str]:
    facts = [
        ("old slot", *(f"{one.source.slot} ({one.source.model})" for one in (before, after))),
        ("new slot", *(f"{one.target.slot} ({one.target.model})" for one in (before, after))),
        ("rows judged", *(f"{one.rows.judged:,}" for one in (before, after))),
        ("share of the rows served", *(f"{one.rows.part:.0%}" for one in (before, after))),
        ("bridged rows", *(f"{one.rows.bridged_share:.0%}" for one in (before, after))),
        ("rows taken together by", *(str(one.by_document) for one in (before, after))),
        ("thresholds", *(str(one.thresholds) for one in (before, after))),
    ]
    for what, was, became in facts:
        if was != became:
            yield f"{what}: {was} before, {became} now"
