"""With the old model gone, the way back leads through a query adapter, or it is said that it leads nowhere."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from embedmig import Searcher, commands
from embedmig.catalog import adapters
from embedmig.catalog.events import list_events
from embedmig.catalog.models import update_model
from embedmig.catalog.routes import get_route
from embedmig.catalog.slots import get_slot
from embedmig.cli.main import run
from embedmig.db import Connection, Database
from embedmig.settings import Settings
from embedmig.types import Collection, ModelState
from tests.adapter_support import keep_adapter
from tests.rollout_support import UNWATCHED, Ready, add_served
from tests.support import NEW, OLD, text_of

TEXT = "\n\n".join(text_of(3))


@pytest.fixture
def switched(db: Database, conn: Connection, ready: Ready) -> Collection:
    """``docs`` at 100, its old model gone since."""
    collection = ready()
    commands.rollout(db, "docs", 100, settings=UNWATCHED)
    update_model(conn, replace(OLD, state=ModelState.GONE))
    return collection


def test_rollback_puts_the_adapter_before_the_source_in_the_same_commit(
    db: Database, conn: Connection, switched: Collection
) -> None:
    keep_adapter(conn)
    with Searcher.connect("docs", database_url=db.url) as search:
        assert {hit.slot for hit in search(TEXT)} == {"v2"}
        epoch = get_route(conn, "docs").epoch
        back = commands.rollback(db, "docs").switched
        assert (back.through, back.unreachable, back.epoch) == (("a1 before v1 of docs",), (), epoch + 1)
        assert {hit.slot for hit in search(TEXT)} == {"v1"}
        assert search.serving().model == "new@1"
    used = next(event for event in list_events(conn, "docs") if event.verb == "adapter use")
    assert (used.was, used.became, used.why) == ("old@1", "new@1", "rollback")
    # Repeated, it changes nothing.
    assert commands.rollback(db, "docs").switched.epoch == epoch + 1


def test_at_a_share_of_0_rollback_puts_it_there_too(db: Database, conn: Connection, switched: Collection) -> None:
    assert commands.rollback(db, "docs").switched.unreachable
    keep_adapter(conn)
    epoch = get_route(conn, "docs").epoch
    back = commands.rollback(db, "docs").switched
    assert (back.percent, back.epoch, back.unreachable) == (0, epoch + 1, ())
    with Searcher.connect("docs", database_url=db.url) as search:
        assert {hit.slot for hit in search(TEXT)} == {"v1"}


@pytest.mark.parametrize("damage", ["none kept", "bytes", "fingerprint"])
def test_without_one_that_can_be_used_it_goes_back_all_the_same_and_says_so(
    db: Database, conn: Connection, switched: Collection, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    if damage != "none kept":
        keep_adapter(conn)
    if damage == "bytes":
        conn.execute("UPDATE embedmig.adapter SET body = 'damaged'")
    if damage == "fingerprint":
        conn.execute("UPDATE embedmig.model SET fingerprint = 'another' WHERE id = %s", [NEW.id])
    capsys.readouterr()
    assert run(["rollback", "docs", "--json", "--database-url", db.url]) == 1
    switched_back = json.loads(capsys.readouterr().out)["switched"]
    assert (switched_back["percent"], switched_back["through"]) == (0, [])
    said = {"none kept": "no adapter leads to it from new@1", "bytes": "cannot be read", "fingerprint": "another fing"}
    assert "old@1 is gone" in switched_back["unreachable"][0]
    assert said[damage] in switched_back["unreachable"][0]
    assert run(["rollback", "docs", "--database-url", db.url]) == 1
    assert "no text can be embedded for slot v1 of docs" in " ".join(capsys.readouterr().out.split())


def test_a_rollback_trigger_leads_back_through_it(db: Database, conn: Connection, ready: Ready) -> None:
    collection = ready()
    commands.rollout(db, "docs", 25)
    add_served(conn, collection, "v1", 5_000)
    add_served(conn, collection, "v2", 2_000, errors=400)
    update_model(conn, replace(OLD, state=ModelState.GONE))
    keep_adapter(conn)
    assert commands.rollout_watch(db, "docs", settings=Settings()).outcome == "rolled back"
    assert [one.slot for one in adapters.list_adapters(conn, collection)] == ["v1"]


def test_status_shows_the_debt_and_its_end(
    db: Database, conn: Connection, switched: Collection, capsys: pytest.CaptureFixture[str]
) -> None:
    def page() -> str:
        capsys.readouterr()
        assert run(["status", "docs", "--database-url", db.url]) == 0
        return " ".join(capsys.readouterr().out.split())

    assert "v1: old@1 is gone, so that it answers no text: embedmig adapter fit docs" in page()
    kept = keep_adapter(conn)
    commands.rollback(db, "docs")
    assert "v1 is asked with new@1 through adapter a1 since" in page()
    assert "keeping 75.0% [70.0% to 80.0%] of its ranking" in page()
    adapters.note_health(conn, kept, {"drift": {"drifted": True}})
    assert "it has drifted since: embedmig adapter eval docs a1" in page()
    (source, target) = commands.status(db, "docs")[0].slots
    assert source.debt is not None
    assert (source.debt.adapter, source.debt.asked_model, source.debt.usable, target.debt) == (
        "a1",
        "new@1",
        True,
        None,
    )
    conn.execute("UPDATE embedmig.model SET fingerprint = 'another' WHERE id = %s", [NEW.id])
    assert "UNUSABLE, a model has another fingerprint" in page()


def test_a_bridge_that_has_drifted_since_the_share_rose_rolls_back(
    db: Database, conn: Connection, ready: Ready
) -> None:
    collection = ready()
    bridge = adapters.add_adapter(
        conn, collection, name=None, direction="bridge", from_model=OLD, to_model=NEW, kind="ridge", normalise=True,
        body=b"", provenance={"scores": []},
    )  # fmt: skip
    adapters.mark_used(conn, bridge, get_slot(conn, collection, "v2"))
    commands.rollout(db, "docs", 25)
    drift = {"rise": 0.5, "low": 0.4, "high": 0.6, "drifted": True}
    adapters.note_health(conn, bridge, {"at": datetime.now(UTC).isoformat(), "pairs": 100, "drift": drift})
    ended = commands.rollout_watch(db, "docs", settings=Settings())
    assert (ended.outcome, ended.percent) == ("rolled back", 0)
    assert ended.why is not None
    assert "a1 misses by +50.0% of what it did" in ended.why
