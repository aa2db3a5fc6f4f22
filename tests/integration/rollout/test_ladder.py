"""The ladder: each step is held, a way back starts it anew, and what a person goes over is kept."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from embedmig import commands
from embedmig.catalog import migrations, routes
from embedmig.catalog.events import list_events
from embedmig.catalog.models import update_model
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError, UsageError
from embedmig.rollout.watching import Look
from embedmig.settings import Settings
from embedmig.types import Collection, ModelState
from tests.rollout_support import UNWATCHED, Ready, add_report
from tests.support import OLD, make_docs

NO_HOLD = Settings(hold_hours=0, rollout=UNWATCHED.rollout)


def _let_pass(conn: Connection, hours: float) -> None:
    """As if the last change of the share were ``hours`` longer ago."""
    conn.execute("UPDATE embedmig.route SET raised_at = raised_at - %s", [timedelta(hours=hours)])


def test_a_step_is_held_for_its_time_before_the_next(db: Database, conn: Connection, ready: Ready) -> None:
    ready()
    commands.rollout(db, "docs", 5)
    with pytest.raises(RefusedError, match=r"5 % are to be held for another 48\.0 hours"):
        commands.rollout(db, "docs", 25, settings=UNWATCHED)
    _let_pass(conn, 47.5)
    with pytest.raises(RefusedError, match="another 30 minutes"):
        commands.rollout(db, "docs", 25)
    _let_pass(conn, 1)
    assert commands.rollout(db, "docs", 25, settings=UNWATCHED).percent == 25


def test_the_hold_can_be_set_for_one_rise_and_in_the_settings(db: Database, conn: Connection, ready: Ready) -> None:
    ready()
    commands.rollout(db, "docs", 5)
    with pytest.raises(RefusedError, match="to be held"):
        commands.rollout(db, "docs", 25, hold_hours=1)
    assert commands.rollout(db, "docs", 25, hold_hours=0, settings=UNWATCHED).percent == 25
    assert commands.rollout(db, "docs", 50, settings=NO_HOLD).percent == 50
    with pytest.raises(UsageError, match="0 hours or more"):
        commands.rollout(db, "docs", 100, hold_hours=-1)


def test_lowering_the_share_is_not_held_and_does_not_start_the_hold_anew(
    db: Database, conn: Connection, ready: Ready
) -> None:
    ready()
    commands.rollout(db, "docs", 50)
    _let_pass(conn, 47)
    assert commands.rollout(db, "docs", 5).percent == 5
    _let_pass(conn, 1)
    assert commands.rollout(db, "docs", 25, settings=UNWATCHED).percent == 25


def test_an_epoch_raised_for_another_reason_does_not_start_the_hold_anew(
    db: Database, conn: Connection, ready: Ready
) -> None:
    collection = ready()
    commands.rollout(db, "docs", 5)
    _let_pass(conn, 48)
    routes.raise_epoch(conn, collection.group)
    assert commands.rollout(db, "docs", 25, settings=UNWATCHED).percent == 25


def test_skipped_steps_are_said_and_logged(
    db: Database, conn: Connection, ready: Ready, verb: Callable[..., tuple[int, str]]
) -> None:
    ready()
    code, said = verb("rollout", "docs", "50")
    assert code == 0
    assert "skipped: 5 %, 25 %" in said
    assert "held for 48 hours" in said
    assert list_events(conn, "docs", limit=1)[0].details["skipped"] == [5, 25]
    assert commands.rollout(db, "docs", 100, settings=NO_HOLD).skipped == ()


def test_after_a_rollback_nothing_is_held_and_resume_leads_to_the_last_share(
    db: Database, conn: Connection, ready: Ready
) -> None:
    collection = ready()
    with pytest.raises(RefusedError, match="no share to resume"):
        commands.rollout(db, "docs", resume=True)
    commands.rollout(db, "docs", 50)
    commands.rollback(db, "docs")
    assert commands.status(db, "docs")[0].next.command == "embedmig rollout docs 5"
    commands.rollback(db, "docs")
    resumed = commands.rollout(db, "docs", resume=True)
    assert (resumed.percent, resumed.skipped) == (50, ())
    with pytest.raises(RefusedError, match="no share to resume"):
        commands.rollout(db, "docs", resume=True, hold_hours=0)
    assert routes.read_ladder(conn, collection.group).left_bp is None


def test_a_share_of_a_migration_that_is_over_is_not_resumed(db: Database, conn: Connection, ready: Ready) -> None:
    ready()
    commands.rollout(db, "docs", 50)
    commands.rollback(db, "docs")
    conn.execute("UPDATE embedmig.migration SET opened_at = clock_timestamp()")
    with pytest.raises(RefusedError, match="no share to resume"):
        commands.rollout(db, "docs", resume=True)


def _trip(conn: Connection, collection: Collection) -> None:
    with conn.transaction():
        before, _ = routes.lock_route(conn, collection.group)
        routes.set_share(conn, collection.group, 0)
        routes.mark_left(conn, collection.group, left_bp=before, tripped="error rate 9 % over the source's")


def test_after_a_rollback_by_a_trigger_a_newer_report_opens_the_way(
    db: Database, conn: Connection, ready: Ready
) -> None:
    collection = ready()
    commands.rollout(db, "docs", 25)
    _trip(conn, collection)
    for call in ({"percent": 5}, {"resume": True}):
        with pytest.raises(RefusedError, match="error rate 9 % over"):
            commands.rollout(db, "docs", **call)
    shown = commands.status(db, "docs")[0]
    assert shown.next.command.startswith("embedmig validate docs")
    add_report(conn, collection, "pass")
    assert commands.rollout(db, "docs", resume=True).percent == 25


def test_after_a_rollback_by_a_trigger_a_person_can_accept_the_report_that_stands(
    db: Database, conn: Connection, ready: Ready
) -> None:
    collection = ready()
    commands.rollout(db, "docs", 25)
    _trip(conn, collection)
    assert commands.rollout(db, "docs", 5, accept_report="a network fault, mended").percent == 5
    event = next(event for event in list_events(conn, "docs") if event.verb == "accept-report")
    assert event.why == "a network fault, mended"


def test_with_the_old_model_gone_a_reason_stands_in_for_a_warm_source(
    db: Database, conn: Connection, ready: Ready
) -> None:
    collection = ready()
    with pytest.raises(UsageError, match="here it is not"):
        commands.rollout(db, "docs", 5, accept_no_way_back="whatever")
    update_model(conn, replace(OLD, state=ModelState.GONE))
    conn.execute("INSERT INTO public.docs (id, title, body, lang) VALUES (900, 'a', 'b', 'en')")
    conn.execute("DELETE FROM public.docs WHERE id = 900")
    with pytest.raises(RefusedError, match=r"old@1 is gone.* 0 rows lack one now.*--accept-no-way-back"):
        commands.rollout(db, "docs", 5)
    with pytest.raises(UsageError, match="needs a reason"):
        commands.rollout(db, "docs", 5, accept_no_way_back=" ")
    commands.rollout(db, "docs", 5, accept_no_way_back="the vendor is closed")
    assert migrations.get_migration(conn, collection).no_way_back_accepted == "the vendor is closed"
    assert commands.rollout(db, "docs", 25, hold_hours=0, settings=UNWATCHED).percent == 25
    assert "accept-no-way-back" in [event.verb for event in list_events(conn, "docs")]


def test_a_reason_without_a_rise_is_wrong_usage(db: Database, conn: Connection, ready: Ready) -> None:
    ready()
    commands.rollout(db, "docs", 25)
    with pytest.raises(UsageError, match="go with a rise"):
        commands.rollout(db, "docs", 5, accept_report="because")
    for call in ({}, {"percent": 5, "resume": True}):
        with pytest.raises(UsageError, match="one of the two"):
            commands.rollout(db, "docs", **call)  # type: ignore[arg-type]


def test_auto_climbs_every_step_to_100(db: Database, conn: Connection, ready: Ready) -> None:
    ready()
    looks: list[Look] = []
    ended = commands.rollout_auto(db, "docs", settings=NO_HOLD, on_look=looks.append)
    assert (ended.outcome, ended.percent) == ("switched", 100)
    assert [look.percent for look in looks] == [5, 25, 50, 100]
    was = [event.was for event in list_events(conn, "docs") if event.verb == "rollout"]
    assert was == ["50 %", "25 %", "5 %", "0 %"]


def test_auto_waits_for_the_hold_and_goes_on_where_it_was_stopped(db: Database, conn: Connection, ready: Ready) -> None:
    ready()
    stop = threading.Event()
    looks: list[Look] = []

    def stop_at_once(look: Look) -> None:
        looks.append(look)
        stop.set()

    ended = commands.rollout_auto(db, "docs", settings=UNWATCHED, on_look=stop_at_once, stop=stop)
    assert (ended.outcome, ended.percent, ended.next_percent) == ("interrupted", 5, 25)
    assert 47.9 * 3600 < looks[0].hold_left_s <= 48 * 3600
    _let_pass(conn, 48)
    stop.clear()
    assert commands.rollout_auto(db, "docs", settings=UNWATCHED, on_look=stop_at_once, stop=stop).percent == 25


def test_auto_stops_where_a_gate_holds(db: Database, conn: Connection, ready: Ready) -> None:
    collection = ready()

    def fail_the_report(look: Look) -> None:
        if look.percent == 25:
            add_report(conn, collection, "fail")

    with pytest.raises(RefusedError, match="says fail"):
        commands.rollout_auto(db, "docs", settings=NO_HOLD, on_look=fail_the_report)
    assert routes.get_route(conn, collection.group).percent == 25


def test_auto_survives_a_database_that_is_away_for_a_while(db: Database, conn: Connection, ready: Ready) -> None:
    ready()
    url, looks = db.url, []

    def cut_and_mend(look: Look) -> None:
        looks.append((look.percent, look.unreachable is not None))
        db.url = url if look.unreachable else "postgresql://127.0.0.1:1/none"

    ended = commands.rollout_auto(db, "docs", settings=NO_HOLD, look_s=0.01, on_look=cut_and_mend)
    assert ended.outcome == "switched"
    assert looks[:3] == [(5, False), (5, True), (25, False)]


def test_auto_ends_when_somebody_takes_the_share_back(db: Database, conn: Connection, ready: Ready) -> None:
    ready()

    def take_back(look: Look) -> None:
        if look.percent == 25:
            commands.rollback(db, "docs")

    ended = commands.rollout_auto(db, "docs", settings=NO_HOLD, on_look=take_back)
    assert (ended.outcome, ended.percent) == ("taken back", 0)


def _walk_one_step(db: Database, *, resume: bool = False) -> Look:
    stop = threading.Event()
    return commands.rollout_auto(
        db, "docs", resume=resume, settings=UNWATCHED, hold_hours=0, on_look=lambda _: stop.set(), stop=stop
    )


@pytest.mark.parametrize("back", [0.0, 5.0])
def test_a_walk_that_is_started_again_does_not_climb_over_a_share_taken_back_by_hand(
    db: Database, ready: Ready, back: float
) -> None:
    ready()
    commands.rollout(db, "docs", 25)
    commands.rollout(db, "docs", back)
    with pytest.raises(RefusedError, match=rf"taken back from 25 % to {back:g} %.*--auto --resume"):
        _walk_one_step(db)
    assert commands.status(db, "docs")[0].percent == back
    assert _walk_one_step(db, resume=True).percent == 25


def test_a_ladder_that_a_person_began_anew_is_walked_from_there(db: Database, ready: Ready) -> None:
    ready()
    assert _walk_one_step(db).percent == 5
    commands.rollback(db, "docs")
    with pytest.raises(RefusedError, match="embedmig rollout docs 5, and walk from there"):
        _walk_one_step(db)
    commands.rollout(db, "docs", 5)
    assert _walk_one_step(db).percent == 25


def test_the_command_line_asks_for_one_way(
    db: Database, conn: Connection, verb: Callable[..., tuple[int, str]]
) -> None:
    make_docs(conn)
    for arguments in ((), ("5", "--auto"), ("5", "--resume")):
        assert verb("rollout", "docs", *arguments)[0] == 2


def test_auto_and_resume_from_the_command_line(
    db: Database, conn: Connection, ready: Ready, verb: Callable[..., tuple[int, str]]
) -> None:
    ready()
    code, said = verb("rollout", "docs", "--auto", "--hold", "0", "--accept-unproven", "a test")
    assert code == 0
    assert "docs: 25 % of requests go to the new index" in said
    assert verb("rollback", "docs")[0] == 0
    code, said = verb("rollout", "docs", "--resume")
    assert code == 0
    assert "100 % of requests" in said
