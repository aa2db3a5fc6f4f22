"""The thresholds of the rollback triggers, decided before a migration: ``[rollout.triggers]`` in embedmig.toml."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


class TriggerSettings(BaseModel):
    """A threshold at its end of the scale switches its trigger off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    p99_ratio: Annotated[float, Field(ge=1)] = 1.3
    """The target's 99th percentile of the statement, over the source's; ``inf``: off."""
    error_rate: Share = 0.01
    """So much larger may the share of the target's requests that fail be than the source's; 1: off."""
    empty_rate: Share = 0.02
    """The same of those that find nothing; 1: off."""
    overlap: Share = 0.0
    """The least overlap@10 of shadow reads; 0: off, since two good models may well find different rows."""
    label_overlap: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(default_factory=dict)
    """The same for the requests of one label each."""
    residual_rise: Annotated[float, Field(ge=0)] = 0.2
    """So much larger, relative, may the bridge's mean residual on fresh pairs be than when it was made; ``inf``: off.
    Measured by ``adapter eval``."""
    min_requests: Annotated[int, Field(ge=1)] = 500
    """A trigger on what was served wants so many requests of each slot, within a window, before it says anything."""
    min_pairs: Annotated[int, Field(ge=1)] = 200
    """A trigger on shadow reads wants so many pairs."""
    window_hours: Annotated[int, Field(ge=1)] = 24
    """Evidence begins anew after so long, so that a fault is not hidden by the good days before it."""
    false_alarms: Annotated[float, Field(gt=0, le=0.05)] = 0.01
    """How often a step of the ladder may be rolled back though nothing is wrong, however long it is looked at."""


class RolloutSettings(BaseModel):
    """``[rollout]`` in embedmig.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    triggers: TriggerSettings = Field(default_factory=TriggerSettings)
