"""What was served by which slot, and when, can be told afterwards."""

import json
import logging
import time
from collections.abc import Callable

import psycopg
import pytest

from embedmig import Embedding, Searcher, commands
from embedmig.catalog import routes, slots
from embedmig.db import Connection, Database
from embedmig.errors import DatabaseError, UsageError
from embedmig.search import reporting
from tests.integration.search.conftest import Connect
from tests.support import NEW, OLD, embed, expand_docs, fill_slot, make_docs, switch_docs


def _counts(conn: Connection) -> list[tuple[str, str, int, int, int]]:
    rows = conn.execute(
        "SELECT s.name, t.chosen_by, sum(t.requests)::int AS n, sum(t.errors)::int AS e, sum(t.empty)::int AS z"
        "  FROM embedmig.served t JOIN embedmig.slot s ON s.id = t.slot_id GROUP BY 1, 2 ORDER BY 1, 2"
    )
    return [tuple(row.values()) for row in rows]  # type: ignore[misc]


def test_each_answer_counts_for_its_slot_and_by_what_chose_it(db: Database, conn: Connection, connect: Connect) -> None:
    collection = make_docs(conn)
    expand_docs(db)
    target = slots.list_slots(conn, collection)[1]
    fill_slot(conn, collection, target)
    slots.mark_filled(conn, target)
    routes.set_share(conn, collection.group, 5000)
    search = connect()
    by_key = [search("word1", k=1, routing_key=f"user{n}")[0].slot for n in range(20)]
    search(Embedding(embed(OLD, ["word1"])[0], model="old@1"), k=1)
    assert search("word1", where="lang = 'none'") == []
    by_key.append(search.serving("word1").slot)
    search.close()
    found = {(slot, by): n for slot, by, n, _, _ in _counts(conn)}
    assert found == {("v1", "key"): by_key.count("v1"), ("v2", "key"): by_key.count("v2"), ("v1", "share"): 1}
    assert sum(empty for *_, empty in _counts(conn)) == 1
    row = conn.execute("SELECT latency, requests FROM embedmig.served WHERE chosen_by = 'share'").fetchone()
    assert row is not None
    assert sum(row["latency"]) == row["requests"] == 1


def test_a_pin_counts_apart(db: Database, conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    make_docs(conn)
    monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "v1")
    with Searcher.connect("docs", database_url=db.url) as search:
        search("word1", k=1)
    assert _counts(conn) == [("v1", "pin", 1, 0, 0)]


def test_errors_of_the_slot_count_and_mistakes_of_the_caller_do_not(conn: Connection, connect: Connect) -> None:
    make_docs(conn)
    search = connect()
    search("word1", k=1)
    with pytest.raises(UsageError):
        search("word1", where="no_such_column = 1")
    with pytest.raises(UsageError):
        search("")
    conn.execute("ALTER TABLE public.docs RENAME TO elsewhere")
    with pytest.raises(DatabaseError):
        search("word1", k=1)
    search.close()
    assert _counts(conn) == [("v1", "share", 2, 1, 0)]


def test_counts_are_written_by_the_minute_without_a_close(
    db: Database, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_docs(conn)
    monkeypatch.setattr(reporting, "FLUSH_S", 0.05)
    with Searcher.connect("docs", database_url=db.url) as search:
        search("word1", k=1)
        deadline = time.monotonic() + 20
        while not _counts(conn):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_searcher_that_nobody_closes_writes_its_counts_too(db: Database, conn: Connection) -> None:
    make_docs(conn)
    search = Searcher.connect("docs", database_url=db.url)
    search("word1", k=1)
    search._pool.close()
    del search
    assert _counts(conn) == [("v1", "share", 1, 0, 0)]


def test_what_cannot_be_written_waits_and_no_search_fails_by_it(
    db: Database, conn: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    make_docs(conn)
    conn.execute("ALTER FUNCTION embedmig.report_served_v1 RENAME TO away")
    with Searcher.connect("docs", database_url=db.url) as search, caplog.at_level(logging.WARNING):
        search("word1", k=1)
        search._notes.reporter.flush()
        search("word1", k=1)
        search._notes.reporter.flush()
        assert [record.message for record in caplog.records if "not counted for now" in record.message] == [
            record.message for record in caplog.records
        ]
        assert len(caplog.records) == 1
        conn.execute("ALTER FUNCTION embedmig.away RENAME TO report_served_v1")
    assert _counts(conn) == [("v1", "share", 2, 0, 0)]


def test_a_role_that_only_searches_appends_counts_and_reads_none(db: Database, conn: Connection) -> None:
    make_docs(conn)
    conn.execute("DROP ROLE IF EXISTS only_searches")
    conn.execute("CREATE ROLE only_searches LOGIN")
    try:
        conn.execute("GRANT USAGE ON SCHEMA embedmig TO only_searches")
        conn.execute("GRANT SELECT ON embedmig.route, embedmig.slot, public.docs TO only_searches")
        url = psycopg.conninfo.make_conninfo(db.url, user="only_searches")
        with Searcher.connect("docs", database_url=url) as search:
            search("word1", k=1)
        assert _counts(conn) == [("v1", "share", 1, 0, 0)]
        with psycopg.connect(url) as theirs, pytest.raises(psycopg.errors.InsufficientPrivilege):
            theirs.execute("SELECT * FROM embedmig.served")
    finally:
        conn.execute("DROP OWNED BY only_searches")
        conn.execute("DROP ROLE only_searches")


def test_hours_and_slots_are_told(db: Database, conn: Connection, verb: Callable[..., tuple[int, str]]) -> None:
    collection = make_docs(conn)
    expand_docs(db)
    with Searcher.connect("docs", database_url=db.url) as search:
        search("word1", k=1)
    switch_docs(conn, collection)
    with Searcher.connect("docs", database_url=db.url) as search:
        search("word1", k=1)
        search("word2", k=1)
    told = commands.served(db, "docs")
    assert [(row.slot, row.requests, row.errors) for row in told] == [("v1", 1, 0), ("v2", 2, 0)]
    assert told[1].p99_ms is not None
    conn.execute("UPDATE embedmig.served SET hour = hour - interval '3 hours'")
    assert commands.served(db, "docs", hours=1) == []
    assert len(commands.served(db, "docs", hours=4)) == 2
    code, said = verb("events", "docs", "--served", "--json")
    assert code == 0
    assert [row["slot"] for row in json.loads(said)] == ["v1", "v2"]
    assert "requests" in verb("events", "docs", "--served")[1]
    assert verb("events", "--served")[0] == 2


def test_looks_by_hand_are_no_traffic(db: Database, conn: Connection) -> None:
    make_docs(conn)
    commands.search(db, "docs", "word1")
    assert _counts(conn) == []


def test_contract_waits_until_the_source_was_quiet_for_a_day(db: Database, conn: Connection) -> None:
    collection = make_docs(conn)
    expand_docs(db)
    with Searcher.connect("docs", database_url=db.url) as search:
        search("word1", k=1)
    switch_docs(conn, collection)
    with Searcher.connect("docs", database_url=db.url) as search:
        search(Embedding(embed(NEW, ["word1"])[0], model="new@1"), k=1)
    refused = commands.contract(db, "docs", dry_run=True).refusals
    assert [why for why in refused if "answered 1 requests in the last 24 hours" in why and "v1" in why] == list(
        refused
    )
    assert len(refused) == 1
    assert commands.contract(db, "docs", dry_run=True, force=True).forced == ("traffic",)
    conn.execute("UPDATE embedmig.served SET hour = hour - interval '25 hours'")
    assert commands.contract(db, "docs", dry_run=True).refusals == ()
