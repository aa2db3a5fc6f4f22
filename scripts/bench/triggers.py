"""How often rollback triggers cry wolf in a week that is looked at every minute, and how soon they see a real fault.

    python scripts/bench/triggers.py [--runs 200]

Requests are simulated, the judging is the product's. A week at 5 %: 200 requests a minute, shadow reads of 2 % of them;
latencies (lognormal, sigma 0.5) double between night and day, 1 in 1,000 requests fails and all do for a minute a day
(an outage of both), 5 % find nothing, and the overlap lies exactly on its bound: the worst that is still right.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedmig.rollout.triggers import (
    Evidence,
    ShadowPairs,
    Side,
    excess_evidence,
    needed,
    overlap_evidence,
    p99_evidence,
    paired_evidence,
)
from embedmig.search.latency import BUCKETS, EDGES_S
from embedmig.trigger_settings import TriggerSettings

MINUTES = 24 * 60
SETTINGS = TriggerSettings(overlap=0.6)
CHECKS = 6
"""p99, errors and empty answers served, the same two in shadow reads, overlap."""
_EDGES = np.array(EDGES_S)
Counts = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class World:
    """What happens. Of the target alone: ``slower`` (times), ``more_errors``, ``more_empty`` (shares)."""

    per_minute: int = 200
    share: float = 0.05
    pairs_a_minute: int = 4
    errors: float = 0.001
    empty: float = 0.05
    overlap: float = SETTINGS.overlap
    slower: float = 1.0
    more_errors: float = 0.0
    more_empty: float = 0.0
    cycles: bool = True


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What had been counted at the end of each minute of one window, the first axis."""

    source: Side
    target: Side
    pairs: ShadowPairs


def simulate_window(rng: np.random.Generator, world: World, minutes: int = MINUTES) -> Looks:
    """One window from its beginning."""
    clock = np.arange(minutes)
    day = 1.5 - 0.5 * np.cos(2 * np.pi * clock / MINUTES) if world.cycles else np.ones(minutes)
    failing = np.full(minutes, world.errors)
    if world.cycles:
        failing[rng.integers(minutes)] = 1.0
    of_target = rng.binomial(world.per_minute, world.share, minutes)
    source = _side(rng, world.per_minute - of_target, day, failing, world.empty)
    more = np.clip(failing + world.more_errors, 0, 1)
    target = _side(rng, of_target, day * world.slower, more, world.empty + world.more_empty)
    return Looks(source=source, target=target, pairs=_pairs(rng, world, failing, more))


def _side(
    rng: np.random.Generator,
    requests: Counts,
    day: Doubles,
    failing: Doubles,
    empty: float,
) -> Side:
    errors = rng.binomial(requests, failing)
    answered = requests - errors
    minute = np.repeat(np.arange(len(requests)), answered)
    latencies = 0.005 * day[minute] * rng.lognormal(0.0, 0.5, len(minute))
    buckets = np.searchsorted(_EDGES, latencies, side="right")
    counts = np.bincount(minute * BUCKETS + buckets, minlength=len(requests) * BUCKETS).reshape(-1, BUCKETS)
    return Side(
        requests=requests.cumsum(),
        errors=errors.cumsum(),
        empty=rng.binomial(answered, empty).cumsum(),
        latency=counts.cumsum(axis=0),
    )


def _pairs(rng: np.random.Generator, world: World, of_source: Doubles, of_target: Doubles) -> ShadowPairs:
    minutes, n = len(of_source), world.pairs_a_minute
    # Exactly so on average, with a spread of 0.2.
    spread = rng.integers(-2, 3, (minutes, n, 2)).sum(axis=-1)
    tenths = np.floor(10 * world.overlap + rng.random((minutes, n))).astype(np.int64) + spread
    overlap = np.zeros((minutes, 11), dtype=np.int64)
    for place in range(n):
        overlap[np.arange(minutes), tenths[:, place]] += 1
    chances = [_each(np.stack(two, axis=-1)) for two in ((of_source, of_target), (of_source * 0 + world.empty,) * 2)]
    errors, empty = (rng.multinomial(n, chance) for chance in chances)
    return ShadowPairs(overlap=overlap.cumsum(0), errors=errors.cumsum(0), empty=empty.cumsum(0))


def _each(chance: Doubles) -> Doubles:
    """Of two independent faults: neither, the first, the second, both."""
    a, b = chance[:, 0], chance[:, 1]
    return np.stack([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b], axis=-1)


def fires(looks: Looks, window: int, *, settings: TriggerSettings = SETTINGS) -> dict[str, Flags]:
    """By trigger, at which looks it fires."""
    need = needed(settings.false_alarms / CHECKS, window)
    enough = np.minimum(looks.source.requests, looks.target.requests) >= settings.min_requests
    pairs = looks.pairs.errors.sum(axis=-1) >= settings.min_pairs
    return {
        name: _at(possible, evidence, need) for name, possible, evidence in _evidence(looks, enough, pairs, settings)
    }


def _at(possible: Flags, evidence: Evidence, need: float) -> Flags:
    fired = np.zeros(possible.shape, dtype=bool)
    fired[possible] = evidence.against >= need
    return fired


def _evidence(
    looks: Looks, enough: Flags, pairs: Flags, settings: TriggerSettings
) -> Iterator[tuple[str, Flags, Evidence]]:
    s, t = looks.source, looks.target
    # A trigger cannot fire where what was seen is within the bound: those looks need not be weighed.
    at = enough & (_p99(t.latency) > _p99(s.latency) + 4)
    yield "p99", at, p99_evidence(_some(s, at), _some(t, at), settings.p99_ratio)
    for name, margin in (("errors", settings.error_rate), ("empty", settings.empty_rate)):
        k_s, k_t, of = getattr(s, name), getattr(t, name), getattr(looks.pairs, name)
        at = enough & (k_t / np.maximum(t.requests, 1) - k_s / np.maximum(s.requests, 1) > margin)
        yield name, at, excess_evidence(k_s[at], s.requests[at], k_t[at], t.requests[at], margin)
        yield f"{name} in pairs", pairs, paired_evidence(of[pairs], margin)
    yield "overlap", pairs, overlap_evidence(looks.pairs.overlap[pairs], settings.overlap)


def _p99(latency: Counts) -> Counts:
    """The bucket of the 99th percentile."""
    place: Counts = (latency.cumsum(axis=-1) >= 0.99 * latency.sum(axis=-1)[..., None]).argmax(axis=-1)
    return place


def _some(side: Side, at: Flags) -> Side:
    return Side(requests=side.requests[at], errors=side.errors[at], empty=side.empty[at], latency=side.latency[at])


def week_alarms(seed: int, world: World) -> dict[str, bool]:
    """By trigger, whether it fired within a week of looks every minute."""
    rng = np.random.default_rng(seed)
    fired: dict[str, bool] = {}
    for window in range(7):
        for name, at in fires(simulate_window(rng, world), window).items():
            fired[name] = fired.get(name, False) or bool(at.any())
    return fired


def requests_until(seed: int, world: World, name: str, minutes: int = MINUTES) -> int | None:
    """How many requests of the target (pairs, for what is seen in pairs) it took; None: not within the window."""
    looks = simulate_window(np.random.default_rng(seed), world, minutes)
    at = fires(looks, 0)[name]
    if not at.any():
        return None
    in_pairs = name == "overlap" or name.endswith("pairs")
    seen = looks.pairs.errors.sum(axis=-1) if in_pairs else looks.target.requests
    return int(seen[at.argmax()])


FAULTS = (
    ("p99", "p99 doubled", World(slower=2.0), 2_500),
    ("p99", "p99 three times", World(slower=3.0), 1_000),
    ("errors", "2 % more errors", World(more_errors=0.02), 9_000),
    ("errors", "5 % more errors", World(more_errors=0.05), 1_000),
    ("errors in pairs", "5 % more errors", World(more_errors=0.05), 800),
    ("empty", "10 % more empty answers", World(more_empty=0.10), 1_000),
    ("overlap", "overlap 0.5, bound 0.6", World(overlap=0.5), 250),
    ("overlap", "overlap 0.55, bound 0.6", World(overlap=0.55), 800),
)
"""Trigger, fault, and within how many requests of the target (or pairs) 95 % of the runs see it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="weeks without a fault, and half as many of each fault")
    runs = parser.parse_args().runs
    began = time.monotonic()
    weeks = [week_alarms(seed, World()) for seed in range(runs)]
    rolled = sum(any(week.values()) for week in weeks)
    print(f"no fault: {rolled} of {runs} simulated weeks were rolled back ({time.monotonic() - began:.0f} s)")
    for name in weeks[0]:
        print(f"  {name:16} {sum(week[name] for week in weeks)}")
    for name, said, world, _ in FAULTS:
        took = [requests_until(seed, world, name) for seed in range(runs // 2)]
        seen = np.array([n if n is not None else np.inf for n in took])
        half, most = np.quantile(seen, [0.5, 0.95], method="higher")
        print(f"{said:26} {name:16} seen after {half:,.0f} (median), {most:,.0f} (95 %)")


if __name__ == "__main__":
    main()
