"""search_v1 and serving_v1: what clients in other languages ask is answered as Searcher answers it."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from embedmig import commands
from embedmig.catalog import collections, routes, slots
from embedmig.db import Connection, Database
from embedmig.schema.indexes import build_index
from embedmig.search.routing import routing_bucket
from embedmig.search.searcher import Searcher
from embedmig.types import Distance, Embedding, Model, Placement, Slot
from tests.integration.search.conftest import fill, set_share
from tests.support import NEW, OLD, embed, expand_docs, make_docs, switch_docs, text_of

ASK = """SELECT key, distance, slot, model, stale, epoch FROM embedmig.search_v1(
    'docs', %(query)s, %(model)s, k => %(k)s, routing_key => %(routing_key)s, filter => %(filter)s,
    max_distance => %(max_distance)s, ef_search => %(ef_search)s, exact => %(exact)s)"""
DEFAULTS: dict[str, Any] = {
    "k": 10, "routing_key": None, "filter": None, "max_distance": None, "ef_search": None, "exact": False
}  # fmt: skip


def text(number: int) -> str:
    return "\n\n".join(text_of(number))


def ask(conn: Connection, number: int = 3, model: Model = OLD, **options: Any) -> list[dict[str, Any]]:
    """What the function gives for the text of a row."""
    values = DEFAULTS | {"query": embed(model, [text(number)])[0], "model": model.key} | options
    for name in ("filter", "max_distance"):
        values[name] = None if values[name] is None else json.dumps(values[name])
    return conn.execute(ASK, values).fetchall()


def keys(hits: list[dict[str, Any]]) -> list[int]:
    return [int(hit["key"][0]) for hit in hits]


@pytest.fixture
def searcher(db: Database) -> Iterator[Callable[[], Searcher]]:
    opened: list[Searcher] = []

    def connect() -> Searcher:
        opened.append(Searcher.connect("docs", database_url=db.url, max_connections=1))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


def alike(conn: Connection, search: Searcher, model: Model, where: str | None = None, **options: Any) -> list[Any]:
    """Asks both ways, and gives the hits once they are the same."""
    query = Embedding(embed(model, [text(3)])[0], model=model.key)
    asked = {name: value for name, value in options.items() if name != "filter"}
    expected = search(query, 20, where=where, **asked)
    found = ask(conn, 3, model, k=20, **options)
    shown = [hit.key if isinstance(hit.key, tuple) else (hit.key,) for hit in expected]
    assert [tuple(hit["key"]) for hit in found] == [tuple(map(str, key)) for key in shown]
    assert [hit["distance"] for hit in found] == pytest.approx([hit.distance for hit in expected], abs=1e-9)
    for name in ("slot", "model", "stale"):
        assert [hit[name] for hit in found] == [getattr(hit, name) for hit in expected]
    return found


class TestRouting:
    def test_the_slot_follows_the_route_and_the_key(self, conn: Connection, target: Slot) -> None:
        user = "user-1"
        bucket = routing_bucket(user)
        for share_bp in (0, bucket, bucket + 1, 9_999, 10_000):
            epoch = routes.set_share(conn, "docs", share_bp).epoch
            for routing_key in (user, None):
                is_new = share_bp == 10_000 if routing_key is None else bucket < share_bp
                model, slot = (NEW, "v2") if is_new else (OLD, "v1")
                row = conn.execute("SELECT * FROM embedmig.serving_v1('docs', %s)", [routing_key]).fetchone()
                assert row == {
                    "model": model.key,
                    "slot": slot,
                    "epoch": epoch,
                    "dimensions": model.dimensions,
                    "query_prompt": "",
                }
                hits = ask(conn, model=model, k=3, routing_key=routing_key)
                assert {(hit["slot"], hit["epoch"]) for hit in hits} == {(slot, epoch)}
                with pytest.raises(psycopg.Error) as caught:
                    ask(conn, model=OLD if is_new else NEW, routing_key=routing_key)
                assert caught.value.sqlstate == "EM002"
                assert json.loads(caught.value.diag.message_detail or "") == {
                    "model": model.key,
                    "slot": slot,
                    "epoch": epoch,
                }

    def test_with_no_migration_open_the_only_slot_answers_whatever_the_share(self, conn: Connection) -> None:
        make_docs(conn)
        for share in (0, 100):
            set_share(conn, share)
            assert {hit["slot"] for hit in ask(conn)} == {"v1"}

    def test_the_prompt_of_queries_is_told(self, conn: Connection) -> None:
        make_docs(conn, old=replace(OLD, query_prompt="Q: "))
        assert conn.execute("SELECT query_prompt AS p FROM embedmig.serving_v1('docs')").fetchone() == {"p": "Q: "}

    def test_the_hash_is_the_same_in_both_languages(self, conn: Connection) -> None:
        @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
        def check(key: str) -> None:
            row = conn.execute("SELECT embedmig.routing_bucket_v1(%s) AS bucket", [key]).fetchone()
            assert row == {"bucket": routing_bucket(key)}

        check()

    def test_in_a_database_of_another_encoding_too(self, server_url: str, conn: Connection) -> None:
        source = conn.execute(
            "SELECT pg_get_functiondef('embedmig.routing_bucket_v1'::regproc) AS definition"
        ).fetchone()
        assert source is not None
        name = f"latin_{conn.info.dbname}"
        with psycopg.connect(server_url, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'")  # type: ignore[arg-type]
            try:
                url = psycopg.conninfo.make_conninfo(server_url, dbname=name)
                with psycopg.connect(url, autocommit=True) as latin:
                    latin.execute("CREATE SCHEMA embedmig")
                    latin.execute(source["definition"])
                    row = latin.execute("SELECT embedmig.routing_bucket_v1(%s)", ["Grüße"]).fetchone()
                    assert row == (routing_bucket("Grüße"),)
            finally:
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]

    def test_route_and_rows_are_of_one_snapshot(self, db: Database, conn: Connection, target: Slot) -> None:
        flips = threading.Event()

        def flip() -> None:
            with db.connect() as other:
                turn = 0
                while not flips.is_set():
                    turn += 1
                    set_share(other, (100, 0)[turn % 2])

        statement = (
            "SELECT r.epoch, r.share_bp, s.slot, s.epoch AS told FROM embedmig.route r,"
            " embedmig.serving_v1('docs') s WHERE r.group_name = 'docs'"
        )
        thread = threading.Thread(target=flip)
        thread.start()
        try:
            rows: list[Any] = []
            until = time.monotonic() + 60
            # However late the other thread comes to its turn.
            while len(rows) < 300 or (len({row["epoch"] for row in rows}) <= 3 and time.monotonic() < until):
                rows.append(conn.execute(statement).fetchone())
        finally:
            flips.set()
            thread.join()
        assert len({row["epoch"] for row in rows}) > 3
        for row in rows:
            assert row is not None
            assert (row["epoch"], "v2" if row["share_bp"] else "v1") == (row["told"], row["slot"])


class TestAnswers:
    def test_both_ways_give_the_same(self, conn: Connection, target: Slot, searcher: Any) -> None:
        conn.execute("UPDATE docs SET body = 'another text' WHERE id = 3")
        search = searcher()
        for share, model in ((0, OLD), (100, NEW)):
            set_share(conn, share)
            assert len(alike(conn, search, model)) == 20
            assert len(alike(conn, search, model, exact=True)) == 20
            assert len(alike(conn, search, model, ef_search=5)) == 20
        assert [hit["stale"] for hit in ask(conn, 3, NEW, k=20) if hit["key"] == ["3"]] == [True]

    @pytest.mark.parametrize("placement", list(Placement))
    @pytest.mark.parametrize("hide", [False, True])
    def test_with_a_row_filter_stale_rows_and_odd_names(
        self, db: Database, conn: Connection, searcher: Any, placement: Placement, hide: bool
    ) -> None:
        make_docs(
            conn,
            schema='Odd "schema"',
            table="My Docs",
            key=(("Odd part", "integer"), ('na"me', "text")),
            row_filter="lang = 'en' AND title NOT LIKE '%9'",
            filter_columns=["lang", "title"],
        )
        fill(conn, expand_docs(db, placement).target)
        conn.execute("UPDATE embedmig.collection SET hide_stale = %s", [hide])
        table = sql.Identifier('Odd "schema"', "My Docs")
        conn.execute(sql.SQL("UPDATE {} SET body = 'another text' WHERE \"Odd part\" IN (3, 5)").format(table))
        search = searcher()
        for share, model, count in ((0, OLD, 8), (100, NEW, 6 if hide else 8)):
            set_share(conn, share)
            assert len(alike(conn, search, model)) == count

    @pytest.mark.parametrize("placement", list(Placement))
    @pytest.mark.parametrize("dimensions", [2_048, 4_200], ids=["halfvec", "quantised"])
    def test_long_vectors(
        self, db: Database, conn: Connection, searcher: Any, placement: Placement, dimensions: int
    ) -> None:
        big = Model(
            name="big", revision="1", provider="hashing", dimensions=dimensions, options={"dimensions": dimensions}
        )
        collection = make_docs(conn, 60, new=big)
        fill(conn, expand_docs(db, placement, model=big).target, index=False)
        build_index(db, collection, slots.get_slot(conn, collections.get_collection(conn, "docs"), "v2"))
        set_share(conn, 100)
        search = searcher()
        assert len(alike(conn, search, big)) == 20
        assert len(alike(conn, search, big, exact=True)) == 20

    @pytest.mark.parametrize("distance", list(Distance))
    def test_each_distance(self, conn: Connection, searcher: Any, distance: Distance) -> None:
        make_docs(conn, 60, old=replace(OLD, distance=distance))
        conn.execute(f"CREATE INDEX own ON docs USING hnsw (embedding vector_{distance.value}_ops)")
        assert keys(alike(conn, searcher(), OLD))[0] == 3

    def test_bridged_rows_say_what_made_their_vector(self, conn: Connection, target: Slot, searcher: Any) -> None:
        table, model = sql.Identifier(target.schema, target.table), sql.Identifier(target.model_column or "")
        conn.execute(sql.SQL("UPDATE {} SET {} = %s WHERE id = 6").format(table, model), [target.bridge_model_id])
        set_share(conn, 100)
        found = alike(conn, searcher(), NEW)
        assert {hit["model"] for hit in found if hit["key"] == ["6"]} == {"old@1->new@1"}

    def test_rows_are_joined_to_the_callers_table_in_one_statement(self, conn: Connection, target: Slot) -> None:
        rows = conn.execute(
            "SELECT d.title FROM embedmig.search_v1('docs', %s, 'old@1', 3) h JOIN docs d ON d.id = h.key[1]::bigint"
            " ORDER BY h.distance",
            [embed(OLD, [text(3)])[0]],
        ).fetchall()
        assert rows[0] == {"title": text_of(3)[0]}
        assert len(rows) == 3

    def test_a_query_may_come_as_text(self, conn: Connection, target: Slot) -> None:
        written = "[" + ",".join(map(str, embed(OLD, [text(3)])[0])) + "]"
        row = conn.execute("SELECT (embedmig.search_v1('docs', %s, 'old@1', 1)).key", [written]).fetchone()
        assert row == {"key": ["3"]}

    def test_pgvector_may_be_in_a_schema_that_nobody_searches(self, conn: Connection, target: Slot) -> None:
        written = "[" + ",".join(map(str, embed(OLD, [text(3)])[0])) + "]"
        conn.execute("CREATE SCHEMA apart")
        conn.execute("ALTER EXTENSION vector SET SCHEMA apart")
        conn.execute("SET search_path = ''")
        row = conn.execute("SELECT (embedmig.search_v1('docs', %s, 'old@1', 1)).key", [written]).fetchone()
        assert row == {"key": ["3"]}


class TestFilters:
    @pytest.fixture(autouse=True, params=["source", "target in the table", "target apart"])
    def served(self, request: pytest.FixtureRequest, db: Database, conn: Connection) -> Model:
        make_docs(conn)
        conn.execute('ALTER TABLE docs ADD at timestamptz, ADD tag char(3), ADD tags text[], ADD "odd \'$2" int')
        conn.execute(
            "UPDATE docs SET at = '2026-01-01'::timestamptz + id * interval '1 day', tag = 'a', tags = '{x,y}',"
            ' "odd \'$2" = id WHERE id <= 12'
        )
        placement = Placement.COMPANION if request.param == "target apart" else Placement.COLUMN
        fill(conn, expand_docs(db, placement).target)
        set_share(conn, 0 if request.param == "source" else 100)
        return OLD if request.param == "source" else NEW

    @pytest.mark.parametrize(
        ("given_filter", "where"),
        [
            ({"lang": "en"}, "lang = 'en'"),
            ({"lang": "en", "id": {">": 4, "<=": 15}}, "lang = 'en' AND id > 4 AND id <= 15"),
            ({"id": [3, 5, 999]}, "id IN (3, 5, 999)"),
            ({"id": []}, "false"),
            ({"at": None}, "at IS NULL"),
            ({"at": {">=": "2026-01-05", "<>": "2026-01-07"}}, "at >= '2026-01-05' AND at <> '2026-01-07'"),
            ({"tag": "a"}, "tag = 'a'"),
            ({"tags": "{x,y}"}, "tags = '{x,y}'"),
            ({"odd '$2": 7}, '"odd \'$2" = 7'),
            ({"lang": "en' OR true --"}, "false"),
            ({}, "true"),
        ],
        ids=str,
    )
    def test_a_filter_means_what_its_condition_means(
        self, conn: Connection, served: Model, searcher: Any, given_filter: dict[str, Any], where: str
    ) -> None:
        conn.execute("SET timezone = 'UTC'")
        query = Embedding(embed(served, [text(3)])[0], model=served.key)
        expected = [hit.key for hit in searcher()(query, 20, where=where)]
        assert keys(ask(conn, 3, served, k=20, filter=given_filter)) == expected

    @pytest.mark.parametrize(
        ("given_filter", "said"),
        [
            ({"nope": 1}, "the filter names column nope, which docs has not"),
            ({"id": {"OR true; --": 1}}, "is none of <, <=, >, >=, <>"),
            (["id"], "a filter is a JSON object, column: value, not a JSON array"),
            ({"id) = (1": 1}, "the filter names column"),
            ({"ctid": "(0,1)"}, "the filter names column"),
        ],
        ids=str,
    )
    def test_what_is_no_filter_is_refused(self, conn: Connection, served: Model, given_filter: Any, said: str) -> None:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=said.replace("(", r"\(")):
            ask(conn, 3, served, filter=given_filter)

    def test_a_cut_off_holds_for_its_slot_alone(self, conn: Connection, served: Model) -> None:
        hits = ask(conn, 3, served, k=20)
        cut = (hits[4]["distance"] + hits[5]["distance"]) / 2
        assert len(ask(conn, 3, served, k=20, max_distance={hits[0]["slot"]: cut})) == 5
        assert len(ask(conn, 3, served, k=20, max_distance={"v77": cut})) == 20
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="distances of two models do not compare"):
            ask(conn, 3, served, max_distance=cut)
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="names slot new; there are: v1, v2"):
            ask(conn, 3, served, max_distance={"new": cut})


def test_one_number_cuts_off_while_one_slot_lives(conn: Connection) -> None:
    make_docs(conn)
    hits = ask(conn, k=20)
    assert len(ask(conn, k=20, max_distance=hits[6]["distance"] + 1e-9)) == 7


class TestIndexes:
    @pytest.mark.parametrize(
        "index",
        [
            "USING hnsw (embedding vector_cosine_ops)",
            "USING hnsw ((embedding::halfvec(16)) halfvec_cosine_ops)",
            "USING hnsw ((embedding::vector(16)) vector_cosine_ops)",
            "USING hnsw ((binary_quantize(embedding)::bit(16)) bit_hamming_ops)",
            "USING ivfflat (embedding vector_cosine_ops) WITH (lists = 2)",
        ],
        ids=["vector", "halfvec cast", "vector cast", "quantised", "ivfflat"],
    )
    def test_an_index_of_the_users_own_answers(self, conn: Connection, index: str) -> None:
        make_docs(conn, 60)
        conn.execute(f"CREATE INDEX own ON docs {index}")
        before = scans(conn, "own")
        ask(conn, exact=True)
        assert scans(conn, "own") == before
        assert ask(conn)
        assert scans(conn, "own") == before + 1

    @pytest.mark.parametrize(
        "index", ["embedding vector_l2_ops", "(subvector(embedding, 1, 8)::vector(8)) vector_cosine_ops"]
    )
    def test_an_index_by_another_measure_is_left_alone(self, conn: Connection, index: str) -> None:
        make_docs(conn, 60)
        conn.execute(f"CREATE INDEX own ON docs USING hnsw ({index})")
        before = scans(conn, "own")
        assert keys(ask(conn))[0] == 3
        assert scans(conn, "own") == before

    def test_a_partial_index_answers_for_its_condition(self, conn: Connection) -> None:
        make_docs(conn, 60)
        conn.execute("CREATE INDEX own ON docs USING hnsw (embedding vector_cosine_ops) WHERE lang = 'en'")
        before = scans(conn, "own")
        assert keys(ask(conn, filter={"lang": "en"}))[0] == 3
        assert scans(conn, "own") == before + 1

    def test_over_a_companion_its_own_index_answers(self, db: Database, conn: Connection) -> None:
        make_docs(conn, 60)
        fill(conn, expand_docs(db, Placement.COMPANION).target)
        set_share(conn, 100)
        before = scans(conn, "docs_v2_hnsw")
        assert ask(conn, 3, NEW, filter={"lang": "en"})
        assert scans(conn, "docs_v2_hnsw") == before + 1

    def test_partitions_own_indexes_answer(self, conn: Connection) -> None:
        make_docs(conn, 60)
        conn.execute("ALTER TABLE docs RENAME TO one")
        conn.execute("CREATE TABLE docs (LIKE one) PARTITION BY RANGE (id)")
        conn.execute("ALTER TABLE docs ATTACH PARTITION one FOR VALUES FROM (0) TO (1000)")
        conn.execute("CREATE TABLE two PARTITION OF docs FOR VALUES FROM (1000) TO (2000)")
        for table in ("one", "two"):
            conn.execute(f"CREATE INDEX own_{table} ON {table} USING hnsw (embedding vector_cosine_ops)")
        before = scans(conn, "own_one")
        assert keys(ask(conn))[0] == 3
        assert scans(conn, "own_one") == before + 1

    def test_a_filter_that_leaves_few_rows_and_a_large_k_find_all_they_want(self, conn: Connection) -> None:
        make_docs(conn, 1_500)
        conn.execute("CREATE INDEX own ON docs USING hnsw (embedding vector_cosine_ops)")
        conn.execute("ALTER TABLE docs ADD rare boolean")
        conn.execute("UPDATE docs SET rare = id % 100 = 0")
        before = scans(conn, "own")
        assert len(ask(conn, k=10, filter={"rare": True})) == 10
        assert len(ask(conn, k=300)) == 300
        assert len(ask(conn, k=1_200)) == 1_200
        assert scans(conn, "own") == before + 3

    @pytest.mark.parametrize("ef", ["40", "77"])
    def test_what_the_scan_was_told_is_gone_with_it(self, conn: Connection, ef: str) -> None:
        make_docs(conn, 60)
        conn.execute("CREATE INDEX own ON docs USING hnsw (embedding vector_cosine_ops)")
        settings = "SELECT current_setting('hnsw.ef_search') AS ef, current_setting('hnsw.iterative_scan') AS scan"
        conn.execute("SELECT set_config('hnsw.ef_search', %s, false)", [ef])
        with conn.transaction():
            assert ask(conn, k=50, ef_search=200, filter={"lang": "en"})
            assert conn.execute(settings).fetchone() == {"ef": ef, "scan": "off"}
            with pytest.raises(psycopg.Error), conn.transaction():
                ask(conn, filter={"id": "no number"})
            assert conn.execute(settings).fetchone() == {"ef": ef, "scan": "off"}
        assert conn.execute(settings).fetchone() == {"ef": ef, "scan": "off"}


def scans(conn: Connection, index: str) -> int:
    """How often an index was scanned, this session's own scans included. The tables are small: what Postgres would do
    with many rows is asked of it so."""
    conn.execute("SET enable_seqscan = off")
    conn.execute("SET enable_sort = off")
    conn.execute("SELECT pg_stat_force_next_flush()")
    row = conn.execute("SELECT idx_scan AS n FROM pg_stat_user_indexes WHERE indexrelname = %s", [index]).fetchone()
    assert row is not None
    return int(row["n"])


class TestRights:
    def test_a_role_that_may_only_search_needs_no_more_than_the_manual_says(
        self, db: Database, conn: Connection, target: Slot
    ) -> None:
        role = sql.Identifier(f"reader_{conn.info.dbname}")
        conn.execute(sql.SQL("CREATE ROLE {}").format(role))
        try:
            for grant in ("USAGE ON SCHEMA embedmig", "SELECT ON embedmig.route, embedmig.slot", "SELECT ON docs"):
                conn.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(grant), role))
            table = sql.Identifier(target.schema, target.table)
            conn.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(table, role))
            conn.execute("ALTER TABLE docs ENABLE ROW LEVEL SECURITY")
            conn.execute("CREATE POLICY english ON docs USING (lang = 'en')")
            for share, model in ((0, OLD), (100, NEW)):
                set_share(conn, share)
                with conn.transaction():
                    conn.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
                    assert conn.execute("SELECT model FROM embedmig.serving_v1('docs')").fetchone() == {
                        "model": model.key
                    }
                    assert sorted(keys(ask(conn, 3, model, k=20))) == list(range(1, 21, 2))
            conn.execute(sql.SQL("REVOKE SELECT ON docs FROM {}").format(role))
            conn.execute(sql.SQL("SET ROLE {}").format(role))
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="docs"):
                ask(conn, 3, NEW)
        finally:
            conn.execute("RESET ROLE")
            conn.execute(sql.SQL("DROP OWNED BY {}").format(role))
            conn.execute(sql.SQL("DROP ROLE {}").format(role))

    def test_without_usage_on_the_schema_nothing_is_told(self, conn: Connection, target: Slot) -> None:
        role = sql.Identifier(f"stranger_{conn.info.dbname}")
        conn.execute(sql.SQL("CREATE ROLE {}").format(role))
        try:
            conn.execute(sql.SQL("SET ROLE {}").format(role))
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="schema embedmig"):
                ask(conn)
        finally:
            conn.execute("RESET ROLE")
            conn.execute(sql.SQL("DROP ROLE {}").format(role))

    def test_a_read_only_transaction_may_search(self, conn: Connection, target: Slot) -> None:
        conn.execute("SET default_transaction_read_only = on")
        assert ask(conn, k=50, filter={"lang": "en"})


TWIN = Model(name="twin", revision="1", provider="hashing", dimensions=16, options={"dimensions": 16, "seed": 9})
"""As long as the old one: nothing but the catalog tells their vectors apart."""


class TestContract:
    @pytest.fixture
    def switched(self, db: Database, conn: Connection) -> None:
        docs = make_docs(conn, new=TWIN)
        conn.execute("CREATE INDEX own ON docs USING hnsw (embedding vector_cosine_ops)")
        expand_docs(db, model=TWIN)
        switch_docs(conn, docs)
        commands.index(db, "docs")

    @pytest.fixture
    def earlier(self, db: Database, switched: None) -> Iterator[Connection]:
        """A transaction that sees the database as it was before contract, and holds no lock on the user's table."""
        with db.connect() as other, other.transaction(force_rollback=True):
            other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            other.execute("SELECT FROM embedmig.route")
            yield other

    def test_a_statement_that_began_before_is_answered(
        self, db: Database, conn: Connection, earlier: Connection
    ) -> None:
        commands.contract(db, "docs")
        assert keys(ask(earlier, 3, TWIN))[0] == 3
        assert keys(ask(conn, 3, TWIN))[0] == 3

    def test_it_is_to_be_sent_again_where_its_column_was_renamed(
        self, db: Database, conn: Connection, earlier: Connection
    ) -> None:
        commands.contract(db, "docs", rename_column=True)
        with pytest.raises(psycopg.errors.SerializationFailure, match="docs changed while the statement ran"):
            ask(earlier, 3, TWIN)
        assert keys(ask(conn, 3, TWIN))[0] == 3

    def test_the_old_models_query_never_meets_the_column_that_took_the_old_name(
        self, db: Database, conn: Connection, switched: None
    ) -> None:
        set_share(conn, 0)
        # No label beside the vectors, as of a column that was there before embedmig: the catalog alone tells.
        conn.execute("UPDATE embedmig.slot SET model_column = NULL WHERE name = 'v1'")
        with db.connect() as other, other.transaction():
            other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            other.execute("SELECT FROM embedmig.route")
            conn.execute("ALTER TABLE docs DROP COLUMN embedding CASCADE, DROP COLUMN embedding_model CASCADE")
            conn.execute("ALTER TABLE docs RENAME COLUMN embedding_v2 TO embedding")
            conn.execute("ALTER TABLE docs RENAME COLUMN embedding_v2_model TO embedding_model")
            with pytest.raises(psycopg.errors.SerializationFailure, match="docs changed while the statement ran"):
                ask(other, 3, OLD)

    def test_a_column_that_is_gone_for_good_is_named(self, conn: Connection, switched: None) -> None:
        conn.execute("ALTER TABLE docs DROP COLUMN embedding_v2 CASCADE")
        with pytest.raises(psycopg.errors.UndefinedColumn, match="embedding_v2"):
            ask(conn, 3, TWIN)
