"""Shadow reads ask the other slot, and nobody notices."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from embedmig import Embedding, ShadowOptions
from embedmig.catalog import collections, migrations, routes, slots
from embedmig.catalog.models import update_model
from embedmig.catalog.traffic import (
    ShadowHour,
    forget_shadow_queries,
    list_served,
    list_shadow_queries,
    list_shadows,
)
from embedmig.db import Connection, Database
from embedmig.search import reporting
from embedmig.types import ModelState, Placement, Slot
from tests.integration.search.conftest import Connect, set_share
from tests.support import NEW, OLD, embed

ALL = ShadowOptions(share=1.0)
LONG_AGO = datetime.now(UTC) - timedelta(days=1)

pytestmark = pytest.mark.usefixtures("_often")


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "FLUSH_S", 0.05)


def _shadows(conn: Connection) -> list[ShadowHour]:
    collection = collections.get_collection(conn, "docs")
    return list_shadows(conn, migrations.get_migration(conn, collection), LONG_AGO)


def _total(conn: Connection, count: Callable[[ShadowHour], int]) -> int:
    return sum(count(row) for row in _shadows(conn))


def _pairs(row: ShadowHour) -> int:
    return sum(row.errors)


def _wait_for(conn: Connection, count: Callable[[ShadowHour], int], wanted: int) -> None:
    deadline = time.monotonic() + 30
    while (found := _total(conn, count)) < wanted:
        assert time.monotonic() < deadline, f"{found} of {wanted}: {_shadows(conn)}"
        time.sleep(0.02)


@contextmanager
def _locked(db: Database, slot: Slot) -> Iterator[None]:
    """Nobody reads the companion meanwhile."""
    with psycopg.connect(db.url) as other:
        other.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(slot.schema, slot.table)))
        yield


APART = pytest.mark.parametrize("target", [Placement.COMPANION], indirect=True)
"""Only a companion can be locked or lost alone."""


def test_both_slots_are_asked_and_compared(conn: Connection, connect: Connect, target: Slot) -> None:
    questions = [f"word{n} and thing{n}" for n in range(6)]
    set_share(conn, 50)
    with_shadows, alone = connect(shadow=ALL), connect(counted=False)
    tenths = []
    for question in questions:
        hits = with_shadows(question, k=10)
        other = NEW if hits[0].slot == "v1" else OLD
        # The other slot, asked by a vector of its model through a pinned statement of our own making.
        vector = Embedding(embed(other, [question])[0], model=other.key)
        tenths.append(len({hit.key for hit in hits} & _keys(conn, other, vector)))
    assert {alone(question, k=1)[0].slot for question in questions} == {"v1", "v2"}
    _wait_for(conn, _pairs, len(questions))
    overlap = [sum(row.overlap[tenth] for row in _shadows(conn)) for tenth in range(11)]
    assert overlap == [tenths.count(tenth) for tenth in range(11)]
    for row in _shadows(conn):
        assert row.drawn
        assert sum(row.source_latency) == sum(row.target_latency) == sum(row.errors) == row.errors[0]
        assert row.source_embed_us > 0
        assert row.target_embed_us > 0


def _keys(conn: Connection, model: Any, vector: Embedding) -> set[int]:
    slot = next(s for s in slots.list_slots(conn, collections.get_collection(conn, "docs")) if s.model.key == model.key)
    statement = sql.SQL("SELECT id FROM {} ORDER BY {} <=> %s LIMIT 10").format(
        sql.Identifier(slot.schema, slot.table), sql.Identifier(slot.vector_column)
    )
    return {row["id"] for row in conn.execute(statement, [vector.values])}


def test_shadows_are_no_traffic(conn: Connection, connect: Connect, target: Slot) -> None:
    search = connect(shadow=ALL)
    for n in range(5):
        search(f"word{n}")
    _wait_for(conn, _pairs, 5)
    search.close()
    served = list_served(conn, collections.get_collection(conn, "docs"), LONG_AGO)
    assert {(row.slot, row.requests) for row in served} == {("v1", 5)}


@APART
def test_a_slot_that_hangs_costs_the_caller_nothing_and_drops_are_counted(
    db: Database, conn: Connection, connect: Connect, target: Slot
) -> None:
    search = connect(shadow=ShadowOptions(share=1.0, queue=3))
    search("word0")
    _wait_for(conn, _pairs, 1)
    with _locked(db, target):
        began = time.monotonic()
        for n in range(20):
            assert search(f"word{n}", k=3)
        took_s = time.monotonic() - began
        _wait_for(conn, lambda row: row.dropped_queue, 16)
    assert took_s < 5
    # One was being asked, three waited.
    _wait_for(conn, _pairs, 5)
    assert _total(conn, lambda row: row.dropped_queue) == 16


@APART
def test_a_slot_that_fails_is_counted_and_the_caller_has_his_answer(
    db: Database, conn: Connection, connect: Connect, target: Slot
) -> None:
    search = connect(shadow=ALL)
    conn.execute(sql.SQL("ALTER TABLE {} RENAME TO elsewhere").format(sql.Identifier(target.schema, target.table)))
    for n in range(4):
        assert search(f"word{n}", k=3)
    _wait_for(conn, _pairs, 4)
    assert _total(conn, lambda row: row.errors[2]) == 4
    assert _total(conn, lambda row: sum(row.overlap)) == 0


@APART
def test_a_shadow_that_takes_too_long_has_failed(
    db: Database, conn: Connection, connect: Connect, target: Slot
) -> None:
    search = connect(shadow=ShadowOptions(share=1.0, timeout_s=0.1))
    with _locked(db, target):
        search("word1")
        _wait_for(conn, _pairs, 1)
    assert _total(conn, lambda row: row.errors[2]) == 1


@APART
def test_an_error_of_the_slot_that_serves_is_shadowed_too(
    db: Database, conn: Connection, connect: Connect, target: Slot
) -> None:
    set_share(conn, 100)
    search = connect(shadow=ALL)
    conn.execute(sql.SQL("ALTER TABLE {} RENAME TO elsewhere").format(sql.Identifier(target.schema, target.table)))
    with pytest.raises(Exception, match="does not exist"):
        search("word1", routing_key="somebody")
    _wait_for(conn, _pairs, 1)
    assert _total(conn, lambda row: row.errors[2]) == 1
    assert _total(conn, lambda row: sum(row.source_latency)) == 1


@APART
def test_pairs_of_two_epochs_are_dropped_and_counted(
    db: Database, conn: Connection, connect: Connect, target: Slot
) -> None:
    search = connect(shadow=ALL)
    with _locked(db, target):
        search("word1")
        search("word2")
        set_share(conn, 5)
    # The first had its snapshot before the switch; the second was asked after it.
    _wait_for(conn, lambda row: _pairs(row) + row.dropped_epoch, 2)
    assert _total(conn, lambda row: row.dropped_epoch) >= 1


def test_an_incomplete_slot_and_a_model_that_is_gone_are_not_shadowed(
    conn: Connection, connect: Connect, target: Slot
) -> None:
    slots.update_slot(conn, replace(target, filled_at=None))
    search = connect(shadow=ALL)
    search("word1")
    _wait_for(conn, lambda row: row.not_shadowed, 1)
    slots.update_slot(conn, target)
    update_model(conn, replace(OLD, state=ModelState.GONE))
    set_share(conn, 100)
    connect(shadow=ALL)("word1", routing_key="somebody")
    _wait_for(conn, lambda row: row.not_shadowed, 2)
    assert _total(conn, _pairs) == 0


def test_a_query_that_came_as_a_vector_cannot_be_asked_of_the_other_model(
    conn: Connection, connect: Connect, target: Slot
) -> None:
    search = connect(shadow=ALL)
    search(Embedding(embed(OLD, ["word1"])[0], model="old@1"))
    _wait_for(conn, lambda row: row.not_shadowed, 1)
    assert _total(conn, _pairs) == 0


def test_with_no_migration_open_nothing_is_shadowed(conn: Connection, connect: Connect, target: Slot) -> None:
    migrations.close_migration(conn, migrations.get_migration(conn, collections.get_collection(conn, "docs")))
    search = connect(shadow=ALL)
    search("word1")
    search.close()
    assert conn.execute("SELECT count(*) AS n FROM embedmig.shadow").fetchone() == {"n": 0}


def test_a_rare_label_is_shadowed_for_its_own_sake(conn: Connection, connect: Connect, target: Slot) -> None:
    search = connect(shadow=ShadowOptions(share=0, per_label_a_minute=2))
    for n in range(5):
        search(f"word{n}", label="voice")
        search(f"word{n}")
    _wait_for(conn, _pairs, 2)
    assert {(row.label, row.drawn) for row in _shadows(conn)} == {("voice", False)}


def test_filters_and_cut_offs_hold_for_the_other_slot_too(conn: Connection, connect: Connect, target: Slot) -> None:
    search = connect(shadow=ALL)
    assert search("word1", where="lang = 'none'") == []
    assert search("word1", max_distance={"v1": 3.0, "v2": 0.0})
    _wait_for(conn, _pairs, 2)
    assert _total(conn, lambda row: row.empty[3]) == 1
    assert _total(conn, lambda row: row.empty[2]) == 1


def test_texts_are_kept_only_where_the_application_says_so(conn: Connection, connect: Connect, target: Slot) -> None:
    collection = collections.get_collection(conn, "docs")
    connect(shadow=ALL)("a secret")
    _wait_for(conn, _pairs, 1)
    assert list_shadow_queries(conn, collection) == []
    search = connect(shadow=ShadowOptions(share=1.0, keep_texts=True))
    for question in ("to keep", "to keep", "another"):
        search(question, label="help")
    _wait_for(conn, _pairs, 4)
    search.close()
    kept = [(query.text, query.label, query.times) for query in list_shadow_queries(conn, collection)]
    assert kept == [("to keep", "help", 2), ("another", "help", 1)]
    assert forget_shadow_queries(conn, collection) == 2


def test_what_hangs_on_the_counting_is_called_and_may_fail(
    db: Database, conn: Connection, connect: Connect, target: Slot
) -> None:
    called: list[tuple[str, str]] = []

    def fail(url: str, collection: str) -> None:
        called.append((url, collection))
        raise ValueError("of the application's own making")

    search = connect(shadow=ShadowOptions(share=1.0, after_flush=fail))
    search("word1")
    _wait_for(conn, _pairs, 1)
    search("word2")
    _wait_for(conn, _pairs, 2)
    assert set(called) == {(db.url, "docs")}


def test_a_route_changes_nothing_about_which_hits_are_given(conn: Connection, connect: Connect, target: Slot) -> None:
    set_share(conn, 50)
    plain, shadowed = connect(), connect(shadow=ALL)
    for n in range(10):
        assert plain(f"word{n}", k=5) == shadowed(f"word{n}", k=5)
    assert routes.get_route(conn, "docs").share_bp == 5000
