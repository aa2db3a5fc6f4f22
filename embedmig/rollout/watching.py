"""Looks at a group again and again: rolls back when a rollback trigger fires."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from embedmig.catalog import collections, routes
from embedmig.catalog.suspects import list_writers
from embedmig.db import Connection, Database
from embedmig.errors import DatabaseError, PrivilegeError
from embedmig.rollout import ladder
from embedmig.rollout.evidence import look_at_triggers
from embedmig.rollout.guarding import guard_group
from embedmig.rollout.switching import trip
from embedmig.rollout.triggers import TriggerState, Verdict
from embedmig.settings import Settings, load_settings
from embedmig.types import Collection

LOOK_S = 60.0
PATIENCE_LOOKS = 60
"""So many looks in a row may fail to reach the database before a watch gives up. The share stays where it is."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Look:
    """Where a group stands at one look."""

    collection: str
    percent: float
    epoch: int
    next_percent: float | None
    """The next step; None at the top."""
    hold_left_s: float
    triggers: tuple[TriggerState, ...]
    """Those that are armed."""
    suspects: tuple[str, ...] = ()
    """Who writes vectors that are not the slot's model's, by the guard."""
    unguarded: str | None = None
    """Why the guard could not look."""
    unreachable: str | None = None
    """Why the database could not be looked at now; the rest is of the look before."""
    outcome: str | None = None
    """``rolled back`` by a trigger, ``taken back`` by somebody else during a walk, ``switched`` (a walk reached 100),
    ``interrupted``; None while it goes on."""
    why: str | None = None
    """What the rollback trigger said."""


OnLook = Callable[[Look], None]


def watch(
    db: Database,
    collection: Collection,
    settings: Settings,
    *,
    look_s: float = LOOK_S,
    on_look: OnLook | None = None,
    stop: threading.Event | None = None,
) -> Look:
    """Rolls back when a trigger fires, and ends with it; else goes on until KeyboardInterrupt or ``stop``. The guard
    looks as often."""

    def look(conn: Connection) -> Look:
        return guarded(conn, collection, settings, look_and_trip(conn, collection, settings))

    return keep_looking(db, look, pause_s=lambda seen: look_s, on_look=on_look, stop=stop)


def roll_back_on_breach(url: str, collection: str, *, settings: Settings | None = None) -> Look:
    """One look at the rollback triggers; when one fires, the share goes to 0 before this returns.

    For ``ShadowOptions(after_flush=roll_back_on_breach)``, so that the processes that search roll back by themselves.
    Their role then needs, beyond what searching needs, SELECT on embedmig.served, shadow and pin, UPDATE on
    embedmig.route and INSERT on embedmig.event.
    """
    settings = settings or load_settings()
    with Database(url).connect() as conn:
        seen = look_and_trip(conn, collections.get_collection(conn, collection), settings)
    if seen.outcome is not None:
        _log.warning("%s was rolled back: %s", collection, seen.why)
    return seen


def look_and_trip(
    conn: Connection, collection: Collection, settings: Settings, *, hold_hours: float | None = None
) -> Look:
    """One look; the share is 0 after it, and ``outcome`` says so, when a trigger fires."""
    seen = look_at(conn, collection, settings, hold_hours=hold_hours)
    firing = [str(state) for state in seen.triggers if state.verdict is Verdict.FIRES]
    if not firing or not seen.percent:
        return seen
    why = "; ".join(firing)
    switched = trip(conn, collection, seen.epoch, why)
    if switched is None:
        return look_at(conn, collection, settings, hold_hours=hold_hours)
    return replace(seen, percent=0.0, epoch=switched.epoch, outcome="rolled back", why=why, hold_left_s=0.0)


def guarded(conn: Connection, collection: Collection, settings: Settings, seen: Look) -> Look:
    """The same, after a look of the guard."""
    return replace(seen, unguarded=guard_group(conn, collection, settings), suspects=_suspects(conn, collection))


def look_at(conn: Connection, collection: Collection, settings: Settings, *, hold_hours: float | None = None) -> Look:
    """The group's route and triggers as they stand."""
    climb = routes.read_ladder(conn, collection.group)
    hold_hours = settings.hold_hours if hold_hours is None else hold_hours
    return Look(
        collection=collection.name,
        percent=climb.share_bp / 100,
        epoch=climb.epoch,
        next_percent=ladder.next_step(climb.share_bp, settings.rollout_steps),
        hold_left_s=ladder.hold_left_s(climb.share_bp, climb.held_s, hold_hours),
        triggers=tuple(look_at_triggers(conn, collection.group, settings.rollout.triggers)),
    )


def _suspects(conn: Connection, collection: Collection) -> tuple[str, ...]:
    members = collections.list_group(conn, collection.group)
    return tuple(str(writer) for member in members for writer in list_writers(conn, member))


def keep_looking(
    db: Database,
    look: Callable[[Connection], Look],
    *,
    pause_s: Callable[[Look], float],
    on_look: OnLook | None = None,
    stop: threading.Event | None = None,
) -> Look:
    """Looks again and again, each time over a connection of its own, until a look has an outcome or it is interrupted.
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
            if stop.wait(pause_s(seen)):
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
