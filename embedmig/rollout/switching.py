"""Changes the share of a group's requests that the target gets: up behind gates, down at once."""

from dataclasses import dataclass

from embedmig.catalog import collections, migrations, reports, routes
from embedmig.catalog.events import log_event
from embedmig.catalog.routes import Pin
from embedmig.db import Connection
from embedmig.errors import RefusedError, UsageError
from embedmig.rollout.facts import gather_facts, slots_of
from embedmig.settings import Settings
from embedmig.stages import missing_for_ramp
from embedmig.types import Collection, Route


@dataclass(frozen=True, kw_only=True)
class Switched:
    """A share that was set. ``unmoved``: processes whose environment names another slot, which no route can move."""

    collection: str
    was_percent: float
    percent: float
    epoch: int
    unmoved: list[Pin]


def raise_share(
    conn: Connection, collection: Collection, percent: float, settings: Settings, *, accept_report: str | None = None
) -> Switched:
    """Sets the share of the group to ``percent`` (0 to 100) when every member may serve it.

    Raises RefusedError with everything that is missing, UsageError for a share that cannot be. Lowering is not
    gated. ``accept_report``: a person's reason to let a report stand that did not pass; kept with it.
    """
    if not 0 <= percent <= 100:
        raise UsageError(f"a share is from 0 to 100, not {percent:g}")
    share_bp = round(percent * 100)
    before = routes.get_route(conn, collection.group)
    members = collections.list_group(conn, collection.group)
    if share_bp > before.share_bp:
        if accept_report is not None:
            _accept_reports(conn, members, accept_report)
        _require_ready(conn, members, settings)
    elif accept_report is not None:
        raise UsageError("--accept-report goes with a rise of the share; lowering it needs no report")
    route = before if share_bp == before.share_bp else _set_share(conn, collection, before, share_bp, "rollout", None)
    return _switched(conn, collection, before, route)


def roll_back(conn: Connection, collection: Collection, *, why: str | None = None) -> Switched:
    """Sets the share to 0 and commits: the source serves every query whose snapshot is taken from then on.

    Never refuses before ``retire``. Raises RefusedError after it: nobody maintains the source any more.
    """
    for member in collections.list_group(conn, collection.group):
        migration = migrations.find_migration(conn, member)
        if migration is None:
            raise RefusedError(f"{member.name} has no open migration: there is one slot, and nothing to go back to")
        if migration.retired_at is not None:
            raise RefusedError(
                f"the source of {member.name} was retired on {migration.retired_at:%Y-%m-%d}: its index is gone and"
                " its vectors are not kept up to date since. The way back is a migration of its own, to the old model"
            )
    before = routes.get_route(conn, collection.group)
    route = before if before.share_bp == 0 else _set_share(conn, collection, before, 0, "rollback", why)
    return _switched(conn, collection, before, route)


def _set_share(
    conn: Connection, collection: Collection, before: Route, share_bp: int, verb: str, why: str | None
) -> Route:
    with conn.transaction():
        route = routes.set_share(conn, collection.group, share_bp)
        log_event(
            conn, verb, collection.name, was=f"{before.percent:g} %", became=f"{route.percent:g} %", why=why,
            epoch=route.epoch,
        )  # fmt: skip
    return route


def _require_ready(conn: Connection, members: list[Collection], settings: Settings) -> None:
    missing = []
    for member in members:
        facts = gather_facts(conn, member, settings, counted=True)
        if facts.target is None:
            raise RefusedError(f"{member.name} has no open migration: begin one, embedmig expand {member.name}")
        missing += [f"{member.name}: {reason}" for reason in missing_for_ramp(facts)]
    if missing:
        raise RefusedError("the share stays where it is. " + ". ".join(missing))


def _accept_reports(conn: Connection, members: list[Collection], why: str) -> None:
    if not why.strip():
        raise UsageError("--accept-report needs a reason: it is kept with the report")
    for member in members:
        report = reports.newest_report(conn, migrations.get_migration(conn, member))
        if report is None:
            raise RefusedError(f"there is no report on {member.name} to accept: embedmig validate {member.name}")
        if report.part < 1:
            raise RefusedError(
                f"report {report.id} judged {report.part:.0%} of the rows of {member.name}: embed the rest and"
                f" validate again, embedmig reembed {member.name}"
            )
        if not report.stands:
            with conn.transaction():
                reports.accept_report(conn, report, why)
                log_event(
                    conn, "accept-report", member.name, was=report.verdict, became="accepted", why=why, report=report.id
                )


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
    serving = {0: source, 10_000: target or source}.get(route.share_bp)
    # Between 0 and 100 the route gives both slots, so every pin stands against it.
    return [pin for pin in routes.live_pins(conn, member) if serving is None or pin.slot != serving.name]
