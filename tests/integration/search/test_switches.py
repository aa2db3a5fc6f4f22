"""A switch is exact, and what a migration takes away under a running search is searched for anew."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from psycopg import sql

from embedmig.catalog import collections, migrations, routes, slots
from embedmig.db import Connection, Database
from embedmig.embedders import forget_embedders
from embedmig.errors import DatabaseError, FingerprintError, ModelMismatchError, NotFoundError
from embedmig.types import Embedding, Placement, Slot
from tests.integration.search.conftest import Connect, fill, set_share
from tests.support import OLD, embed, expand_docs, make_docs

OLD_QUERY = Embedding(embed(OLD, ["a text"])[0], model="old@1")


class Crowd:
    """Threads that search without pause; each answer is kept with when it was asked and when it came."""

    def __init__(self, search: Any, threads: int = 6) -> None:
        self.answers: list[tuple[float, float, str]] = []
        self.errors: list[Exception] = []
        self._search, self._stop = search, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        asked = 0
        while not self._stop.is_set():
            asked += 1
            start = time.monotonic()
            try:
                hits = self._search(f"thread {number} asks {asked}", k=3)
                self.answers.append((start, time.monotonic(), hits[0].slot))
            except Exception as error:  # noqa: BLE001 whatever it is, the test reports it
                self.errors.append(error)

    def wait_for(self, answers: int) -> None:
        """Until so many more answers came."""
        goal, deadline = len(self.answers) + answers, time.monotonic() + 30
        while len(self.answers) < goal and not self.errors and time.monotonic() < deadline:
            time.sleep(0.002)
        assert self.errors == []
        assert len(self.answers) >= goal


def test_no_answer_asked_after_a_switch_comes_from_the_slot_that_was_left(
    connect: Connect, conn: Connection, target: Slot
) -> None:
    periods: list[tuple[float, float, str]] = []
    with Crowd(connect()) as crowd:
        for turn in range(20):
            slot = ("v2", "v1")[turn % 2]
            set_share(conn, 100 if slot == "v2" else 0)
            committed = time.monotonic()
            crowd.wait_for(20)
            periods.append((committed, time.monotonic(), slot))
    inside = [
        (slot, answered)
        for start, end, slot in periods
        for asked, came, answered in crowd.answers
        if asked >= start and came <= end
    ]
    assert len(inside) > 150
    assert [pair for pair in inside if pair[0] != pair[1]] == []


def test_a_text_is_embedded_again_and_an_embedding_learns_what_is_served(
    connect: Connect, conn: Connection, target: Slot
) -> None:
    search = connect()
    assert search(OLD_QUERY)[0].slot == search("a text")[0].slot == "v1"
    epoch = set_share(conn, 100)
    assert {hit.model for hit in search("a text")} == {"new@1"}
    set_share(conn, 0)
    assert search(OLD_QUERY)[0].slot == "v1"
    epoch = set_share(conn, 100)
    with pytest.raises(ModelMismatchError) as caught:
        search(OLD_QUERY)
    assert (caught.value.slot_model, caught.value.slot, caught.value.epoch) == ("new@1", "v2", epoch)


def test_an_embedding_of_the_new_model_is_answered_by_a_searcher_that_has_not_heard_of_the_switch(
    connect: Connect, conn: Connection, target: Slot
) -> None:
    search = connect()
    assert search("a text")[0].slot == "v1"
    set_share(conn, 100)
    query = Embedding(embed(target.model, ["a text"])[0], model=target.model.key)
    assert search(query)[0].slot == "v2"


def test_a_collection_registered_anew_under_its_name_never_has_an_epoch_again(
    connect: Connect, conn: Connection
) -> None:
    make_docs(conn)
    search = connect()
    before = search.serving().epoch
    collections.delete_collection(conn, collections.get_collection(conn, "docs"))
    conn.execute("ALTER TABLE docs RENAME TO docs_before")
    make_docs(conn, old=replace(OLD, revision="2"))
    assert search.serving().epoch > before
    with pytest.raises(ModelMismatchError, match="slot v1 holds old@2"):
        search(OLD_QUERY)


def drop_source(conn: Connection, *, rename_to: str | None = None) -> None:
    """As contract does: the column, the slot and the migration go, and the epoch grows, in one transaction."""
    collection = collections.get_collection(conn, "docs")
    migration = migrations.get_migration(conn, collection)
    with conn.transaction():
        conn.execute("ALTER TABLE docs DROP COLUMN embedding")
        if rename_to is not None:
            conn.execute(sql.SQL("ALTER TABLE docs RENAME COLUMN embedding_v2 TO {}").format(sql.Identifier(rename_to)))
            conn.execute("UPDATE embedmig.slot SET vector_column = %s WHERE name = 'v2'", [rename_to])
        slots.drop_slot(conn, slots.get_slot(conn, collection, "v1"))
        migrations.close_migration(conn, migration)
        routes.set_share(conn, "docs", 0)


class TestContract:
    @pytest.mark.parametrize("rename_to", [None, "embedding"], ids=["drop", "drop and rename to the old name"])
    @pytest.mark.parametrize("target", ["column"], indirect=True)
    def test_searches_in_flight_survive_it(
        self, connect: Connect, conn: Connection, target: Slot, rename_to: str | None
    ) -> None:
        with Crowd(connect()) as crowd:
            set_share(conn, 100)
            crowd.wait_for(50)
            set_share(conn, 0)
            crowd.wait_for(50)
            drop_source(conn, rename_to=rename_to)
            dropped = time.monotonic()
            crowd.wait_for(50)
        assert {slot for asked, _, slot in crowd.answers if asked >= dropped} == {"v2"}

    def test_a_plan_that_is_prepared_already_is_made_anew(
        self, connect: Connect, conn: Connection, target: Slot
    ) -> None:
        search = connect(max_connections=1)
        for _ in range(8):
            assert search(OLD_QUERY, k=1)[0].slot == "v1"
        drop_source(conn)
        assert search("a text", k=1)[0].slot == "v2"
        with pytest.raises(ModelMismatchError):
            search(OLD_QUERY)

    @pytest.mark.parametrize("target", ["column"], indirect=True)
    def test_a_pinned_search_follows_its_slot_to_another_name_and_ends_with_it(
        self, connect: Connect, conn: Connection, target: Slot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "v1")
        on_source = connect()
        monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "v2")
        on_target = connect()
        assert [on_source("a text", k=1)[0].slot, on_target("a text", k=1)[0].slot] == ["v1", "v2"]
        drop_source(conn, rename_to="embedding")
        assert on_target("a text", k=1)[0].slot == "v2"
        with pytest.raises(NotFoundError, match="no slot v1 of docs; there are: v2"):
            on_source("a text")

    @pytest.mark.parametrize("target", ["companion"], indirect=True)
    def test_a_companion_that_is_dropped_under_a_search_is_left(
        self, connect: Connect, conn: Connection, target: Slot
    ) -> None:
        set_share(conn, 100)
        search = connect()
        assert search("a text", k=1)[0].slot == "v2"
        with conn.transaction():
            routes.set_share(conn, "docs", 0)
            conn.execute("DROP TABLE embedmig.docs_v2")
        assert search("a text", k=1)[0].slot == "v1"

    @pytest.mark.parametrize("target", ["column"], indirect=True)
    def test_a_column_that_goes_without_a_new_epoch_is_an_error_that_names_it(
        self, connect: Connect, conn: Connection, target: Slot
    ) -> None:
        search = connect()
        search("a text")
        conn.execute("ALTER TABLE docs DROP COLUMN embedding")
        with pytest.raises(DatabaseError, match="embedding does not exist"):
            search("a text")


class TestConnections:
    @pytest.fixture(autouse=True)
    def _docs(self, conn: Connection) -> None:
        make_docs(conn)

    def terminate_all(self, conn: Connection) -> None:
        conn.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    def test_a_search_outlives_the_loss_of_every_connection(self, connect: Connect, conn: Connection) -> None:
        with Crowd(connect(max_connections=4)) as crowd:
            crowd.wait_for(30)
            self.terminate_all(conn)
            crowd.wait_for(100)

    @pytest.mark.parametrize("connect", ["sync"], indirect=True)
    def test_a_connection_that_forgot_what_it_prepared_is_replaced(self, connect: Connect) -> None:
        search = connect(max_connections=1)
        for _ in range(8):
            search("a text")
        with search._pool.connection() as pooled:
            # Unseen by the driver, as a pooler would do it.
            pooled.execute("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")
        assert len(search("a text")) == 10

    def test_a_key_column_that_changes_its_type_is_followed(self, connect: Connect, conn: Connection) -> None:
        search = connect(max_connections=1)
        for _ in range(8):
            assert isinstance(search("a text", k=1)[0].key, int)
        conn.execute("ALTER TABLE docs ALTER COLUMN id TYPE text")
        assert isinstance(search("a text", k=1)[0].key, str)

    @pytest.mark.parametrize("connect", ["sync"], indirect=True)
    def test_without_prepared_statements_nothing_is_kept_on_the_server(self, connect: Connect) -> None:
        counts = {}
        for prepared in (True, False):
            search = connect(max_connections=1, prepared=prepared)
            for _ in range(8):
                search("a text")
            with search._pool.connection() as pooled:
                counts[prepared] = pooled.execute("SELECT count(*) AS n FROM pg_prepared_statements").fetchone()["n"]
        assert counts[False] == 0 < counts[True]


@pytest.mark.parametrize("connect", ["sync"], indirect=True)
def test_settings_of_one_search_are_gone_with_it(connect: Connect, conn: Connection) -> None:
    make_docs(conn)
    conn.execute("CREATE INDEX ON docs USING hnsw (embedding vector_cosine_ops)")
    search = connect(max_connections=1)
    assert search("a text", k=15, ef_search=300, where="true")
    with search._pool.connection() as pooled:
        for name, value in (("hnsw.ef_search", "40"), ("hnsw.iterative_scan", "off")):
            assert pooled.execute("SELECT current_setting(%s) AS value", [name]).fetchone() == {"value": value}


def test_the_catalog_is_read_again_once_a_minute(connect: Connect, conn: Connection) -> None:
    make_docs(conn)
    search = connect()
    assert search.explain("a text").index is None
    search("a text")
    conn.execute("CREATE INDEX docs_hnsw ON docs USING hnsw (embedding vector_cosine_ops)")
    conn.execute("UPDATE embedmig.collection SET row_filter = 'id <= 3'")
    assert len(search("a text")) == 10
    searcher = getattr(search, "_searcher", search)
    searcher._due_s = time.monotonic()
    assert len(search("a text")) == 3


class TestFingerprints:
    @pytest.fixture
    def registered(self, conn: Connection) -> Callable[[str], None]:
        """Registers the source's model with the fingerprint of a model with another seed, or its own."""
        from embedmig.embedders import load_embedder, take_fingerprint

        make_docs(conn)

        def register(whose: str) -> None:
            model = OLD if whose == "its own" else replace(OLD, options={"dimensions": 16, "seed": 99})
            stored = take_fingerprint(model, load_embedder(model)).to_bytes()
            conn.execute("UPDATE embedmig.model SET fingerprint = %s WHERE name = 'old'", [stored])
            forget_embedders()

        return register

    def test_a_model_that_changed_behind_its_name_embeds_no_query(
        self, connect: Connect, registered: Callable[[str], None]
    ) -> None:
        registered("another")
        search = connect()
        for _ in range(2):
            with pytest.raises(FingerprintError, match="old@1 no longer gives the vectors"):
                search("a text")
        assert search(OLD_QUERY)
        forget_embedders()

    def test_a_model_is_compared_once_per_process(
        self, connect: Connect, conn: Connection, registered: Callable[[str], None]
    ) -> None:
        registered("its own")
        search = connect()
        assert search("a text")
        conn.execute("UPDATE embedmig.model SET fingerprint = 'spoilt'")
        assert search("another text")
        forget_embedders()


def test_a_share_between_serves_both_slots_at_once_and_each_key_one(
    connect: Connect, db: Database, conn: Connection
) -> None:
    make_docs(conn)
    fill(conn, expand_docs(db, Placement.COMPANION).target)
    set_share(conn, 50)
    search = connect()
    with Crowd(search) as crowd:
        crowd.wait_for(100)
    assert {slot for _, _, slot in crowd.answers} == {"v1", "v2"}


def test_the_wrong_epoch_gives_no_row(conn: Connection, connect: Connect, target: Slot) -> None:
    sent = connect().explain("a text").sql.replace("%(embedmig_query)s", "%(query)s")
    values = {"query": OLD_QUERY.values, "embedmig_group": "docs"}
    epoch = routes.get_route(conn, "docs").epoch
    statement: Any = sent.encode()
    assert conn.execute(statement, values | {"embedmig_epoch": epoch}).rowcount == 10
    for wrong in (epoch - 1, epoch + 1):
        assert conn.execute(statement, values | {"embedmig_epoch": wrong}).rowcount == 0
