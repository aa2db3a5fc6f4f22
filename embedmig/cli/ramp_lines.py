"""The lines of status that tell of the share."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedmig.commands.ramp_status import RampStatus
    from embedmig.commands.traffic import ServedBySlot, ShadowsSeen
    from embedmig.rollout.triggers import TriggerState


def describe_ramp(ramp: "RampStatus", source: str, target: str | None) -> list[str]:
    """One fact a line, its subject first."""
    lines = [*_ladder(ramp), *(_served(slot) for slot in ramp.served)]
    if ramp.shadows is not None:
        lines += _shadows(ramp.shadows, source, target or "")
    shown = [state for state in ramp.triggers if ramp.held_since or state.seen]
    lines += [_trigger(state) for state in shown]
    lines += [
        f"guard   {each.slot}: {each.compared:,} rows compared, the last at {each.looked_at:%m-%d %H:%M}"
        for each in ramp.guarded
    ]
    return [*lines, *(f"guard   {writer}" for writer in ramp.suspects)]


def _ladder(ramp: "RampStatus") -> Iterator[str]:
    from embedmig.stages import in_words

    if ramp.tripped:
        yield f"tripped a rollback trigger took the share back: {ramp.tripped}"
    if ramp.left_percent is not None:
        yield f"left    the share was {ramp.left_percent:g} % before it was taken back (rollout --resume)"
    if ramp.hold_left_s and ramp.held_since:
        yield f"held    since {ramp.held_since:%Y-%m-%d %H:%M}, for another {in_words(ramp.hold_left_s)}"


def _served(slot: "ServedBySlot") -> str:
    times = f"p50 {_ms(slot.p50_ms)}, p99 {_ms(slot.p99_ms)}, {_ms(slot.embed_ms)} to embed"
    faults = f"{slot.errors / slot.requests:.2%} errors, {slot.empty / slot.requests:.2%} empty"
    return f"served  {slot.slot}: {slot.requests:,} requests in 24 h, {times}, {faults}"


def _shadows(seen: "ShadowsSeen", source: str, target: str) -> Iterator[str]:
    overlap = "?" if seen.overlap_at_10 is None else f"{seen.overlap_at_10:.3f}"
    labels = "".join(f", {each.label} {each.overlap_at_10:.3f} of {each.pairs:,}" for each in seen.labels)
    yield f"shadow  {seen.pairs:,} pairs since {seen.since:%m-%d %H:%M}: overlap@10 {overlap}{labels}"
    times = f"p99 {source} {_ms(seen.source_p99_ms)}, {target} {_ms(seen.target_p99_ms)}"
    dropped = f"{seen.dropped_queue:,} (queue), {seen.dropped_epoch:,} (epoch)"
    yield f"        {times}; dropped {dropped}; not shadowed {seen.not_shadowed:,}"


def _trigger(state: "TriggerState") -> str:
    near = f"; {state.to_firing:.0%} of what fires it" if state.seen >= state.wanted else ""
    return f"trigger {state.verdict.value}: {state}{near}"


def _ms(value: float | None) -> str:
    return "?" if value is None else f"{value:.1f} ms"
