"""What tests of the share begin from."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from embedmig.catalog import migrations, reports, routes, slots
from embedmig.catalog.traffic import report_served, report_shadows
from embedmig.db import Connection, Database
from embedmig.schema.handing_over import hand_over
from embedmig.schema.indexes import build_index
from embedmig.search.latency import as_counts, bucket_of
from embedmig.settings import Settings
from embedmig.trigger_settings import RolloutSettings, TriggerSettings
from embedmig.types import Collection, Model, Placement
from tests.support import NEW, expand_docs, fill_slot, make_docs

Ready = Callable[..., Collection]

UNWATCHED = Settings(
    rollout=RolloutSettings(triggers=TriggerSettings(p99_ratio=float("inf"), error_rate=1, empty_rate=1))
)
"""No rollback trigger is armed."""


def add_report(
    conn: Connection, collection: Collection, verdict: str, *, part: float = 1.0, bridged_share: float = 0.0
) -> None:
    """The newest report on the open migration."""
    migration = migrations.get_migration(conn, collection)
    reports.add_report(conn, migration, verdict=verdict, body={}, part=part, bridged_share=bridged_share)


def make_ready(
    db: Database,
    conn: Connection,
    placement: Placement = Placement.COLUMN,
    *,
    verdict: str = "pass",
    rows: int = 20,
    new: Model = NEW,
    name: str = "docs",
) -> Collection:
    """A migration of ``name`` that may serve: filled, indexed, reported, handed over."""
    collection = make_docs(conn, rows=rows, new=new, name=name, table=name)
    expand_docs(db, placement, collection=name, model=new)
    _, target = slots.list_slots(conn, collection)
    fill_slot(conn, collection, target)
    build_index(db, collection, target)
    slots.mark_filled(conn, target)
    add_report(conn, collection, verdict)
    hand_over(conn, collection)
    return collection


def add_served(
    conn: Connection,
    collection: Collection,
    slot: str,
    requests: int,
    *,
    errors: int = 0,
    empty: int = 0,
    slower: float = 1.0,
    hours_ago: float = 0.0,
    chosen_by: str = "key",
) -> None:
    """Requests that ``slot`` answered in the present epoch, in about 5 ms each times ``slower``."""
    seconds = 0.005 * slower * np.random.default_rng(requests).lognormal(0.0, 0.5, requests - errors)
    row = {
        "slot_id": slots.get_slot(conn, collection, slot).id,
        "age_s": hours_ago * 3600,
        "epoch": routes.get_route(conn, collection.group).epoch,
        "chosen_by": chosen_by,
        "requests": requests,
        "errors": errors,
        "empty": empty,
        "embed_us": requests * 1000,
        "latency": as_counts(Counter(bucket_of(float(value)) for value in seconds)),
    }
    report_served(conn, [row])


def add_pairs(
    conn: Connection,
    collection: Collection,
    *,
    tenths: Sequence[int] = (),
    errors: Sequence[int] | None = None,
    empty: Sequence[int] | None = None,
    label: str = "",
    drawn: bool = True,
) -> None:
    """Shadow reads of the open migration in the present epoch; ``tenths``: the overlap of each pair."""
    migration = migrations.get_migration(conn, collection)
    row = {
        "age_s": 0.0,
        "source_id": migration.source_id,
        "target_id": migration.target_id,
        "epoch": routes.get_route(conn, collection.group).epoch,
        "label": label,
        "drawn": drawn,
        "overlap": [list(tenths).count(tenth) for tenth in range(11)],
        "errors": list(errors or (len(tenths), 0, 0, 0)),
        "empty": list(empty or (len(tenths), 0, 0, 0)),
        "source_embed_us": 1000,
        "target_embed_us": 1000,
        "source_latency": [],
        "target_latency": [],
        "dropped_queue": 0,
        "dropped_epoch": 0,
        "not_shadowed": 0,
    }
    report_shadows(conn, [row])


def add_good_traffic(conn: Connection, collection: Collection) -> None:
    """So much of the same from both slots that every trigger that is armed by default finds it fine."""
    add_served(conn, collection, "v1", 40_000, empty=400)
    add_served(conn, collection, "v2", 20_000, empty=200)
