"""Changes the share of a group's requests that the target gets: up behind gates, down at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from embedmig.catalog import collections, migrations, routes
from embedmig.catalog.events import log_event
from embedmig.catalog.routes import Pin
from embedmig.db import Connection
from embedmig.errors import RefusedError, UsageError
from embedmig.rollout.accepting import NOTHING, Accepted, accept
from embedmig.rollout.adapting import ReadyAdapter, adapters_for_way_back, place
from embedmig.rollout.facts import FULL_BP, gather_facts, slots_of
from embedmig.rollout.ladder import steps_between
from embedmig.settings import Settings
from embedmig.stages import holds, missing_for_ramp
from embedmig.types import Collection, Route


@dataclass(frozen=True, kw_only=True)
class Switched:
    """A share that was set. ``unmoved``: processes whose environment names another slot, which no route can move."""

    collection: str
    was_percent: float
    percent: float
    epoch: int
    unmoved: list[Pin]
    skipped: tuple[float, ...] = ()
    """Steps of the ladder that the rise left out, in percent."""
    hold_hours: float = 0.0
    """How long this share is to be held before it may rise again; 0 at 0 and at 100."""
    through: tuple[str, ...] = ()
    """Adapters that the way back leads through, because the old model is gone: ``a1 before v1 of docs``."""
    unreachable: tuple[str, ...] = ()
    """Which source no text can be embedded for, since its model is gone and no adapter leads to it."""


def raise_share(
    conn: Connection,
    collection: Collection,
    percent: float,
    settings: Settings,
    *,
    accepted: Accepted = NOTHING,
    hold_hours: float | None = None,
    resumed: bool = False,
) -> Switched:
    """Sets the share of the group to ``percent`` (0 to 100) when every member may serve it.

    Raises RefusedError with everything that is missing, UsageError for a share that cannot be. Lowering is not
    gated. ``accepted``: a person's reasons to go on over what a gate holds; kept. ``hold_hours``: how long the present
    share must have been held, in place of the setting. ``resumed``: the steps below were climbed before.
    """
    if not 0 <= percent <= 100:
        raise UsageError(f"a share is from 0 to 100, not {percent:g}")
    if hold_hours is not None and hold_hours < 0:
        raise UsageError(f"a share is held for 0 hours or more, not {hold_hours:g}")
    share_bp = round(percent * 100)
    before = routes.get_route(conn, collection.group)
    if share_bp > before.share_bp:
        hold = settings.hold_hours if hold_hours is None else hold_hours
        members = collections.list_group(conn, collection.group)
        accept(conn, collection, members, accepted)
        unproven = _require_ready(conn, members, settings, hold, accepted)
        skipped = () if resumed else steps_between(before.share_bp, share_bp, settings.rollout_steps)
        kept = {"skipped": list(skipped), "held_hours": hold} | unproven
        route = _rise(conn, collection, before, share_bp, kept, accepted.unproven if unproven else None)
        held = settings.hold_hours if share_bp < FULL_BP else 0.0
        return replace(_switched(conn, collection, before, route), skipped=skipped, hold_hours=held)
    if accepted != NOTHING:
        raise UsageError("the --accept options go with a rise of the share; lowering it needs no reason")
    route = before if share_bp == before.share_bp else _lower(conn, collection, share_bp, "rollout")
    return _switched(conn, collection, before, route)


def resume_percent(conn: Connection, collection: Collection) -> float:
    """The share that the open migration had before it was taken back. Raises RefusedError when it was not."""
    ladder = routes.read_ladder(conn, collection.group)
    if ladder.left_bp is None:
        raise RefusedError(
            f"there is no share to resume: {collection.name} is at {ladder.share_bp / 100:g} %, and it was not taken"
            f" back since: embedmig rollout {collection.name} PERCENT"
        )
    return ladder.left_bp / 100


def roll_back(conn: Connection, collection: Collection, *, why: str | None = None) -> Switched:
    """Sets the share to 0 and commits: the source serves every query whose snapshot is taken from then on, through a
    query adapter where its model is gone and there is one.

    Never refuses before ``retire``. Raises RefusedError after it: nobody maintains the source any more.
    """
    _require_way_back(conn, collection)
    through, unreachable = adapters_for_way_back(conn, collections.list_group(conn, collection.group))
    before = routes.get_route(conn, collection.group)
    route = before
    if before.share_bp > 0:
        route = _lower(conn, collection, 0, "rollback", why=why, through=through)
    elif through:
        route = _ask_through(conn, collection, through)
    switched = _switched(conn, collection, before, route)
    return replace(switched, through=_named(through), unreachable=tuple(unreachable))


def trip(conn: Connection, collection: Collection, epoch: int, why: str) -> Switched | None:
    """As ``roll_back``, by a rollback trigger that fired at ``epoch``: from then on a newer report, or a person, has to
    open the way again. None when the share has changed meanwhile: what was seen is not of it.

    Raises RefusedError, unlike ``roll_back``, when the old model is gone and no adapter leads to its vectors: every
    search by text would fail.
    """
    _require_way_back(conn, collection)
    through, unreachable = adapters_for_way_back(conn, collections.list_group(conn, collection.group))
    if unreachable:
        raise RefusedError(
            f"a rollback trigger fires ({why}), and {unreachable[0]}: after a rollback every search by text would fail."
            f" Decide, embedmig rollback {collection.name}"
        )
    before = routes.get_route(conn, collection.group)
    with conn.transaction():
        share_bp, now = routes.lock_route(conn, collection.group)
        if now != epoch or share_bp == 0:
            return None
        route = _lower(conn, collection, 0, "rollback", why=why, tripped=True, through=through)
    return replace(_switched(conn, collection, before, route), through=_named(through))


def _require_way_back(conn: Connection, collection: Collection) -> None:
    for member in collections.list_group(conn, collection.group):
        migration = migrations.find_migration(conn, member)
        if migration is None:
            raise RefusedError(f"{member.name} has no open migration: there is one slot, and nothing to go back to")
        if migration.retired_at is not None:
            raise RefusedError(
                f"the source of {member.name} was retired on {migration.retired_at:%Y-%m-%d}: its index is gone and"
                " its vectors are not kept up to date since. The way back is a migration of its own, to the old model"
            )


def _rise(
    conn: Connection, collection: Collection, before: Route, share_bp: int, kept: Mapping[str, object], why: str | None
) -> Route:
    """Raises RefusedError when the route is another than the gates were asked about."""
    with conn.transaction():
        _, epoch = routes.lock_route(conn, collection.group)
        if epoch != before.epoch:
            raise RefusedError(
                f"the route changed meanwhile (epoch {before.epoch}, then {epoch}): look again,"
                f" embedmig status {collection.name}"
            )
        route = routes.set_share(conn, collection.group, share_bp)
        _log(conn, collection, "rollout", before.share_bp, route, why=why, **kept)
    return route


def _lower(
    conn: Connection,
    collection: Collection,
    share_bp: int,
    verb: str,
    *,
    why: str | None = None,
    tripped: bool = False,
    through: Sequence[tuple[Collection, ReadyAdapter]] = (),
) -> Route:
    """Whatever the route is meanwhile. ``tripped``: a rollback trigger does it, and ``why`` is what it says."""
    with conn.transaction():
        before_bp, _ = routes.lock_route(conn, collection.group)
        for member, ready in through:
            place(conn, member, ready, why="rollback")
        route = routes.set_share(conn, collection.group, share_bp)
        if share_bp < before_bp:
            routes.mark_left(conn, collection.group, left_bp=before_bp, tripped=why if tripped else None)
        by = {"by": "rollback trigger"} if tripped else {}
        _log(conn, collection, verb, before_bp, route, why=why, **by)
    return route


def _ask_through(conn: Connection, collection: Collection, through: Sequence[tuple[Collection, ReadyAdapter]]) -> Route:
    """At a share of 0 there is nothing to lower, and the source may still want its adapter."""
    with conn.transaction():
        routes.lock_route(conn, collection.group)
        for member, ready in through:
            place(conn, member, ready, why="rollback")
        routes.raise_epoch(conn, collection.group)
    return routes.get_route(conn, collection.group)


def _named(through: Sequence[tuple[Collection, ReadyAdapter]]) -> tuple[str, ...]:
    return tuple(f"{ready.kept.name} before {ready.slot.name} of {member.name}" for member, ready in through)


def _log(
    conn: Connection,
    collection: Collection,
    verb: str,
    before_bp: int,
    route: Route,
    *,
    why: str | None = None,
    **details: object,
) -> None:
    log_event(
        conn,
        verb,
        collection.name,
        was=f"{before_bp / 100:g} %",
        became=f"{route.percent:g} %",
        why=why,
        epoch=route.epoch,
        **details,
    )


def _require_ready(
    conn: Connection, members: Sequence[Collection], settings: Settings, hold_hours: float, accepted: Accepted
) -> dict[str, object]:
    """Gives what a person goes over, for the log."""
    missing: list[str] = []
    held: dict[str, None] = {}
    unproven: dict[str, None] = {}
    for member in members:
        facts = gather_facts(conn, member, settings, counted=True, hold_hours=hold_hours)
        if facts.target is None:
            begin = f"embedmig expand {member.name} --to MODEL"
            raise RefusedError(f"{member.name} has no open migration: begin one, {begin}")
        missing += [f"{member.name}: {reason}" for reason in missing_for_ramp(facts)]
        if accepted.unproven is not None:
            unproven |= dict.fromkeys(facts.unproven)
            facts = replace(facts, unproven=())
        held |= dict.fromkeys(holds(facts))
    if missing or held:
        raise RefusedError("the share stays where it is. " + ". ".join([*missing, *held]))
    return {"unproven": list(unproven)} if unproven else {}


def _switched(conn: Connection, collection: Collection, before: Route, route: Route) -> Switched:
    members = collections.list_group(conn, collection.group)
    return Switched(
        collection=collection.name,
        was_percent=before.percent,
        percent=route.percent,
        epoch=route.epoch,
        unmoved=[pin for member in members for pin in _unmoved(conn, member, route)],
    )


def _unmoved(conn: Connection, member: Collection, route: Route) -> list[Pin]:
    source, target = slots_of(conn, member, migrations.find_migration(conn, member))
    serving = {0: source, FULL_BP: target or source}.get(route.share_bp)
    # Between 0 and 100 the route gives both slots, so every pin stands against it.
    return [pin for pin in routes.live_pins(conn, member) if serving is None or pin.slot != serving.name]
