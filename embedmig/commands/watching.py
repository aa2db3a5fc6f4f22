"""status and events: what is, and what was done."""

import os
from dataclasses import dataclass
from datetime import datetime

from embedmig.backfill.census import Census, count_rows
from embedmig.backfill.impressions import Impressions, read_impressions
from embedmig.backfill.job_control import JobShown, show_jobs
from embedmig.catalog import migrations, reports, routes, slots
from embedmig.catalog.adapters import KeptAdapter, used_adapter
from embedmig.catalog.collections import get_collection, list_collections
from embedmig.catalog.events import Event, list_events
from embedmig.catalog.routes import Pin
from embedmig.catalog.tails import Tail, get_tail
from embedmig.commands.ramp_status import RampStatus, read_ramp
from embedmig.db import Connection, Database
from embedmig.errors import SettingsError
from embedmig.rollout.facts import FULL_BP, gather_facts
from embedmig.schema.indexes import IndexState, index_state
from embedmig.schema.inspection import describe_table
from embedmig.search.routing import idle_variables
from embedmig.settings import Settings, load_settings
from embedmig.stages import Facts, NextStep, Stage, holds, missing_for_ramp, next_step, stage_of
from embedmig.types import Collection, Migration, Slot

COUNTED_UP_TO_ROWS = 200_000
"""Tables of this size are counted by ``status`` unasked: well under a second."""


@dataclass(frozen=True, kw_only=True)
class AdapterDebt:
    """What stands between queries and a slot, in place of a re-embedding."""

    adapter: str
    asked_model: str
    since: datetime
    share: float | None
    """Of the new model's ranking that is kept, held out; 0 to 1."""
    interval: tuple[float, float] | None
    drifted: bool | None
    """What the last ``adapter eval`` said; None: nothing, or there was none."""
    usable: bool
    """False: either model has another fingerprint than at the fit."""


@dataclass(frozen=True, kw_only=True)
class SlotStatus:
    """One slot as it stands."""

    name: str
    model: str
    model_state: str
    placement: str
    maintained_by: str
    vectors_in: str
    filled_at: datetime | None
    index: IndexState
    tail: Tail
    census: Census | None
    """Exact counts; None where the table was not read."""
    debt: AdapterDebt | None
    """The query adapter that it is asked through; None: with its own model."""


@dataclass(frozen=True, kw_only=True)
class CollectionStatus:
    """One collection at a glance: where it stands, what serves, the next command and the one that leads back."""

    collection: str
    table: str
    stage: Stage
    source: str
    target: str | None
    slots: list[SlotStatus]
    percent: float
    """Of the requests, served by the target by the stored route."""
    epoch: int
    route_since: datetime
    pins: list[Pin]
    ramp: RampStatus
    impressions: Impressions | None
    """How much of what searches showed of bridged slots was true, and what is left; None where no slot is bridged."""
    jobs: list[JobShown]
    """Re-embeddings under way: how far, and what holds them back."""
    report: str | None
    handover_at: datetime | None
    way_back_ends_at: datetime | None
    missing_for_ramp: list[str]
    next: NextStep
    back: str | None
    """The one command to go back; None when there is nothing to go back from."""


def status(
    db: Database, collection: str | None = None, *, count: bool | None = None, settings: Settings | None = None
) -> list[CollectionStatus]:
    """Where each collection (or the one) stands. ``count``: read the whole tables for exact counts; by default those
    of up to 200,000 rows.

    Raises SettingsError when a variable of this environment is to pin a collection that does not exist: whoever set it
    believes a process to be pinned that is not.
    """
    chosen_settings = settings or load_settings()
    with db.connect(patience=chosen_settings) as conn:
        idle = idle_variables(os.environ, [each.name for each in list_collections(conn)])
        if idle:
            raise SettingsError("; ".join([*idle, "mend or unset it"]))
        chosen = list_collections(conn) if collection is None else [get_collection(conn, collection)]
        return [_status_of(conn, each, count, chosen_settings) for each in chosen]


def events(db: Database, collection: str | None = None, *, limit: int = 50) -> list[Event]:
    """The append-only log, newest first; that of a collection outlives it. Raises NotFoundError for a name that neither
    the log nor the catalog knows."""
    with db.connect() as conn:
        found = list_events(conn, collection, limit=limit)
        if collection is not None and not found:
            get_collection(conn, collection)
        return found


def _status_of(conn: Connection, collection: Collection, count: bool | None, settings: Settings) -> CollectionStatus:
    if count is None:
        count = describe_table(conn, collection.schema, collection.table).rows <= COUNTED_UP_TO_ROWS
    facts = gather_facts(conn, collection, settings, counted=False)
    migration = migrations.find_migration(conn, collection)
    route = routes.get_route(conn, collection.group)
    return CollectionStatus(
        collection=collection.name,
        table=collection.qualified,
        stage=stage_of(facts),
        source=facts.source,
        target=facts.target,
        slots=[_slot_status(conn, collection, slot, count) for slot in slots.list_slots(conn, collection)],
        percent=route.percent,
        epoch=route.epoch,
        route_since=route.changed_at,
        pins=routes.live_pins(conn, collection),
        ramp=read_ramp(conn, collection, migration, facts, settings),
        impressions=_impressions(conn, collection),
        jobs=show_jobs(conn, collection),
        report=_report(conn, migration),
        handover_at=migration.handover_at if migration else None,
        way_back_ends_at=migration.way_back_ends_at if migration else None,
        missing_for_ramp=_missing(facts),
        next=next_step(facts),
        back=f"embedmig rollback {collection.name}" if route.share_bp and not facts.retired else None,
    )


def _impressions(conn: Connection, collection: Collection) -> Impressions | None:
    bridged = [one for one in slots.list_slots(conn, collection) if used_adapter(conn, collection, one, "bridge")]
    return read_impressions(conn, collection, bridged[-1]) if bridged else None


def _missing(facts: Facts) -> list[str]:
    """What stands between the target and a larger share."""
    if facts.target is None or facts.share_bp >= FULL_BP:
        return []
    return [*missing_for_ramp(facts), *holds(facts)]


def _slot_status(conn: Connection, collection: Collection, slot: Slot, count: bool) -> SlotStatus:
    return SlotStatus(
        name=slot.name,
        model=slot.model.key,
        model_state=slot.model.state.value,
        placement=slot.placement.value,
        maintained_by=slot.maintained_by.value,
        vectors_in=f"{slot.schema}.{slot.table}.{slot.vector_column}",
        filled_at=slot.filled_at,
        index=index_state(conn, slot),
        tail=get_tail(conn, slot),
        census=count_rows(conn, collection, slot) if count else None,
        debt=_debt(used_adapter(conn, collection, slot, "query")),
    )


def _debt(kept: KeptAdapter | None) -> AdapterDebt | None:
    if kept is None or kept.used_since is None:
        return None
    score, drift = kept.score, None if kept.health is None else kept.health["drift"]
    return AdapterDebt(
        adapter=kept.name,
        asked_model=kept.from_model,
        since=kept.used_since,
        share=None if score is None else score["share"],
        interval=None if score is None else (score["interval"][0], score["interval"][1]),
        drifted=None if drift is None else drift["drifted"],
        usable=not (kept.from_changed or kept.to_changed),
    )


def _report(conn: Connection, migration: Migration | None) -> str | None:
    report = reports.newest_report(conn, migration) if migration else None
    if report is None:
        return None
    accepted = f", accepted: {report.accepted}" if report.accepted else ""
    part = f" on {report.part:.0%} of the rows" if report.part < 1 else ""
    return f"report {report.id} of {report.made_at:%Y-%m-%d %H:%M}: {report.verdict}{part}{accepted}"
