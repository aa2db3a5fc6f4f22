"""status tells where a migration stands from facts, and the command that leads on."""

import json

import pytest

from embedmig import commands
from embedmig.catalog import slots
from embedmig.cli.main import run
from embedmig.db import Connection, Database
from embedmig.schema.handing_over import hand_over
from embedmig.stages import Stage
from embedmig.types import Placement
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
    assert run(["status", "--database-url", db.url]) == 0
    page = capsys.readouterr().out
    assert "stage: expanded" in page
    assert "embedmig reembed docs" in page
    assert "EMBEDMIG_ACTIVE_INDEX=new in this shell wins" in page
    assert run(["status", "--json", "--database-url", db.url]) == 0
    assert json.loads(capsys.readouterr().out)[0]["stage"] == "expanded"


def test_no_collection_says_what_to_do(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--database-url", db.url]) == 0
    assert "embedmig init" in capsys.readouterr().out


def test_an_unknown_collection_names_those_there_are(
    db: Database, conn: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    make_docs(conn)
    assert run(["status", "dogs", "--database-url", db.url]) == 2
    assert "there are: docs" in capsys.readouterr().err
