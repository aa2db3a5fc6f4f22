"""Climbs the ladder by itself: holds each step for its time, and stops where a gate holds."""

import threading
from dataclasses import dataclass, replace

from embedmig.catalog import routes
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError
from embedmig.rollout.accepting import NOTHING, Accepted
from embedmig.rollout.ladder import next_step
from embedmig.rollout.switching import raise_share, resume_percent
from embedmig.rollout.watching import LOOK_S, Look, OnLook, guarded, keep_looking, look_and_trip
from embedmig.settings import Settings
from embedmig.types import Collection


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a ladder is climbed."""

    settings: Settings
    accepted: Accepted = NOTHING
    """For the first rise; ``unproven`` for all."""
    hold_hours: float | None = None
    """In place of the setting."""
    resumed: bool = False
    """The first rise leads to the last share held."""
    look_s: float = LOOK_S


def walk(
    db: Database,
    collection: Collection,
    way: Way,
    *,
    on_look: OnLook | None = None,
    stop: threading.Event | None = None,
) -> Look:
    """Takes one step after the other up to 100, each when the one before has been held for its time; rolls back when a
    rollback trigger fires.

    The route is all the state there is: interrupted (KeyboardInterrupt, ``stop``) or killed, the next walk goes on
    where this one was. It ends when somebody else takes the share back, and does not begin over that unless
    ``way.resumed``: what a supervisor starts again must not undo a person's rollback. Raises RefusedError at the share
    that was reached when a gate holds it: a person is asked.
    """
    reached: float | None = None

    def look(conn: Connection) -> Look:
        nonlocal reached
        seen = guarded(conn, collection, way.settings, trip(conn))
        if reached is not None and seen.outcome is None and seen.percent < reached:
            return replace(seen, outcome="taken back")
        if reached is None and seen.outcome is None and not way.resumed:
            _require_not_taken_back(conn, collection, way.settings)
        if seen.outcome is None and seen.next_percent is not None and seen.hold_left_s == 0:
            _take_step(conn, collection, way, seen.next_percent, first=reached is None)
            seen = trip(conn)
        reached = seen.percent
        return replace(seen, outcome="switched") if seen.next_percent is None else seen

    def trip(conn: Connection) -> Look:
        return look_and_trip(conn, collection, way.settings, hold_hours=way.hold_hours)

    def pause_s(seen: Look) -> float:
        return way.look_s if seen.unreachable else min(way.look_s, seen.hold_left_s + 0.01)

    return keep_looking(db, look, pause_s=pause_s, on_look=on_look, stop=stop)


def _require_not_taken_back(conn: Connection, collection: Collection, settings: Settings) -> None:
    climb = routes.read_ladder(conn, collection.group)
    if climb.left_bp is None:
        return
    name, anew = collection.name, next_step(climb.share_bp, settings.rollout_steps)
    by = "" if climb.tripped is None else f" by a rollback trigger ({climb.tripped})"
    raise RefusedError(
        f"the share of {name} was taken back from {climb.left_bp / 100:g} % to {climb.share_bp / 100:g} %{by}, and no"
        f" walk climbs over that unasked: embedmig rollout {name} --auto --resume goes back to it and on; or begin the"
        f" ladder anew, embedmig rollout {name} {anew:g}, and walk from there"
    )


def _take_step(conn: Connection, collection: Collection, way: Way, percent: float, *, first: bool) -> None:
    resumed = first and way.resumed
    raise_share(
        conn,
        collection,
        resume_percent(conn, collection) if resumed else percent,
        way.settings,
        accepted=way.accepted if first else Accepted(unproven=way.accepted.unproven),
        hold_hours=way.hold_hours,
        resumed=resumed,
    )
