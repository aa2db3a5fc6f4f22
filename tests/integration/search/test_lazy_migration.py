"""Bridged rows that searches show: told apart, counted, queued first, and embedded when a searcher is told to."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import psycopg
import pytest
from psycopg import sql

from embedmig.backfill.census import count_rows
from embedmig.backfill.impressions import read_impressions
from embedmig.backfill.results import RunOptions
from embedmig.backfill.running import reembed
from embedmig.catalog import slots
from embedmig.catalog.found import report_found
from embedmig.commands import bridge, status
from embedmig.db import Connection, Database, identifiers
from embedmig.embedders.hashing import HashingEmbedder
from embedmig.errors import UsageError
from embedmig.search.searcher import Searcher
from embedmig.types import Collection, Embedding, Placement, Slot
from tests.backfill_support import check_every_row, entries, hands
from tests.bridge_support import bridged_keys, keep_bridge
from tests.integration.search.conftest import Connect
from tests.support import NEW, embed, expand_docs, make_docs, text_of

COMPLETE = 30.0


@pytest.fixture
def docs(request: pytest.FixtureRequest, db: Database, conn: Connection, monkeypatch: pytest.MonkeyPatch) -> Collection:
    """40 rows, all bridged (in a companion unless told), and this process pinned to them."""
    collection = make_docs(conn, 40)
    expand_docs(db, getattr(request, "param", Placement.COMPANION))
    keep_bridge(conn, collection)
    bridge(db, "docs")
    target = slots.get_slot(conn, collection, "v2")
    conn.execute(
        sql.SQL("CREATE INDEX ON {} USING hnsw ({} vector_cosine_ops)").format(
            identifiers.slot_table(target), sql.Identifier(target.vector_column)
        )
    )
    monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "v2")
    return collection


def v2(conn: Connection, collection: Collection) -> Slot:
    return slots.get_slot(conn, collection, "v2")


def query(number: int) -> Embedding:
    """What row ``number`` answers best once it is true."""
    return Embedding(embed(NEW, ["\n\n".join(text_of(number))])[0], model=NEW.key)


def wait_until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + COMPLETE
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


@pytest.mark.parametrize("docs", list(Placement), indirect=True)
def test_a_hit_says_that_it_is_bridged_and_what_is_shown_is_counted_and_queued(
    db: Database, conn: Connection, docs: Collection, connect: Connect
) -> None:
    search = connect("docs")
    hits = search(query(3), k=5)
    assert [hit.bridged for hit in hits] == [True] * 5
    assert {hit.model for hit in hits} == {"old@1->new@1"}
    search(query(3), k=5)
    search.close()
    target = v2(conn, docs)
    queued = entries(conn, target)
    assert sorted(entry["key"] for entry in queued) == sorted([str(hit.key)] for hit in hits)  # type: ignore[type-var]
    assert {entry["kind"] for entry in queued} == {"f"}
    census = count_rows(conn, docs, target)
    assert (census.queued, census.wrong) == (0, 0)
    seen = read_impressions(conn, docs, target)
    assert seen is not None
    assert (seen.shown, seen.bridged_when_shown, seen.bridged_now) == (10, 10, 10)
    assert seen.rows_to_99_percent == 5


def test_what_searches_show_is_embedded_before_the_rest_and_the_counts_follow(
    db: Database, conn: Connection, docs: Collection, verb: Callable[..., tuple[int, str]]
) -> None:
    with Searcher.connect("docs", database_url=db.url) as search:
        shown = {(str(hit.key),) for hit in search(query(3), k=5)}
    target = v2(conn, docs)
    with hands(db, docs) as worker:
        worker.plan(5)
        while entries(conn, target):
            worker.write(worker.read())
    assert shown.isdisjoint(bridged_keys(conn, docs, target))
    assert len(bridged_keys(conn, docs, target)) == 35
    seen = read_impressions(conn, docs, target)
    assert seen is not None
    assert (seen.shown, seen.bridged_when_shown, seen.bridged_now, seen.rows_to_99_percent) == (5, 5, 0, 0)
    [found] = status(db, "docs")
    assert found.impressions is not None
    assert found.impressions.slot == "v2"
    printed = verb("status", "docs")[1]
    assert "0.0% of 5 hits of v2 since yesterday were of true vectors, 100.0% would be now; 99 % are reached" in printed


def test_edits_come_before_what_was_found(db: Database, conn: Connection, docs: Collection) -> None:
    target = v2(conn, docs)
    report_found(conn, target.id, {(str(number),): 1 for number in range(1, 31)})
    conn.execute("UPDATE docs SET body = 'edited'")
    from embedmig.backfill.chunks import Claimant, claim_bucket, ensure_buckets
    from embedmig.backfill.queue import look_at_bucket

    ensure_buckets(conn, [target.id])
    chunk = claim_bucket(conn, target.id, 0, Claimant(name="me", backend=conn.info.backend_pid, lease_s=30))
    assert chunk is not None
    view = look_at_bucket(conn, chunk, keys=2)
    assert all(entry.edited is not None for entry in view.keys)


def test_the_queue_of_found_rows_is_bounded_and_takes_no_key_that_is_none_and_none_without_a_bridge(
    db: Database, conn: Connection, docs: Collection
) -> None:
    target = v2(conn, docs)
    assert report_found(conn, target.id, {("no number",): 1, ("1", "2"): 1, ("9" * 30,): 1, ("007",): 1}) == 1
    assert [entry["key"] for entry in entries(conn, target)] == [["7"]]
    assert report_found(conn, target.id, {(str(number),): 1 for number in range(12_000)}) == 9_999
    assert report_found(conn, target.id, {("20000",): 1}) == 0
    source = slots.get_slot(conn, docs, "v1")
    assert report_found(conn, source.id, {("1",): 1}) == 0


def test_a_searcher_in_the_background_embeds_what_it_showed(
    db: Database, conn: Connection, docs: Collection, connect: Connect
) -> None:
    search = connect("docs", refine="background")
    target = v2(conn, docs)
    shown = {(str(hit.key),) for hit in search(query(3), k=5)}
    wait_until(lambda: shown.isdisjoint(bridged_keys(conn, docs, target)))
    assert len(bridged_keys(conn, docs, target)) == 35
    wait_until(lambda: entries(conn, target) == [])
    hits = search(query(3), k=5)
    assert hits[0].key == 3
    assert not hits[0].bridged


@pytest.mark.parametrize("docs", list(Placement), indirect=True)
def test_inline_the_answer_is_by_true_vectors_and_they_stay_for_everyone(
    db: Database, conn: Connection, docs: Collection, connect: Connect
) -> None:
    search = connect("docs", refine="inline", refine_ms=60_000, refine_top=40)
    hits = search(query(7), k=3)
    assert [hit.bridged for hit in hits] == [False] * 3
    assert hits[0].key == 7
    assert hits[0].distance == pytest.approx(0, abs=1e-5)
    target = v2(conn, docs)
    assert bridged_keys(conn, docs, target) == []
    assert check_every_row(conn, docs, target).clean
    with Searcher.connect("docs", database_url=db.url) as other:
        assert [hit.key for hit in other(query(7), k=3)] == [hit.key for hit in hits]


class Slow(HashingEmbedder):
    """Waits to be let on, and notes what it was given."""

    given: ClassVar[list[str]] = []
    go = threading.Event()

    def embed_documents(self, texts: Any) -> Any:
        Slow.given += texts
        assert Slow.go.wait(COMPLETE)
        return super().embed_documents(texts)


@pytest.fixture
def slow_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Slow]]:
    """The new model embeds documents only once it is let on."""
    Slow.given, Slow.go = [], threading.Event()
    slow = Slow(options=NEW.options)
    monkeypatch.setattr("embedmig.search.refining.load_checked", lambda url, model: slow)
    monkeypatch.setattr("embedmig.search.finding.load_checked", lambda url, model: slow)
    yield Slow
    Slow.go.set()


def test_over_budget_it_answers_with_what_it_has_and_finishes_for_everybody(
    db: Database, conn: Connection, docs: Collection, connect: Connect, slow_model: type[Slow]
) -> None:
    search = connect("docs", refine="inline", refine_ms=50, refine_top=10)
    assert [hit.bridged for hit in search(query(7), k=3)] == [True] * 3
    slow_model.go.set()
    target = v2(conn, docs)
    wait_until(lambda: len(bridged_keys(conn, docs, target)) == 30)


def test_searches_at_the_same_time_embed_no_row_twice(
    db: Database, conn: Connection, docs: Collection, slow_model: type[Slow]
) -> None:
    """Two searchers stand for two processes: each has a connection and a thread of its own."""
    options: dict[str, Any] = {"database_url": db.url, "refine": "inline", "refine_ms": 60_000, "refine_top": 40}
    answers: list[list[Any]] = []
    with Searcher.connect("docs", **options) as one, Searcher.connect("docs", **options) as other:
        asking = [
            threading.Thread(target=lambda search=search, number=number: answers.append(search(query(number), k=20)))
            for search in (one, other)
            for number in (3, 4, 5)
        ]
        for thread in asking:
            thread.start()
        wait_until(lambda: slow_model.given)
        slow_model.go.set()
        for thread in asking:
            thread.join(COMPLETE)
    assert len(answers) == 6
    assert len(slow_model.given) == len(set(slow_model.given))
    assert not any(hit.bridged for hits in answers for hit in hits)


@pytest.mark.parametrize("docs", list(Placement), indirect=True)
def test_what_it_costs_counts_against_the_job_s_budget_and_a_spent_one_ends_it(
    db: Database, conn: Connection, docs: Collection
) -> None:
    from embedmig.backfill.budget import Budget, fetch_spent

    reembed(db, docs, options=RunOptions(until=0.05, budget=Budget(max_rows=20)))
    target = v2(conn, docs)
    before = fetch_spent(conn, [target]).rows
    assert before < 20
    options: dict[str, Any] = {"database_url": db.url, "refine": "inline", "refine_ms": 60_000, "refine_top": 40}
    with Searcher.connect("docs", **options) as search:
        search(query(7), k=3)
    spent = fetch_spent(conn, [target])
    assert spent.rows == 40
    assert spent.tokens > 0
    assert target.model_column is not None
    conn.execute(
        sql.SQL("UPDATE {} SET {} = %s").format(identifiers.slot_table(target), sql.Identifier(target.model_column)),
        [target.bridge_model_id],
    )
    with Searcher.connect("docs", **options) as search:
        assert all(hit.bridged for hit in search(query(7), k=3))
    assert len(bridged_keys(conn, docs, target)) == 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refine": "later"}, "refine is None, 'background' or 'inline'"),
        ({"refine": "inline", "refine_ms": 0}, "refine_ms is a number of milliseconds"),
        ({"refine": "inline", "refine_top": 0}, "refine_top is a whole number from 1"),
    ],
)
def test_options_that_cannot_be_are_refused(
    db: Database, conn: Connection, options: dict[str, Any], message: str
) -> None:
    make_docs(conn, 2)
    with pytest.raises(UsageError, match=message):
        Searcher.connect("docs", database_url=db.url, **options)


def test_who_may_not_write_is_answered_with_what_there_is_and_costs_no_call_of_the_model(
    db: Database, conn: Connection, docs: Collection, slow_model: type[Slow], caplog: pytest.LogCaptureFixture
) -> None:
    """As on a standby: the same searcher, where every session is read-only."""
    url = psycopg.conninfo.make_conninfo(db.url, options="-c default_transaction_read_only=on")
    with Searcher.connect("docs", database_url=url, refine="inline", refine_ms=60_000) as search:
        for number in (3, 4, 5):
            assert all(hit.bridged for hit in search(query(number), k=3))
    assert slow_model.given == []
    said = [record.message for record in caplog.records if "bridged rows are not refined for now" in record.message]
    assert len(said) == 1


def test_a_role_that_only_searches_reports_what_it_shows(db: Database, conn: Connection, docs: Collection) -> None:
    conn.execute("CREATE ROLE onlooker LOGIN")
    try:
        conn.execute("GRANT USAGE ON SCHEMA embedmig TO onlooker")
        conn.execute("GRANT SELECT ON docs, embedmig.route, embedmig.slot, embedmig.collection TO onlooker")
        url = psycopg.conninfo.make_conninfo(db.url, user="onlooker", password="")
        target = v2(conn, docs)
        with psycopg.connect(url, autocommit=True) as theirs:
            shown = json.dumps([{"key": ["3"], "impressions": 2}])
            theirs.execute("SELECT embedmig.report_found_v1(%s, %s::jsonb)", [target.id, shown])
        assert [entry["key"] for entry in entries(conn, target)] == [["3"]]
    finally:
        conn.execute("DROP OWNED BY onlooker")
        conn.execute("DROP ROLE onlooker")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("refine", ["background", "inline"])
def test_what_a_forked_process_closes_is_not_its_parent_s_connection(
    db: Database, conn: Connection, docs: Collection, refine: Any
) -> None:
    with Searcher.connect("docs", database_url=db.url, refine=refine, refine_ms=30_000) as search:
        search(query(3), k=5)
        own = search._refiner if refine == "inline" else search._finder
        assert own is not None
        wait_until(lambda: len(bridged_keys(conn, docs, v2(conn, docs))) < 40)
        wait_until(lambda: own._refinery is not None and own._refinery._conn is not None)
        backend = own._refinery.connection().info.backend_pid  # type: ignore[union-attr]
        child = os.fork()
        if child == 0:
            own.close()
            os._exit(0)
        ended: list[tuple[int, int]] = []
        wait_until(lambda: ended.append(os.waitpid(child, os.WNOHANG)) or ended[-1][0] == child)  # type: ignore[func-returns-value]
        assert ended[-1] == (child, 0)
        there = conn.execute("SELECT count(*) AS n FROM pg_stat_activity WHERE pid = %s", [backend]).fetchone()
        assert there == {"n": 1}
        bridged = len(bridged_keys(conn, docs, v2(conn, docs)))
        search(query(30), k=5)
        wait_until(lambda: len(bridged_keys(conn, docs, v2(conn, docs))) < bridged)
        assert own._refinery.connection().info.backend_pid == backend  # type: ignore[union-attr]
