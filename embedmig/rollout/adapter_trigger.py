"""A bridge as a rollback trigger: whether it still maps as it did when it was made. Pure but for one reading."""

from datetime import datetime
from math import isfinite
from typing import Any

from embedmig.catalog import adapters, slots
from embedmig.catalog.adapters import KeptAdapter
from embedmig.db import Connection
from embedmig.rollout.triggers import TriggerState, Verdict
from embedmig.trigger_settings import TriggerSettings
from embedmig.types import Collection, Migration

NAME = "bridge residual"
_PAIRS = 30
"""Below so many nothing is concluded: see ``adapters.residuals``."""


def look_at_bridge(
    conn: Connection, collection: Collection, migration: Migration, raised_at: datetime, settings: TriggerSettings
) -> list[TriggerState]:
    """The trigger of the bridge that filled the target, by the last ``adapter eval`` since the share rose; none where
    there is no bridge, or the trigger is off."""
    target = next((slot for slot in slots.list_slots(conn, collection) if slot.id == migration.target_id), None)
    bridge = None if target is None else adapters.used_adapter(conn, collection, target, "bridge")
    if bridge is None or not isfinite(settings.residual_rise):
        return []
    return [judge_bridge(bridge, raised_at, settings.residual_rise)]


def judge_bridge(bridge: KeptAdapter, raised_at: datetime, bound: float) -> TriggerState:
    """Fires when the whole interval of the residual's rise is beyond ``bound``; fine when it is below."""
    health = bridge.health
    drift = None if health is None or datetime.fromisoformat(health["at"]) < raised_at else health["drift"]
    if health is None or drift is None or health["pairs"] < _PAIRS:
        return _state(Verdict.NO_DATA, "adapter eval was not run since the share rose", seen=0)
    verdict = Verdict.FIRES if drift["low"] > bound else Verdict.FINE if drift["high"] <= bound else Verdict.UNSURE
    measured = (
        f"{bridge.name} misses by {drift['rise']:+.1%} of what it did when it was made [{drift['low']:+.1%} to"
        f" {drift['high']:+.1%}], at most {bound:+.0%}"
    )
    return _state(verdict, measured, seen=health["pairs"])


def _state(verdict: Verdict, measured: str, *, seen: int) -> TriggerState:
    sides: dict[str, Any] = {
        "to_firing": float(verdict is Verdict.FIRES),
        "to_fine": float(verdict is Verdict.FINE),
    }
    return TriggerState(
        name=NAME, verdict=verdict, measured=measured, seen=seen, wanted=_PAIRS, required=False, **sides
    )
