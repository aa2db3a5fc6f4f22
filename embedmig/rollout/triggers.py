"""Rollback triggers: whether what was served and shadowed speaks against the target, and how surely. Pure.

A trigger compares evidence with what it needs: enough against the target fires it, enough for the target lets the share
rise, and between the two, or without enough requests, a person is asked. Evidence begins anew with each rise and each
window; what may be a false alarm is shared out among the triggers, and among all windows that will ever be.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from math import ceil, floor, isfinite, log

import numpy as np
import numpy.typing as npt

from embedmig.rollout import sequences
from embedmig.rollout.sequences import Doubles
from embedmig.search.latency import BUCKETS, GROWTH, quantile_s
from embedmig.trigger_settings import TriggerSettings

Counts = npt.NDArray[np.int64]

TAIL = 0.01
"""Beyond the 99th percentile."""
TENTHS: Doubles = np.arange(11) / 10
DIFFERENCES: Doubles = np.array([-1.0, 0.0, 1.0])
DRIFT_EDGES = 16
"""A p99 that wanders over the day visits other edges of the buckets: by so many, a factor of 2.1, it may."""
TWO_SIDES = log(2)
"""What it costs that either slot's requests may mislead."""
_SHARES: Doubles = np.concatenate([[0.0], np.geomspace(1e-5, 0.99, 80)])
"""Where a share of the source's may lie."""


class Verdict(StrEnum):
    """What a trigger says."""

    FINE = "fine"
    UNSURE = "unsure"
    NO_DATA = "no data"
    FIRES = "fires"


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one slot answered by the routing keys of its callers. Every array may have leading axes, the same in all."""

    requests: Counts
    errors: Counts
    empty: Counts
    latency: Counts
    """(..., 256) by bucket."""


@dataclass(frozen=True, kw_only=True)
class ShadowPairs:
    """What both slots gave for the same requests."""

    overlap: Counts
    """(..., 11) pairs by overlap@10 in tenths."""
    errors: Counts
    """(..., 4) pairs in which neither, the source, the target, both failed."""
    empty: Counts
    """(..., 4) the same for answers without a hit."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """What was seen between two whole hours. ``number`` counts from the last rise, from 0."""

    number: int
    source: Side
    target: Side
    drawn: ShadowPairs
    by_label: Mapping[str, ShadowPairs] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TriggerState:
    """One trigger at one look."""

    name: str
    verdict: Verdict
    measured: str
    """What was seen, in words, with the bound."""
    seen: int
    """Requests or pairs that it hangs on."""
    wanted: int
    """The least that it wants to see."""
    to_firing: float
    """0 to 1: how much of the evidence that fires it is there."""
    to_fine: float
    """0 to 1: how much of the evidence that lets the share rise is there."""
    required: bool
    """Whether it holds the share without data."""

    def of(self, collection: str) -> "TriggerState":
        """Named with the collection, where there are several."""
        return replace(self, name=f"{collection}: {self.name}")

    def __str__(self) -> str:
        if self.verdict is Verdict.NO_DATA:
            return f"{self.name}: {self.seen:,} seen, {self.wanted:,} wanted"
        return f"{self.name}: {self.measured}"

    @property
    def holds(self) -> bool:
        """Whether the share may not rise before a person has said so."""
        return self.verdict is Verdict.UNSURE or (self.verdict is Verdict.NO_DATA and self.required)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Logarithms of wealth, for and against the target; both 0 where nothing is known."""

    against: Doubles
    in_favour: Doubles


def judge(windows: Sequence[Window], settings: TriggerSettings, *, members: int = 1) -> list[TriggerState]:
    """The armed triggers, on the window that runs and the one before it: one that fires in either fires, one that is
    fine in either is fine. ``members``: how many collections of the group are judged alike."""
    checks = list(_checks(settings))
    alpha = settings.false_alarms / max(len(checks), 1) / members
    return [_judge_one(check, windows, alpha) for check in checks]


def needed(alpha: float, window: int) -> float:
    """What the logarithm of a wealth must reach in the window of that number: 1/2, 1/6, 1/12, ... of alpha add up."""
    return log((window + 1) * (window + 2) / alpha)


def p99_evidence(source: Side, target: Side, ratio: float) -> Evidence:
    """Whether the target's 99th percentile is over ``ratio`` times the source's. To the width of a bucket, 5 %."""
    steps = log(ratio) / log(GROWTH)
    s_slower, s_faster = _beyond_edges(source)
    t_slower, t_faster = _beyond_edges(target)
    return Evidence(
        against=_both(s_faster, t_slower, ceil(steps - 1e-9)), in_favour=_both(s_slower, t_faster, floor(steps + 1e-9))
    )


def excess_evidence(source: Counts, of_source: Counts, target: Counts, of_target: Counts, margin: float) -> Evidence:
    """Whether ``target`` of ``of_target`` requests is a share larger by ``margin`` than ``source`` of ``of_source``.

    Where some share lies between the two, each side speaks for itself, and time of day moves both alike.
    """
    k_s, n_s, k_t, n_t = (np.asarray(x)[..., None] for x in (source, of_source, target, of_target))
    over = np.minimum(
        sequences.log_wealth_below(k_s, n_s, _SHARES), sequences.log_wealth_above(k_t, n_t, _SHARES + margin)
    )
    under = np.minimum(
        np.where(_SHARES == 0, np.inf, sequences.log_wealth_above(k_s, n_s, _SHARES)),
        sequences.log_wealth_below(k_t, n_t, _SHARES + margin),
    )
    return Evidence(against=over.max(axis=-1) - TWO_SIDES, in_favour=under.max(axis=-1) - TWO_SIDES)


def paired_evidence(counts: Counts, margin: float) -> Evidence:
    """Whether the target alone fails in a share of pairs larger by ``margin`` than the source alone does."""
    differences = np.stack([counts[..., 1], counts[..., 0] + counts[..., 3], counts[..., 2]], axis=-1)
    return Evidence(
        against=sequences.log_wealth_mean_above(DIFFERENCES, differences, margin),
        in_favour=sequences.log_wealth_mean_below(DIFFERENCES, differences, margin),
    )


def overlap_evidence(overlap: Counts, bound: float) -> Evidence:
    """Whether the mean overlap is under ``bound``."""
    return Evidence(
        against=sequences.log_wealth_mean_below(TENTHS, overlap, bound),
        in_favour=sequences.log_wealth_mean_above(TENTHS, overlap, bound),
    )


@dataclass(frozen=True, kw_only=True)
class _Check:
    """One armed trigger."""

    name: str
    wanted: int
    seen: Callable[[Window], int]
    weigh: Callable[[Window], Evidence]
    measure: Callable[[Window], str]
    required: bool = True


def _judge_one(check: _Check, windows: Sequence[Window], alpha: float) -> TriggerState:
    against, in_favour, enough = 0.0, 0.0, []
    for window in windows:
        if check.seen(window) >= check.wanted:
            evidence, need = check.weigh(window), needed(alpha, window.number)
            against = max(against, float(evidence.against) / need)
            in_favour = max(in_favour, float(evidence.in_favour) / need)
            enough.append(window)
    shown = enough[-1] if enough else max(windows, key=check.seen)
    return TriggerState(
        name=check.name,
        verdict=_verdict(against, in_favour, known=bool(enough)),
        measured=check.measure(shown) if check.seen(shown) else "nothing was seen",
        seen=check.seen(shown),
        wanted=check.wanted,
        to_firing=min(against, 1.0),
        to_fine=min(in_favour, 1.0),
        required=check.required,
    )


def _verdict(against: float, in_favour: float, *, known: bool) -> Verdict:
    if not known:
        return Verdict.NO_DATA
    if against >= 1:
        return Verdict.FIRES
    return Verdict.FINE if in_favour >= 1 else Verdict.UNSURE


def _checks(settings: TriggerSettings) -> Iterator[_Check]:
    if isfinite(settings.p99_ratio):
        yield _p99_check(settings)
    for name, margin in (("errors", settings.error_rate), ("empty", settings.empty_rate)):
        if margin < 1:
            yield _excess_check(name, margin, settings)
            yield _paired_check(name, margin, settings)
    if settings.overlap > 0:
        yield _overlap_check("overlap@10", settings.overlap, settings, lambda window: window.drawn)
    for label, bound in settings.label_overlap.items():
        yield _overlap_check(f"overlap@10 of {label}", bound, settings, partial(_of_label, label=label))


def _p99_check(settings: TriggerSettings) -> _Check:
    def measure(window: Window) -> str:
        source, target = (quantile_s(side.latency.tolist(), 1 - TAIL) for side in (window.source, window.target))
        if source is None or target is None:
            return "nothing was answered"
        return (
            f"p99 {target * 1000:.1f} ms, the source's {source * 1000:.1f} ms: {target / source:.2f} times, at most"
            f" {settings.p99_ratio:g} times"
        )

    return _Check(
        name="p99 latency",
        wanted=settings.min_requests,
        seen=_requests,
        weigh=lambda window: p99_evidence(window.source, window.target, settings.p99_ratio),
        measure=measure,
    )


def _excess_check(name: str, margin: float, settings: TriggerSettings) -> _Check:
    def sides(window: Window) -> tuple[Counts, Counts, Counts, Counts]:
        source, target = window.source, window.target
        return getattr(source, name), source.requests, getattr(target, name), target.requests

    def measure(window: Window) -> str:
        k_s, n_s, k_t, n_t = map(int, sides(window))
        return (
            f"{_percent(k_t, n_t)} of {n_t:,} requests, {_percent(k_s, n_s)} of the source's {n_s:,}: at most"
            f" {margin:.2%} more"
        )

    return _Check(
        name="errors" if name == "errors" else "empty results",
        wanted=settings.min_requests,
        seen=_requests,
        weigh=lambda window: excess_evidence(*sides(window), margin),
        measure=measure,
    )


def _paired_check(name: str, margin: float, settings: TriggerSettings) -> _Check:
    def counts(window: Window) -> Counts:
        found: Counts = getattr(window.drawn, name)
        return found

    def measure(window: Window) -> str:
        pairs = counts(window)
        of = int(pairs.sum())
        return (
            f"the target alone in {_percent(int(pairs[2]), of)} of {of:,} pairs, the source alone in"
            f" {_percent(int(pairs[1]), of)}: at most {margin:.2%} more"
        )

    return _Check(
        name=f"{'errors' if name == 'errors' else 'empty results'} in shadow reads",
        wanted=settings.min_pairs,
        seen=lambda window: int(counts(window).sum()),
        weigh=lambda window: paired_evidence(counts(window), margin),
        measure=measure,
        required=False,
    )


def _overlap_check(
    name: str, bound: float, settings: TriggerSettings, of: Callable[[Window], ShadowPairs | None]
) -> _Check:
    def counts(window: Window) -> Counts:
        pairs = of(window)
        return np.zeros(TENTHS.size, dtype=np.int64) if pairs is None else pairs.overlap

    def measure(window: Window) -> str:
        seen = counts(window)
        return f"{float(seen @ TENTHS) / int(seen.sum()):.3f} over {int(seen.sum()):,} pairs, at least {bound:g}"

    return _Check(
        name=name,
        wanted=settings.min_pairs,
        seen=lambda window: int(counts(window).sum()),
        weigh=lambda window: overlap_evidence(counts(window), bound),
        measure=measure,
    )


def _of_label(window: Window, label: str) -> ShadowPairs | None:
    return window.by_label.get(label)


def _requests(window: Window) -> int:
    return int(min(window.source.requests, window.target.requests))


def _percent(count: int, of: int) -> str:
    return f"{count / of:.2%}" if of else "none"


def _beyond_edges(side: Side) -> tuple[Doubles, Doubles]:
    """By edge: evidence that more, and that fewer, than 1 % are slower. Less the price of an edge that wanders."""
    slower = np.cumsum(side.latency[..., ::-1], axis=-1)[..., ::-1][..., 1:]
    of = side.latency.sum(axis=-1)[..., None]
    price = log(DRIFT_EDGES) + TWO_SIDES
    return (
        sequences.log_wealth_above(slower, of, TAIL) - price,
        sequences.log_wealth_below(slower, of, TAIL) - price,
    )


def _both(source: Doubles, target: Doubles, steps: int) -> Doubles:
    """The best edge where both speak, the target's ``steps`` above the source's."""
    steps = min(steps, BUCKETS - 2)
    best: Doubles = np.minimum(source[..., : BUCKETS - 1 - steps], target[..., steps:]).max(axis=-1)
    return best
