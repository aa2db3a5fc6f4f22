"""status tells where a migration stands from facts, and the command that leads on."""

import json
from collections.abc import Callable

import pytest

from embedmig import commands
from embedmig.catalog import slots
from embedmig.cli.main import run
from embedmig.db import Connection, Database
from embedmig.schema.handing_over import hand_over
from embedmig.stages import Stage
from embedmig.types import Placement
from tests.rollout_support import Ready, add_pairs, add_served
from tests.support import expand_docs, fill_slot, make_docs


@pytest.mark.parametrize("placement", list(Placement))
def test_the_stage_follows_what_is_done(db: Database, conn: Connection, placement: Placement) -> None:
    collection = make_docs(conn)
    assert commands.status(db, "docs")[0].stage is Stage.REGISTERED
    expand_docs(db, placement)
    shown = commands.status(db, "docs")[0]
    assert (shown.stage, shown.source, shown.target) == (Stage.EXPANDED, "v1", "v2")
    assert shown.next.command == "embedmig reembed docs"
    target = slots.list_slots(conn, collection)[1]
    fill_slot(conn, collection, target)
    assert commands.status(db, "docs")[0].stage is Stage.BACKFILLING
    slots.mark_filled(conn, target)
    assert commands.status(db, "docs")[0].stage is Stage.BACKFILLED
    commands.index(db, "docs")
    assert commands.status(db, "docs")[0].stage is Stage.INDEXED


def test_status_counts_the_slots_and_what_is_queued(db: Database, conn: Connection) -> None:
    collection = make_docs(conn, rows=20)
    expand_docs(db)
    fill_slot(conn, collection, slots.list_slots(conn, collection)[1])
    hand_over(conn, collection)
    conn.execute("UPDATE public.docs SET body = body || '!' WHERE id <= 3")
    source, target = commands.status(db, "docs")[0].slots
    assert source.census is not None
    assert target.census is not None
    assert (target.census.true, target.census.stale, target.tail.queued) == (20, 3, 3)
    assert (source.census.unrecorded, source.tail.queued) == (20, 3)
    assert commands.status(db, "docs", count=False)[0].slots[0].census is None


def test_the_page_is_printed_and_is_json_for_machines(
    db: Database, conn: Connection, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_docs(conn)
    expand_docs(db)
    monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "new")
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["status", "--database-url", db.url]) == 0
    page = capsys.readouterr().out
    assert "stage: expanded" in page
    assert "embedmig reembed docs" in page
    assert "EMBEDMIG_ACTIVE_INDEX=new in this shell wins" in page
    assert "v1      column, maintained by the application, no index" in page
    assert "…" not in page, "nothing is cut off at 80 columns"
    assert run(["status", "--json", "--database-url", db.url]) == 0
    assert json.loads(capsys.readouterr().out)[0]["stage"] == "expanded"


def test_the_page_at_two_in_the_morning(
    db: Database, conn: Connection, ready: Ready, verb: Callable[..., tuple[int, str]]
) -> None:
    """Share, hold, traffic of both, shadow agreement, each trigger's distance, the guard, and the way back."""
    collection = ready()
    commands.rollout(db, "docs", 5)
    add_served(conn, collection, "v1", 20_000, errors=20)
    add_served(conn, collection, "v2", 2_000, empty=20)
    add_pairs(conn, collection, tenths=[8] * 300)
    add_pairs(conn, collection, tenths=[4] * 50, label="voice", drawn=False)
    ramp = commands.status(db, "docs")[0].ramp
    assert [(slot.slot, slot.requests) for slot in ramp.served] == [("v1", 20_000), ("v2", 2_000)]
    assert ramp.shadows is not None
    assert ramp.shadows.overlap_at_10 == pytest.approx(0.8)
    assert [(each.label, each.pairs) for each in ramp.shadows.labels] == [("voice", 50)]
    assert 47.9 * 3600 < ramp.hold_left_s <= 48 * 3600
    code, page = verb("status", "docs")
    assert code == 0
    for said in (
        "stage: ramping",
        "held since",
        "served v1: 20,000 requests in 24 h",
        "0.10% errors",
        "served v2: 2,000 requests in 24 h",
        "shadow 350 pairs",
        "overlap@10 0.800, voice 0.400 of 50",
        "trigger fine: errors",
        "of what fires it",
        "missing 5 % are to be held",
        "next embedmig rollout docs 25",
        "back embedmig rollback docs",
    ):
        assert said in page, (said, page)
    assert json.loads(verb("status", "docs", "--json")[1])[0]["ramp"]["triggers"][0]["name"] == "p99 latency"


def test_after_a_trigger_the_page_says_what_it_said_and_where_the_share_was(
    db: Database, conn: Connection, ready: Ready, verb: Callable[..., tuple[int, str]]
) -> None:
    collection = ready()
    commands.rollout(db, "docs", 25)
    add_served(conn, collection, "v1", 20_000)
    add_served(conn, collection, "v2", 2_000, errors=300)
    assert "trigger fires: errors: 15.00% of 2,000 requests" in verb("status", "docs")[1]
    assert verb("rollout", "docs", "--watch")[0] == 1
    page = verb("status", "docs")[1]
    assert "tripped a rollback trigger took the share back: errors: 15.00%" in page
    assert "the share was 25 % before" in page
    assert "next embedmig validate docs" in page
    assert "back embedmig rollback" not in page


def test_no_collection_says_what_to_do(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--database-url", db.url]) == 0
    assert "embedmig init" in capsys.readouterr().out


def test_an_unknown_collection_names_those_there_are(
    db: Database, conn: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    make_docs(conn)
    assert run(["status", "dogs", "--database-url", db.url]) == 2
    assert "there are: docs" in capsys.readouterr().err
