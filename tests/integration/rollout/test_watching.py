"""What is served and shadowed holds the share, lets it rise, or takes it back."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from embedmig import Searcher, ShadowOptions, commands, roll_back_on_breach
from embedmig.catalog import migrations, routes
from embedmig.catalog.collections import get_collection
from embedmig.catalog.events import list_events
from embedmig.catalog.models import update_model
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError
from embedmig.rollout.evidence import look_at_triggers
from embedmig.rollout.switching import trip
from embedmig.rollout.triggers import Verdict
from embedmig.rollout.watching import Look
from embedmig.search import reporting
from embedmig.settings import Settings
from embedmig.trigger_settings import RolloutSettings, TriggerSettings
from embedmig.types import Collection, ModelState, Placement
from tests.rollout_support import Ready, add_good_traffic, add_pairs, add_report, add_served
from tests.support import OLD

ROLLOUT_DOC = Path(__file__).parents[3] / "docs" / "rollout.md"
NO_HOLD = Settings(hold_hours=0)
TRIGGERS = TriggerSettings()


def _verdicts(conn: Connection, settings: TriggerSettings = TRIGGERS) -> dict[str, Verdict]:
    return {state.name: state.verdict for state in look_at_triggers(conn, "docs", settings)}


def _fault(conn: Connection, collection: Collection) -> None:
    add_served(conn, collection, "v1", 20_000)
    add_served(conn, collection, "v2", 2_000, errors=300)


def test_without_data_the_share_is_held_and_a_person_is_asked(db: Database, conn: Connection, ready: Ready) -> None:
    ready()
    commands.rollout(db, "docs", 5)
    with pytest.raises(RefusedError, match=r"errors: 0 seen, 500 wanted.*--accept-unproven REASON"):
        commands.rollout(db, "docs", 25, settings=NO_HOLD)
    commands.rollout(db, "docs", 25, settings=NO_HOLD, accept_unproven="a dozen requests a day")
    event = list_events(conn, "docs", limit=1)[0]
    assert event.why == "a dozen requests a day"
    assert len(event.details["unproven"]) == 3


def test_good_traffic_lets_the_share_rise_unasked(db: Database, conn: Connection, ready: Ready) -> None:
    collection = ready()
    commands.rollout(db, "docs", 5)
    add_good_traffic(conn, collection)
    assert set(_verdicts(conn).values()) == {Verdict.FINE, Verdict.NO_DATA}
    assert commands.rollout(db, "docs", 25, settings=NO_HOLD).percent == 25


def test_evidence_begins_anew_with_each_rise(db: Database, conn: Connection, ready: Ready) -> None:
    collection = ready()
    commands.rollout(db, "docs", 5)
    add_good_traffic(conn, collection)
    commands.rollout(db, "docs", 25, settings=NO_HOLD)
    assert _verdicts(conn)["errors"] is Verdict.NO_DATA


def test_only_what_routing_keys_sent_is_compared(db: Database, conn: Connection, ready: Ready) -> None:
    collection = ready()
    commands.rollout(db, "docs", 5)
    add_served(conn, collection, "v1", 5_000)
    add_served(conn, collection, "v2", 5_000, errors=2_000, chosen_by="pin")
    assert _verdicts(conn)["errors"] is Verdict.NO_DATA


def test_a_fault_is_not_hidden_by_the_good_days_before_it(db: Database, conn: Connection, ready: Ready) -> None:
    collection = ready()
    commands.rollout(db, "docs", 5)
    conn.execute("UPDATE embedmig.route SET raised_at = raised_at - interval '5 days'")
    for day in range(2, 5):
        add_served(conn, collection, "v1", 100_000, hours_ago=24 * day)
        add_served(conn, collection, "v2", 50_000, hours_ago=24 * day)
    assert _verdicts(conn)["errors"] is Verdict.NO_DATA
    _fault(conn, collection)
    assert _verdicts(conn)["errors"] is Verdict.FIRES


def test_a_rise_is_refused_while_a_trigger_fires_whatever_a_person_accepts(
    db: Database, conn: Connection, ready: Ready
) -> None:
    collection = ready()
    commands.rollout(db, "docs", 5)
    _fault(conn, collection)
    with pytest.raises(RefusedError, match=r"a rollback trigger fires \(errors: 15\.00%"):
        commands.rollout(db, "docs", 25, settings=NO_HOLD, accept_unproven="it will be well")


def test_shadow_reads_speak_at_share_0_too(db: Database, conn: Connection, ready: Ready) -> None:
    collection = ready()
    add_pairs(conn, collection, tenths=[9] * 300, errors=(300, 0, 100, 0))
    with pytest.raises(RefusedError, match="errors in shadow reads"):
        commands.rollout(db, "docs", 5)
    assert commands.rollout(db, "docs", 5, accept_unproven="a GRANT was missing, it is there now").percent == 5


def test_live_overlap_and_that_of_a_label_hold_and_fire_by_their_bounds(
    db: Database, conn: Connection, ready: Ready
) -> None:
    collection = ready()
    commands.rollout(db, "docs", 5)
    settings = TriggerSettings(overlap=0.6, label_overlap={"voice": 0.6})
    assert _verdicts(conn, settings)["overlap@10"] is Verdict.NO_DATA
    add_pairs(conn, collection, tenths=[8] * 400)
    add_pairs(conn, collection, tenths=[3] * 400, label="voice", drawn=False)
    found = _verdicts(conn, settings)
    assert found["overlap@10"] is Verdict.FINE
    assert found["overlap@10 of voice"] is Verdict.FIRES


def test_watch_rolls_back_by_itself_and_says_what_fired(db: Database, conn: Connection, ready: Ready) -> None:
    collection = ready()
    commands.rollout(db, "docs", 25)
    looks: list[Look] = []

    def break_at_the_third(look: Look) -> None:
        looks.append(look)
        if len(looks) == 3:
            _fault(conn, collection)

    ended = commands.rollout_watch(db, "docs", settings=Settings(), look_s=0.02, on_look=break_at_the_third)
    assert (ended.outcome, ended.percent, len(looks)) == ("rolled back", 0, 4)
    assert routes.get_route(conn, "docs").share_bp == 0
    event = list_events(conn, "docs", limit=1)[0]
    assert (event.verb, event.was, event.became) == ("rollback", "25 %", "0 %")
    assert event.details["by"] == "rollback trigger"
    assert event.why is not None
    assert event.why.startswith("errors: 15.00% of 2,000 requests")
    with pytest.raises(RefusedError, match=r"a rollback trigger took the share back \(errors: 15"):
        commands.rollout(db, "docs", 5)


def test_auto_rolls_back_during_a_hold(db: Database, conn: Connection, ready: Ready) -> None:
    collection = ready()
    looks: list[Look] = []

    def spoil(look: Look) -> None:
        if not looks:
            _fault(conn, collection)
        looks.append(look)

    ended = commands.rollout_auto(db, "docs", settings=Settings(), look_s=0.02, on_look=spoil)
    assert (ended.outcome, looks[0].percent, ended.percent) == ("rolled back", 5, 0)


def test_auto_stops_and_asks_when_the_hold_is_over_and_nothing_is_known(
    db: Database, conn: Connection, ready: Ready
) -> None:
    ready()
    with pytest.raises(RefusedError, match="--accept-unproven"):
        commands.rollout_auto(db, "docs", settings=NO_HOLD)
    assert routes.get_route(conn, "docs").percent == 5
    ended = commands.rollout_auto(db, "docs", settings=NO_HOLD, accept_unproven="nobody searches at night")
    assert ended.outcome == "switched"


def test_a_trigger_does_not_take_back_a_share_that_changed_since_it_looked(
    db: Database, conn: Connection, ready: Ready
) -> None:
    ready()
    old = commands.rollout(db, "docs", 5)
    commands.rollout(db, "docs", 25, settings=NO_HOLD, accept_unproven="a test")
    assert trip(conn, get_collection(conn, "docs"), old.epoch, "errors") is None
    assert routes.get_route(conn, "docs").percent == 25


def test_a_trigger_does_not_lead_back_to_a_model_that_is_gone(db: Database, conn: Connection, ready: Ready) -> None:
    collection = ready()
    commands.rollout(db, "docs", 25)
    _fault(conn, collection)
    update_model(conn, replace(OLD, state=ModelState.GONE))
    with pytest.raises(RefusedError, match=r"old@1 is gone.*Decide"):
        commands.rollout_watch(db, "docs", settings=Settings())
    assert routes.get_route(conn, "docs").percent == 25
    assert commands.rollback(db, "docs").switched.percent == 0


def test_at_100_shadow_reads_still_watch(db: Database, conn: Connection, ready: Ready) -> None:
    collection = ready()
    commands.rollout(db, "docs", 100)
    add_pairs(conn, collection, tenths=[9] * 300, errors=(300, 0, 100, 0))
    ended = commands.rollout_watch(db, "docs", settings=Settings(), stop=threading.Event())
    assert ended.outcome == "rolled back"
    assert migrations.get_migration(conn, collection).retired_at is None


def test_a_group_rises_and_is_taken_back_as_one(db: Database, conn: Connection, ready: Ready) -> None:
    ready()
    ready(name="notes")
    conn.execute("UPDATE embedmig.collection SET group_name = 'docs' WHERE name = 'notes'")
    notes = get_collection(conn, "notes")
    assert commands.rollout(db, "notes", 25).percent == 25
    assert routes.get_route(conn, "docs").percent == 25
    _fault(conn, notes)
    ended = commands.rollout_watch(db, "docs", settings=Settings())
    assert ended.outcome == "rolled back"
    assert ended.why is not None
    assert ended.why.startswith("notes: errors: 15.00%")
    add_report(conn, notes, "pass")
    with pytest.raises(RefusedError, match="a rollback trigger took the share back"):
        commands.rollout(db, "docs", 5)
    add_report(conn, get_collection(conn, "docs"), "pass")
    assert commands.rollout(db, "docs", 5).percent == 5


def test_the_processes_that_search_roll_back_by_themselves_where_they_may(
    db: Database, conn: Connection, ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target whose table is lost fails every shadow; the searcher's own counting takes the share back."""
    ready(Placement.COMPANION)
    monkeypatch.setattr(reporting, "FLUSH_S", 0.05)
    settings = Settings(rollout=RolloutSettings(triggers=TriggerSettings(min_pairs=20)))
    commands.rollout(db, "docs", 5)

    def after_flush(url: str, collection: str) -> None:
        roll_back_on_breach(url, collection, settings=settings)

    shadow = ShadowOptions(share=1.0, queue=1000, after_flush=after_flush)
    with Searcher.connect("docs", database_url=db.url, shadow=shadow) as search:
        conn.execute("ALTER TABLE embedmig.docs_v2 RENAME TO elsewhere")
        deadline = time.monotonic() + 60
        while routes.get_route(conn, "docs").share_bp:
            assert time.monotonic() < deadline
            search("word1", k=3, routing_key="a user of the source")
    assert list_events(conn, "docs", limit=1)[0].details["by"] == "rollback trigger"


def test_a_role_that_only_searches_does_not_roll_back(db: Database, conn: Connection, ready: Ready) -> None:
    collection = ready()
    commands.rollout(db, "docs", 25)
    _fault(conn, collection)
    conn.execute("DROP ROLE IF EXISTS only_reads")
    conn.execute("CREATE ROLE only_reads LOGIN")
    try:
        conn.execute("GRANT USAGE ON SCHEMA embedmig TO only_reads")
        conn.execute("GRANT SELECT ON ALL TABLES IN SCHEMA embedmig TO only_reads")
        with pytest.raises(Exception, match="permission denied"):
            roll_back_on_breach(psycopg.conninfo.make_conninfo(db.url, user="only_reads"), "docs")
        assert routes.get_route(conn, "docs").percent == 25
    finally:
        conn.execute("DROP OWNED BY only_reads")
        conn.execute("DROP ROLE only_reads")


def test_a_role_with_the_rights_that_are_told_rolls_back(db: Database, conn: Connection, ready: Ready) -> None:
    collection = ready()
    commands.rollout(db, "docs", 25)
    _fault(conn, collection)
    conn.execute("DROP ROLE IF EXISTS may_roll_back")
    conn.execute("CREATE ROLE may_roll_back LOGIN")
    try:
        conn.execute("GRANT USAGE ON SCHEMA embedmig TO may_roll_back")
        conn.execute("GRANT SELECT ON embedmig.route, embedmig.slot TO may_roll_back")
        for grant in re.findall(r"^(GRANT .*) TO app;$", ROLLOUT_DOC.read_text(encoding="utf-8"), flags=re.M):
            conn.execute(f"{grant} TO may_roll_back")
        seen = roll_back_on_breach(psycopg.conninfo.make_conninfo(db.url, user="may_roll_back"), "docs")
        assert (seen.outcome, seen.percent) == ("rolled back", 0)
        assert routes.get_route(conn, "docs").percent == 0
    finally:
        conn.execute("DROP OWNED BY may_roll_back")
        conn.execute("DROP ROLE may_roll_back")


def test_the_command_line_watches_and_exits_1_when_it_rolled_back(
    db: Database, conn: Connection, ready: Ready, verb: Callable[..., tuple[int, str]]
) -> None:
    collection = ready()
    commands.rollout(db, "docs", 25)
    _fault(conn, collection)
    code, said = verb("rollout", "docs", "--watch")
    assert code == 1
    assert "docs: rolled back to 0 %" in said
    assert "errors: 15.00% of 2,000 requests" in said
