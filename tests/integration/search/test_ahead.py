"""The other slot's model is in memory before a query needs it, and nothing hangs on that."""

import logging
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from embedmig.catalog import collections, slots
from embedmig.db import Connection, Database
from embedmig.embedders import forget_embedders, registry
from embedmig.errors import RefusedError
from embedmig.types import Embedding, Model, Placement
from tests.integration.search.conftest import Connect, fill, set_share
from tests.support import NEW, OLD, embed, expand_docs, make_docs


@pytest.fixture(autouse=True)
def _nothing_loaded() -> None:
    forget_embedders()


def is_loaded(model: Model) -> bool:
    return any(model.id in place for place in registry._loaded)


def settle() -> None:
    """Until nothing loads any more."""
    deadline = time.monotonic() + 20
    while any(thread.name == "embedmig-ahead" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def read_again(search: Any) -> None:
    """As a minute later."""
    getattr(search, "_searcher", search)._due_s = time.monotonic()
    search("a text", k=1)
    settle()


def test_the_targets_model_is_loaded_once_one_command_could_make_it_serve(
    connect: Connect, db: Database, conn: Connection
) -> None:
    make_docs(conn)
    target = expand_docs(db, Placement.COMPANION).target
    search = connect()
    search("a text", k=1)
    read_again(search)
    assert not is_loaded(NEW)
    fill(conn, target)
    read_again(search)
    assert is_loaded(NEW)


@pytest.mark.parametrize("target", ["column"], indirect=True)
class TestReady:
    @pytest.fixture(autouse=True)
    def _target(self, target: Any) -> None: ...

    def test_a_process_that_begins_at_100_loads_the_way_back_too(self, connect: Connect, conn: Connection) -> None:
        set_share(conn, 100)
        search = connect()
        assert search("a text", k=1)[0].slot == "v2"
        settle()
        assert is_loaded(OLD)

    def test_callers_who_bring_vectors_load_nothing(self, connect: Connect) -> None:
        search = connect()
        query = Embedding(embed(OLD, ["a text"])[0], model=OLD.key)
        assert search(query)
        getattr(search, "_searcher", search)._due_s = time.monotonic()
        assert search(query)
        settle()
        assert not is_loaded(NEW)

    def test_neither_do_those_that_are_pinned_or_said_no(
        self, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read_again(connect(load_ahead=False))
        monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "v1")
        read_again(connect())
        assert not is_loaded(NEW)

    def test_a_model_that_is_gone_is_left_alone(self, connect: Connect, conn: Connection) -> None:
        set_share(conn, 100)
        conn.execute("UPDATE embedmig.model SET state = 'gone' WHERE name = 'old'")
        search = connect()
        search("a text", k=1)
        settle()
        assert not is_loaded(OLD)

    def test_a_model_that_does_not_load_is_a_warning_and_searches_go_on(
        self, connect: Connect, conn: Connection, caplog: pytest.LogCaptureFixture
    ) -> None:
        conn.execute("""UPDATE embedmig.model SET options = '{"nonsense": 1}' WHERE name = 'new'""")
        search = connect()
        with caplog.at_level(logging.WARNING, logger="embedmig"):
            for _ in range(3):
                read_again(search)
        assert [record.getMessage()[:48] for record in caplog.records] == [
            "new@1 could not be loaded ahead of the queries that"[:48]
        ]


def test_a_route_that_leads_to_a_target_that_was_never_filled_is_no_answer_and_heals(
    connect: Connect, db: Database, conn: Connection
) -> None:
    make_docs(conn)
    target = expand_docs(db, Placement.COMPANION).target
    search = connect()
    set_share(conn, 100)
    for _ in range(2):
        with pytest.raises(RefusedError, match="leads to slot v2, which was never filled"):
            search("a text")
    fill(conn, target)
    assert search("a text", k=1)[0].slot == "v2"
    collection = collections.get_collection(conn, "docs")
    slots.update_slot(conn, replace(slots.get_slot(conn, collection, "v2"), filled_at=None))
    set_share(conn, 0)
    assert search("a text", k=1)[0].slot == "v1"
