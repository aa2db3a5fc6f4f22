"""Climbs the ladder by itself: holds each step for its time, and stops where a gate holds."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from embedmig.catalog import routes
from embedmig.db import Connection, Database
from embedmig.errors import DatabaseError, PrivilegeError
from embedmig.rollout import ladder
from embedmig.rollout.accepting import NOTHING, Accepted
from embedmig.rollout.switching import raise_share, resume_percent
from embedmig.settings import Settings
from embedmig.types import Collection

LOOK_S = 60.0
PATIENCE_LOOKS = 60
"""So many looks in a row may fail to reach the database before a walk gives up. The share stays where it is."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """Where a group stands at one look."""

    collection: str
    percent: float
    epoch: int
    next_percent: float | None
    """The next step; None at the top."""
    hold_left_s: float
    unreachable: str | None = None
    """Why the database could not be looked at now; the rest is of the look before."""
    outcome: str | None = None
    """``switched`` once 100 is reached, ``interrupted``; None while it goes on."""


OnLook = Callable[[Look], None]


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a ladder is climbed."""

    settings: Settings
    accepted: Accepted = NOTHING
    """For the first rise."""
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
    """Takes one step after the other up to 100, each when the one before has been held for its time.

    The route is all the state there is: interrupted (KeyboardInterrupt, ``stop``) or killed, the next walk goes on
    where this one was. Raises RefusedError at the share that was reached when a gate holds it: a person is asked.
    """
    taken = False

    def look(conn: Connection) -> Look:
        nonlocal taken
        seen = look_at(conn, collection, way)
        if seen.next_percent is not None and seen.hold_left_s == 0:
            _take_step(conn, collection, way, seen.next_percent, first=not taken)
            taken = True
            seen = look_at(conn, collection, way)
        return replace(seen, outcome="switched") if seen.next_percent is None else seen

    def pause_s(seen: Look) -> float:
        return min(way.look_s, seen.hold_left_s + 0.01)

    return keep_looking(db, look, pause_s=pause_s, on_look=on_look, stop=stop)


def look_at(conn: Connection, collection: Collection, way: Way) -> Look:
    """The group's route as it stands."""
    climb = routes.read_ladder(conn, collection.group)
    hold_hours = way.settings.hold_hours if way.hold_hours is None else way.hold_hours
    return Look(
        collection=collection.name,
        percent=climb.share_bp / 100,
        epoch=routes.get_route(conn, collection.group).epoch,
        next_percent=ladder.next_step(climb.share_bp, way.settings.rollout_steps),
        hold_left_s=ladder.hold_left_s(climb.share_bp, climb.held_s, hold_hours),
    )


def keep_looking(
    db: Database,
    look: Callable[[Connection], Look],
    *,
    pause_s: Callable[[Look], float],
    on_look: OnLook | None = None,
    stop: threading.Event | None = None,
) -> Look:
    """Looks again and again, each time over a connection of its own, until a look has an outcome, or it is interrupted.
    A database that is away for a while ends nothing."""
    stop = stop or threading.Event()
    with db.connect() as conn:
        seen = look(conn)
    failed = 0
    try:
        while True:
            if on_look is not None:
                on_look(seen)
            if seen.outcome is not None:
                return seen
            if stop.wait(LOOK_S if failed else pause_s(seen)):
                break
            try:
                with db.connect() as conn:
                    seen, failed = look(conn), 0
            except DatabaseError as error:
                failed += 1
                if failed > PATIENCE_LOOKS or isinstance(error, PrivilegeError):
                    raise
                seen = replace(seen, unreachable=str(error))
    except KeyboardInterrupt:
        pass
    ended = replace(seen, outcome="interrupted")
    if on_look is not None:
        on_look(ended)
    return ended


def _take_step(conn: Connection, collection: Collection, way: Way, percent: float, *, first: bool) -> None:
    resumed = first and way.resumed
    raise_share(
        conn,
        collection,
        resume_percent(conn, collection) if resumed else percent,
        way.settings,
        accepted=way.accepted if first else NOTHING,
        hold_hours=way.hold_hours,
        resumed=resumed,
    )
