"""The bridge's residual as a rollback trigger."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from embedmig.catalog.adapters import KeptAdapter
from embedmig.rollout.adapter_trigger import judge_bridge
from embedmig.rollout.triggers import Verdict

RAISED = datetime(2026, 1, 2, tzinfo=UTC)


def bridge(health: dict[str, Any] | None) -> KeptAdapter:
    return KeptAdapter(
        id=1,
        collection_id=1,
        name="a1",
        direction="bridge",
        from_model="old@1",
        to_model="new@1",
        kind="ridge",
        normalise=True,
        provenance={},
        health=health,
        size_bytes=1,
        created_at=RAISED,
        slot="v2",
        slot_id=2,
        used_since=RAISED,
        dropped_at=None,
        from_changed=False,
        to_changed=False,
    )


def seen(low: float, high: float, *, pairs: int = 200, hours: float = 1.0) -> dict[str, Any]:
    at = (RAISED + timedelta(hours=hours)).isoformat()
    return {"at": at, "pairs": pairs, "drift": {"rise": (low + high) / 2, "low": low, "high": high, "drifted": None}}


@pytest.mark.parametrize(
    ("health", "verdict"),
    [
        (seen(0.21, 0.4), Verdict.FIRES),
        (seen(-0.1, 0.2), Verdict.FINE),
        (seen(0.1, 0.3), Verdict.UNSURE),
        (seen(0.21, 0.4, pairs=29), Verdict.NO_DATA),
        # What was seen before the share rose is of an earlier step.
        (seen(0.21, 0.4, hours=-1), Verdict.NO_DATA),
        ({"at": RAISED.isoformat(), "pairs": 0, "drift": None}, Verdict.NO_DATA),
        (None, Verdict.NO_DATA),
    ],
)
def test_it_fires_when_even_the_low_end_is_beyond_the_bound(health: dict[str, Any] | None, verdict: Verdict) -> None:
    state = judge_bridge(bridge(health), RAISED, 0.2)
    assert state.verdict is verdict
    assert state.holds is (verdict is Verdict.UNSURE)
