"""What status tells of the share: how long it is held, what was served and shadowed, and what watches it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from embedmig.catalog import routes
from embedmig.catalog.suspects import Guarded, SuspectWriter, list_guarded, list_writers
from embedmig.catalog.traffic import list_served, list_shadows
from embedmig.commands.traffic import ServedBySlot, ShadowsSeen, by_slot, sum_up_shadows
from embedmig.db import Connection
from embedmig.rollout.evidence import look_at_triggers
from embedmig.rollout.triggers import TriggerState
from embedmig.settings import Settings
from embedmig.stages import Facts
from embedmig.types import Collection, Migration


@dataclass(frozen=True, kw_only=True)
class RampStatus:
    """The share of one collection, as its traffic shows it."""

    held_since: datetime | None
    """The last rise; None at 0."""
    hold_left_s: float
    left_percent: float | None
    """Where the share was before it was taken back: ``rollout --resume`` leads there."""
    tripped: str | None
    """What the rollback trigger said that took it back, until a newer report or a person answers it."""
    served: list[ServedBySlot]
    """In the last 24 hours, by slot."""
    shadows: ShadowsSeen | None
    """Since the last rise; None without any."""
    triggers: list[TriggerState]
    """Those that are armed, with how near they are to firing."""
    guarded: list[Guarded]
    suspects: list[SuspectWriter]
    """Who writes vectors that are not the slot's model's."""


def read_ramp(
    conn: Connection, collection: Collection, migration: Migration | None, facts: Facts, settings: Settings
) -> RampStatus:
    """Reads it; from the catalog alone."""
    climb = routes.read_ladder(conn, collection.group)
    day = list_served(conn, collection, datetime.now(UTC) - timedelta(hours=24))
    shadows = list_shadows(conn, migration, climb.raised_at, epoch=climb.raised_epoch) if migration else []
    return RampStatus(
        held_since=climb.raised_at if climb.share_bp else None,
        hold_left_s=facts.hold_left_s,
        left_percent=None if climb.left_bp is None else climb.left_bp / 100,
        tripped=facts.tripped,
        served=by_slot(day),
        shadows=sum_up_shadows(shadows),
        triggers=look_at_triggers(conn, collection.group, settings.rollout.triggers) if migration else [],
        guarded=list_guarded(conn, collection),
        suspects=list_writers(conn, collection),
    )
