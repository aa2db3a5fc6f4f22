"""Reads what was served and shadowed since the last rise, as rollback triggers weigh it."""

from collections.abc import Iterable, Sequence
from datetime import UTC, timedelta
from typing import Any

import numpy as np

from embedmig.catalog import collections, migrations, routes
from embedmig.catalog.routes import Ladder
from embedmig.catalog.traffic import ServedHour, ShadowHour, list_served, list_shadows
from embedmig.db import Connection
from embedmig.rollout.adapter_trigger import look_at_bridge
from embedmig.rollout.triggers import Counts, ShadowPairs, Side, TriggerState, Window, judge
from embedmig.search.latency import BUCKETS
from embedmig.trigger_settings import TriggerSettings
from embedmig.types import Collection, Migration


def look_at_triggers(conn: Connection, group: str, settings: TriggerSettings) -> list[TriggerState]:
    """The armed triggers of every open migration of the group, on what was seen since the share last rose."""
    ladder = routes.read_ladder(conn, group)
    members = collections.list_group(conn, group)
    judged = [(member, migrations.find_migration(conn, member)) for member in members]
    found: list[TriggerState] = []
    for member, migration in judged:
        if migration is not None:
            windows = read_windows(conn, member, migration, ladder, settings)
            states = judge(windows, settings, members=len(members))
            states += look_at_bridge(conn, member, migration, ladder.raised_at, settings)
            found += states if len(members) == 1 else [state.of(member.name) for state in states]
    return found


def read_windows(
    conn: Connection, collection: Collection, migration: Migration, ladder: Ladder, settings: TriggerSettings
) -> list[Window]:
    """The window before the one that runs, if there is one, and the one that runs."""
    began = ladder.raised_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    now, length = ladder.raised_at + timedelta(seconds=ladder.held_s), timedelta(hours=settings.window_hours)
    running = (now - began) // length
    first = max(0, running - 1)
    served = list_served(conn, collection, began + first * length)
    shadows = list_shadows(conn, migration, began + first * length, epoch=ladder.raised_epoch)

    def window(number: int) -> Window:
        since = began + number * length
        return make_window(
            number,
            migration,
            [row for row in served if since <= row.hour < since + length and row.epoch >= ladder.raised_epoch],
            [row for row in shadows if since <= row.hour < since + length],
        )

    return [window(number) for number in range(first, running + 1)]


def make_window(
    number: int, migration: Migration, served: Sequence[ServedHour], shadows: Sequence[ShadowHour]
) -> Window:
    """Adds the hours up. Only what routing keys sent to a slot compares the two: chance sent it there."""
    by_key = [row for row in served if row.chosen_by == "key"]
    labels = sorted({row.label for row in shadows})
    return Window(
        number=number,
        source=_side(row for row in by_key if row.slot_id == migration.source_id),
        target=_side(row for row in by_key if row.slot_id == migration.target_id),
        drawn=_pairs(row for row in shadows if row.drawn),
        by_label={label: _pairs(row for row in shadows if row.label == label) for label in labels},
    )


def _side(rows: Iterable[ServedHour]) -> Side:
    chosen = list(rows)
    return Side(
        requests=_sum(row.requests for row in chosen),
        errors=_sum(row.errors for row in chosen),
        empty=_sum(row.empty for row in chosen),
        latency=_add([row.latency for row in chosen], BUCKETS),
    )


def _pairs(rows: Iterable[ShadowHour]) -> ShadowPairs:
    chosen = list(rows)
    return ShadowPairs(
        overlap=_add([row.overlap for row in chosen], 11),
        errors=_add([row.errors for row in chosen], 4),
        empty=_add([row.empty for row in chosen], 4),
    )


def _sum(numbers: Iterable[int]) -> Counts:
    return np.asarray(sum(numbers), dtype=np.int64)


def _add(counts: Sequence[Sequence[Any]], width: int) -> Counts:
    total = np.zeros(width, dtype=np.int64)
    for some in counts:
        total[: len(some)] += np.asarray(some, dtype=np.int64)
    return total
