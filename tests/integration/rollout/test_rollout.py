"""The share of traffic: up behind gates that name all that is missing, down at once."""

from datetime import timedelta

import pytest

from embedmig import commands
from embedmig.catalog import migrations, reports, routes, slots
from embedmig.catalog.events import list_events
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError, UsageError
from embedmig.types import Placement
from tests.rollout_support import add_report, make_ready
from tests.support import expand_docs, make_docs

PLACEMENTS = pytest.mark.parametrize("placement", list(Placement))


@PLACEMENTS
def test_a_rise_is_refused_with_all_that_is_missing_and_changes_nothing(
    db: Database, conn: Connection, placement: Placement
) -> None:
    collection = make_docs(conn)
    expand_docs(db, placement)
    before = routes.get_route(conn, collection.group)
    with pytest.raises(RefusedError) as refused:
        commands.rollout(db, "docs", 100)
    for command in ("reembed docs", "index docs", "validate docs", "handover docs"):
        assert f"embedmig {command}" in str(refused.value)
    assert routes.get_route(conn, collection.group) == before


@PLACEMENTS
def test_switch_rollback_and_switch_again(db: Database, conn: Connection, placement: Placement) -> None:
    collection = make_ready(db, conn, placement)
    first = commands.rollout(db, "docs", 100)
    assert (first.was_percent, first.percent) == (0, 100)
    back = commands.rollback(db, "docs", why="p99 is up")
    assert (back.switched.percent, back.missing_rows, back.stale_rows) == (0, 0, 0)
    assert back.switched.epoch == first.epoch + 1
    assert commands.rollout(db, "docs", 100).percent == 100
    verbs = [(event.verb, event.was, event.became, event.why) for event in list_events(conn, "docs", limit=3)]
    assert verbs[1] == ("rollback", "100 %", "0 %", "p99 is up")
    assert routes.full_since(conn, collection.group) is not None


def test_repeating_a_share_changes_no_epoch(db: Database, conn: Connection) -> None:
    make_ready(db, conn, Placement.COLUMN)
    first = commands.rollout(db, "docs", 25)
    assert commands.rollout(db, "docs", 25).epoch == first.epoch
    assert commands.rollout(db, "docs", 5).percent == 5


def test_an_empty_table_needs_no_report_for_there_is_nothing_to_compare(db: Database, conn: Connection) -> None:
    make_docs(conn, 0)
    expand_docs(db)
    commands.reembed(db, "docs")
    commands.index(db, "docs")
    commands.handover(db, "docs")
    conn.execute("INSERT INTO docs (id, title) VALUES (1, ''), (2, NULL)")
    assert commands.rollout(db, "docs", 100).percent == 100
    commands.rollback(db, "docs")
    conn.execute("INSERT INTO docs (id, title) VALUES (3, 'a text')")
    with pytest.raises(RefusedError, match="no report stands"):
        commands.rollout(db, "docs", 100)


@pytest.mark.parametrize("verdict", ["investigate", "fail"])
def test_a_report_that_did_not_pass_opens_nothing_until_accepted_with_a_reason(
    db: Database, conn: Connection, verdict: str
) -> None:
    collection = make_ready(db, conn, Placement.COLUMN, verdict=verdict)
    with pytest.raises(RefusedError, match=f"says {verdict}"):
        commands.rollout(db, "docs", 100)
    with pytest.raises(UsageError, match="needs a reason"):
        commands.rollout(db, "docs", 100, accept_report="  ")
    commands.rollout(db, "docs", 100, accept_report="the judges preferred it")
    kept = reports.newest_report(conn, migrations.get_migration(conn, collection))
    assert kept is not None
    assert kept.accepted == "the judges preferred it"
    assert "accept-report" in [event.verb for event in list_events(conn, "docs")]


def test_a_report_stands_for_the_share_of_bridged_rows_that_it_saw_give_or_take_ten_points(
    db: Database, conn: Connection
) -> None:
    collection = make_ready(db, conn)
    add_report(conn, collection, "pass", bridged_share=0.15)
    with pytest.raises(RefusedError, match=r"saw 15% bridged rows, now it is 0%\): embedmig validate docs"):
        commands.rollout(db, "docs", 100)
    add_report(conn, collection, "pass", bridged_share=0.05)
    commands.rollout(db, "docs", 100)


def test_a_report_on_a_part_opens_no_ramp_and_cannot_be_accepted(db: Database, conn: Connection) -> None:
    collection = make_ready(db, conn, Placement.COLUMN)
    add_report(conn, collection, "pass", part=0.2)
    with pytest.raises(RefusedError, match="judged 20% of the rows"):
        commands.rollout(db, "docs", 100)
    with pytest.raises(RefusedError, match="judged 20% of the rows"):
        commands.rollout(db, "docs", 100, accept_report="good enough")


def test_rows_that_appeared_unseen_hold_the_share(db: Database, conn: Connection) -> None:
    make_ready(db, conn, Placement.COMPANION)
    conn.execute("SET session_replication_role = replica")
    conn.execute("INSERT INTO public.docs (id, title, body, lang) VALUES (900, 'a', 'b', 'en')")
    with pytest.raises(RefusedError, match="1 rows have text and no vector"):
        commands.rollout(db, "docs", 100)


def test_rollback_goes_with_rows_missing_and_says_how_many(db: Database, conn: Connection) -> None:
    make_ready(db, conn, Placement.COLUMN)
    commands.rollout(db, "docs", 100)
    conn.execute("INSERT INTO public.docs (id, title, body, lang) VALUES (900, 'a', 'b', 'en')")
    with pytest.raises(RefusedError, match="lacks 1 rows and has 1 queued"):
        commands.rollback(db, "docs", if_complete=True)
    back = commands.rollback(db, "docs")
    assert (back.switched.percent, back.missing_rows, back.queued_rows) == (0, 1, 1)


def test_rollback_lists_the_processes_it_cannot_move(db: Database, conn: Connection) -> None:
    collection = make_ready(db, conn, Placement.COLUMN)
    source, target = slots.list_slots(conn, collection)
    epoch = commands.rollout(db, "docs", 100).epoch
    for pid, pin, slot in ((7, "new", target), (8, "v1", source)):
        routes.report_pin(conn, collection, host="web-1", pid=pid, pin=pin, slot_id=slot.id, epoch=epoch)
    assert [(pin.host, pin.pid) for pin in commands.rollback(db, "docs").switched.unmoved] == [("web-1", 7)]
    conn.execute("UPDATE embedmig.pin SET seen_at = seen_at - %s", [timedelta(minutes=11)])
    assert commands.rollback(db, "docs").switched.unmoved == []


def test_there_is_no_way_back_after_retire(db: Database, conn: Connection) -> None:
    collection = make_ready(db, conn, Placement.COLUMN)
    commands.rollout(db, "docs", 100)
    migrations.mark_retired(conn, migrations.get_migration(conn, collection))
    with pytest.raises(RefusedError, match="was retired on"):
        commands.rollback(db, "docs")


@pytest.mark.parametrize("percent", [-1, 101])
def test_a_share_that_cannot_be_is_wrong_usage(db: Database, conn: Connection, percent: float) -> None:
    make_docs(conn)
    with pytest.raises(UsageError, match="from 0 to 100"):
        commands.rollout(db, "docs", percent)
