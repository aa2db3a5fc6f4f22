"""The steps of a ramp and its hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedmig.errors import SettingsError
from embedmig.rollout.ladder import hold_left_s, next_step, steps_between
from embedmig.settings import load_settings

STEPS = (5.0, 25.0, 50.0, 100.0)

shares = st.integers(0, 10_000)


@given(shares)
def test_the_next_step_is_above_and_nothing_lies_between(share_bp: int) -> None:
    step = next_step(share_bp, STEPS)
    if step is None:
        assert share_bp == 10_000
    else:
        assert round(step * 100) > share_bp
        assert steps_between(share_bp, round(step * 100), STEPS) == ()


@given(shares, shares)
def test_a_rise_skips_the_steps_strictly_between(before: int, after: int) -> None:
    assert steps_between(before, after, STEPS) == tuple(s for s in STEPS if before < s * 100 < after)


def test_the_hold_runs_from_the_last_rise_and_not_at_0_or_100() -> None:
    assert hold_left_s(500, 3600, 48) == 47 * 3600
    assert hold_left_s(500, 49 * 3600, 48) == 0
    assert hold_left_s(0, 0, 48) == 0
    assert hold_left_s(10_000, 0, 48) == 0


@pytest.mark.parametrize("steps", ["[]", "[5, 50]", "[50, 5, 100]", "[0, 100]", "[5, 5, 100]", "[5, 101]"])
def test_steps_that_do_not_climb_to_100_are_refused(steps: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDMIG_ROLLOUT_STEPS", steps)
    with pytest.raises(SettingsError, match="EMBEDMIG_ROLLOUT_STEPS"):
        load_settings()
