"""Which slot answers: shares, keys, pins, and what a searcher says about it."""

import logging
import os
import socket
from collections.abc import Callable

import psycopg
import pytest

from embedmig.catalog import collections, migrations, routes, slots
from embedmig.db import Connection, Database
from embedmig.errors import NotFoundError, RefusedError, SettingsError
from embedmig.search.routing import routing_bucket
from embedmig.types import Placement, ServingKey, Slot
from tests.integration.search.conftest import Connect, fill, set_share
from tests.support import expand_docs, make_docs

KEYS = [f"user-{n}" for n in range(40)]

SPOILS = {
    "never filled": "UPDATE embedmig.slot SET filled_at = NULL",
    "failure": "INSERT INTO embedmig.failure (slot_id, key, reason) SELECT max(id), '{3}', 'x' FROM embedmig.slot",
    "invalid index": "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('docs_v2_hnsw')"
    " OR indexrelid = to_regclass('embedmig.docs_v2_hnsw')",
}


@pytest.mark.parametrize("key", ["", "user-1", "Grüße, 世界", "a" * 500, "x'y\"z%"])
def test_the_hash_is_the_same_in_sql(conn: Connection, key: str) -> None:
    row = conn.execute("SELECT ('x' || left(md5(%s), 8))::bit(32)::bigint %% 10000 AS bucket", [key]).fetchone()
    assert row == {"bucket": routing_bucket(key)}


def test_one_user_sees_one_slot_and_a_larger_share_only_adds_users(
    connect: Connect, conn: Connection, target: Slot
) -> None:
    search, seen = connect(), []
    for share in (5, 25, 50, 100):
        set_share(conn, share)
        moved = {key for key in KEYS if search("any text", k=1, routing_key=key)[0].slot == "v2"}
        assert moved == {key for key in KEYS if search("other text", k=1, routing_key=key)[0].slot == "v2"}
        assert moved == {key for key in KEYS if routing_bucket(key) < share * 100}
        seen.append(moved)
    assert seen[0] <= seen[1] <= seen[2] <= seen[3]
    assert 0 < len(seen[1]) < len(seen[2]) < len(KEYS) == len(seen[3])


def test_the_serving_key_is_that_of_now(connect: Connect, conn: Connection, target: Slot) -> None:
    search = connect()
    epoch = search.serving().epoch
    assert search.serving("user") == ServingKey(model="old@1", slot="v1", epoch=epoch)
    assert set_share(conn, 100) == epoch + 1
    assert search.serving("user") == ServingKey(model="new@1", slot="v2", epoch=epoch + 1)
    set_share(conn, 50)
    inside, outside = (next(k for k in KEYS if (routing_bucket(k) < 5_000) is side) for side in (True, False))
    assert (search.serving(inside).slot, search.serving(outside).slot, search.serving().slot) == ("v2", "v1", "v1")


def test_the_explanation_is_that_of_now(connect: Connect, conn: Connection, target: Slot) -> None:
    search = connect()
    assert search.explain("any text").slot == "v1"
    set_share(conn, 100)
    explained = search.explain("any text")
    assert (explained.slot, explained.model, explained.index) == ("v2", "new@1", "docs_v2_hnsw")
    assert "100 %" in explained.why


@pytest.mark.parametrize("target", ["column"], indirect=True)
class TestPins:
    @pytest.fixture(autouse=True)
    def _target(self, target: Slot) -> None: ...

    @pytest.mark.parametrize(("value", "slot"), [("old", "v1"), ("new", "v2"), ("v1", "v1"), ("v2", "v2")])
    def test_the_environment_wins_over_the_route(
        self, connect: Connect, conn: Connection, monkeypatch: pytest.MonkeyPatch, value: str, slot: str
    ) -> None:
        monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", value)
        search = connect()
        for share in (0, 100, 50, 0):
            set_share(conn, share)
            assert search("any text", k=1)[0].slot == slot
            assert search.serving("user").slot == slot
        explained = search.explain("any text")
        assert (explained.slot, explained.pin) == (slot, value)
        assert f"EMBEDMIG_ACTIVE_INDEX={value}" in explained.why

    def test_auto_follows_the_route(self, connect: Connect, conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "auto")
        search = connect()
        assert search("any text", k=1)[0].slot == "v1"
        set_share(conn, 100)
        assert search("any text", k=1)[0].slot == "v2"

    def test_the_collections_own_variable_wins(self, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "old")
        monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX_DOCS", "v2")
        assert connect()("any text", k=1)[0].slot == "v2"

    @pytest.mark.parametrize("spoil", SPOILS)
    def test_a_pin_to_a_target_that_is_not_ready_fails_at_connect_and_one_to_the_source_goes(
        self, connect: Connect, conn: Connection, monkeypatch: pytest.MonkeyPatch, spoil: str
    ) -> None:
        conn.execute(SPOILS[spoil])
        monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "new")
        with pytest.raises(RefusedError, match="EMBEDMIG_ACTIVE_INDEX=new pins this process to slot v2 of docs"):
            connect()
        monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "old")
        assert connect()("any text", k=1)[0].slot == "v1"

    def test_an_ignored_failure_is_no_obstacle(
        self, connect: Connect, conn: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        conn.execute(SPOILS["failure"])
        conn.execute("UPDATE embedmig.failure SET ignored = true")
        monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "new")
        assert connect()("any text", k=1)[0].slot == "v2"

    def test_a_pin_to_no_slot_names_those_there_are(self, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "v7")
        with pytest.raises(NotFoundError, match="no slot v7 of docs; there are: v1, v2"):
            connect()

    def test_a_pinned_process_reports_itself_at_a_search_and_not_again_within_a_minute(
        self, connect: Connect, db: Database, conn: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        collection = collections.get_collection(conn, "docs")
        monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "new")
        search = connect()
        assert routes.live_pins(conn, collection) == []
        search("any text")
        (pin,) = routes.live_pins(conn, collection)
        assert (pin.host, pin.pid, pin.pin, pin.slot) == (socket.gethostname(), os.getpid(), "new", "v2")
        assert pin.epoch == search.serving().epoch
        search("any text")
        assert routes.live_pins(conn, collection) == [pin]

    def test_a_look_by_hand_reports_no_pin_that_would_hold_up_verbs(
        self, connect: Connect, conn: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "new")
        assert connect(counted=False)("any text", k=1)[0].slot == "v2"
        assert routes.live_pins(conn, collections.get_collection(conn, "docs")) == []

    def test_a_process_that_is_not_pinned_reports_nothing(self, connect: Connect, conn: Connection) -> None:
        connect()("any text")
        assert routes.live_pins(conn, collections.get_collection(conn, "docs")) == []

    def test_where_nothing_can_be_written_a_pinned_process_searches_and_warns(
        self, connect: Connect, db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "new")
        url = psycopg.conninfo.make_conninfo(db.url, options="-c default_transaction_read_only=on")
        assert connect(database_url=url)("any text", k=1)[0].slot == "v2"
        assert "could not report the pin" in caplog.text


def test_members_of_a_group_are_pinned_together(
    connect: Connect, db: Database, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("docs", "notes"):
        make_docs(conn, name=name, table=name)
    conn.execute("UPDATE embedmig.collection SET group_name = 'docs'")
    for name in ("docs", "notes"):
        fill(conn, expand_docs(db, Placement.COMPANION, collection=name).target, name)
    monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "new")
    assert [connect(name)("any text", k=1)[0].slot for name in ("docs", "notes")] == ["v2", "v2"]
    monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "v2")
    with pytest.raises(SettingsError, match="one of 2 collections that answer together"):
        connect("notes")
    monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "auto")
    monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX_NOTES", "new")
    with pytest.raises(SettingsError, match="EMBEDMIG_ACTIVE_INDEX_NOTES=new"):
        connect("notes")
    monkeypatch.delenv("EMBEDMIG_ACTIVE_INDEX_NOTES")
    searchers = [connect(name) for name in ("docs", "notes")]
    set_share(conn, 100)
    assert [search("any text", k=1)[0].slot for search in searchers] == ["v2", "v2"]


@pytest.mark.parametrize("value", ["old", "new"])
def test_with_no_migration_open_old_and_new_mean_the_only_slot_and_a_warning_says_so(
    connect: Connect,
    conn: Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    value: str,
) -> None:
    make_docs(conn)
    monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", value)
    with caplog.at_level(logging.WARNING, logger="embedmig"):
        search = connect()
    assert f"EMBEDMIG_ACTIVE_INDEX={value}, but docs has no open migration" in caplog.text
    assert search("any text", k=1)[0].slot == "v1"


def test_closing_a_migration_makes_the_target_the_only_slot_whatever_the_share(
    connect: Connect, conn: Connection, target: Slot
) -> None:
    search = connect()
    assert search("any text", k=1)[0].slot == "v1"
    collection = collections.get_collection(conn, "docs")
    with conn.transaction():
        migrations.close_migration(conn, migrations.get_migration(conn, collection))
        slots.drop_slot(conn, slots.get_slot(conn, collection, "v1"))
        routes.set_share(conn, "docs", 0)
    assert search("any text", k=1)[0].slot == "v2"
    assert search("any text", k=1, max_distance=1.5)


def test_a_variable_with_a_typo_is_a_warning_at_connect_and_an_error_of_status_and_doctor(
    connect: Connect,
    target: Slot,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    verb: Callable[..., tuple[int, str]],
) -> None:
    assert verb("status")[0] == 0
    monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX_DCOS", "new")
    assert connect()("word1", k=1)[0].slot == "v1"
    (warning,) = [record.message for record in caplog.records]
    assert warning.startswith("EMBEDMIG_ACTIVE_INDEX_DCOS pins nothing")
    for command, code in (("status", 2), ("doctor", 1)):
        got, said = verb(command)
        assert got == code
        assert "EMBEDMIG_ACTIVE_INDEX_DCOS pins nothing" in said
        assert "EMBEDMIG_ACTIVE_INDEX_DOCS" in said
