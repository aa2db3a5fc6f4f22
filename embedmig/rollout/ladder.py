"""The steps that a share climbs. Pure."""

from collections.abc import Sequence


def next_step(share_bp: int, steps: Sequence[float]) -> float | None:
    """The first step (percent) above the share; None at the top."""
    return next((step for step in steps if round(step * 100) > share_bp), None)


def steps_between(before_bp: int, after_bp: int, steps: Sequence[float]) -> tuple[float, ...]:
    """The steps (percent) that a rise leaves out."""
    return tuple(step for step in steps if before_bp < round(step * 100) < after_bp)


def hold_left_s(share_bp: int, held_s: float, hold_hours: float) -> float:
    """How long the share is still to be held. At 0 there is nothing to hold, at 100 nothing to rise to."""
    return max(0.0, hold_hours * 3600 - held_s) if 0 < share_bp < 10_000 else 0.0
