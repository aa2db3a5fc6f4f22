"""What a search answers, on both searchers and in both placements."""

from typing import Any

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from embedmig.catalog import collections, routes
from embedmig.db import Connection, Database
from embedmig.errors import ControlSchemaError, DatabaseError, NotFoundError, UsageError
from embedmig.types import Embedding, Model, Placement, Slot
from tests.integration.search.conftest import Connect, fill, set_share
from tests.support import NEW, OLD, embed, expand_docs, make_docs, text_of

docs = sa.Table("docs", sa.MetaData(), sa.Column("id", sa.BigInteger), sa.Column("lang", sa.Text))


def text(number: int) -> str:
    return "\n\n".join(text_of(number))


def query(number: int, model: Model = OLD) -> Embedding:
    return Embedding(embed(model, [text(number)])[0], model=model.key)


def nearest(model: Model, number: int, rows: range = range(1, 21)) -> list[int]:
    """All rows by their true distance from the text of one."""
    vectors = embed(model, [text(n) for n in rows])
    return [rows[at] for at in np.argsort(1 - vectors @ embed(model, [text(number)])[0], kind="stable")]


@pytest.mark.parametrize(("share", "model", "slot"), [(0, OLD, "v1"), (100, NEW, "v2")])
def test_the_nearest_rows_come_in_order_from_the_slot_that_serves(
    connect: Connect, conn: Connection, target: Slot, share: int, model: Model, slot: str
) -> None:
    set_share(conn, share)
    for asked in (text(3), query(3, model)):
        hits = connect().search(asked, k=5)
        assert [hit.key for hit in hits] == nearest(model, 3)[:5]
        assert [hit.distance for hit in hits] == sorted(hit.distance for hit in hits)
        assert {(hit.slot, hit.model, hit.stale) for hit in hits} == {(slot, model.key, False)}
        assert hits[0].distance == pytest.approx(0, abs=1e-6)


def test_a_searcher_is_called_like_a_function(connect: Connect, target: Slot) -> None:
    assert connect()(text(3), k=1)[0].key == 3


def test_a_text_is_embedded_with_the_query_prompt(connect: Connect, conn: Connection) -> None:
    prompted = Model(
        name="prompted", revision="1", provider="hashing", dimensions=16, options={"dimensions": 16}, query_prompt="Q: "
    )
    make_docs(conn, old=prompted)
    vector = embed(prompted, ["Q: " + text(3)])[0]
    distance = connect().search(text(3), k=1, exact=True)[0].distance
    stored = embed(prompted, [text(number) for number in range(1, 21)])
    assert distance == pytest.approx(float(np.min(1 - stored @ vector)), abs=1e-6)


def test_more_hits_than_rows_are_all_rows(connect: Connect, conn: Connection, target: Slot) -> None:
    search = connect()
    for share in (0, 100):
        set_share(conn, share)
        assert sorted(hit.key for hit in search(text(3), k=500)) == list(range(1, 21))


def test_nothing_found_is_an_empty_list(connect: Connect, conn: Connection, target: Slot) -> None:
    search = connect()
    assert search(text(3), where="false") == []
    conn.execute("DELETE FROM docs")
    assert search(text(3)) == []
    set_share(conn, 100)
    assert search(text(3)) == []


class TestFilters:
    @pytest.fixture(autouse=True, params=["source", "target in the table", "target apart"])
    def _served(self, request: pytest.FixtureRequest, db: Database, conn: Connection) -> None:
        make_docs(conn)
        placement = Placement.COMPANION if request.param == "target apart" else Placement.COLUMN
        fill(conn, expand_docs(db, placement).target)
        set_share(conn, 0 if request.param == "source" else 100)

    @pytest.mark.parametrize(
        "options",
        [
            {"where": docs.c.lang == "en"},
            {"where": sa.and_(docs.c.lang.in_(["en", "fr"]), docs.c.id > 0)},
            {"where": "lang = 'en'"},
            {"where": "lang = %(lang)s", "params": {"lang": "en"}},
            {"where": "title LIKE '%' AND lang = 'en' -- comment"},
        ],
        ids=["expression", "list", "sql", "sql with values", "percent and comment"],
    )
    def test_only_rows_that_meet_the_condition(self, connect: Connect, options: dict[str, Any]) -> None:
        assert sorted(hit.key for hit in connect()(text(3), k=20, **options)) == list(range(1, 21, 2))

    def test_bare_names_mean_the_users_table_though_the_companion_has_the_same(self, connect: Connect) -> None:
        assert [hit.key for hit in connect()(text(3), where="id = 4 AND embedding IS NOT NULL")] == [4]

    def test_a_value_is_never_sql(self, connect: Connect) -> None:
        odd = "en' OR true --"
        assert connect()(text(3), where=docs.c.lang == odd) == []
        assert connect()(text(3), where="lang = %(lang)s", params={"lang": odd}) == []

    def test_a_sub_select_correlates_with_the_row(self, connect: Connect, conn: Connection) -> None:
        conn.execute("CREATE TABLE liked (doc_id bigint)")
        conn.execute("INSERT INTO liked VALUES (2), (5)")
        liked = sa.Table("liked", sa.MetaData(), sa.Column("doc_id", sa.BigInteger))
        hits = connect()(text(3), where=sa.exists().where(liked.c.doc_id == docs.c.id))
        assert sorted(hit.key for hit in hits) == [2, 5]

    def test_columns_of_the_row_come_along(self, connect: Connect) -> None:
        (hit,) = connect()(text(3), where="id = 4", columns=["title", "lang", "id"])
        assert hit.columns == {"title": text_of(4)[0], "lang": "de", "id": 4}

    def test_a_condition_that_does_not_run_is_the_callers_error(self, connect: Connect) -> None:
        search = connect()
        with pytest.raises(UsageError, match=r'the filter .nope = 1. does not run: column "nope" does not exist'):
            search(text(3), where="nope = 1")
        with pytest.raises(UsageError, match=r"the filter .lang = . does not run: syntax error"):
            search(text(3), where="lang = ")
        with pytest.raises(UsageError, match=r"columns nope does not run: column d\.nope does not exist"):
            search(text(3), columns=["nope"])
        assert search(text(3), k=1)[0].key == 3

    def test_a_cut_off_holds_for_its_slot_alone(self, connect: Connect) -> None:
        search = connect()
        hits = search(text(3), k=20)
        cut = (hits[4].distance + hits[5].distance) / 2
        assert len(search(text(3), k=20, max_distance={hits[0].slot: cut})) == 5
        assert len(search(text(3), k=20, max_distance={"v77": cut})) == 20


def test_an_exact_search_is_exact(connect: Connect, conn: Connection, target: Slot) -> None:
    set_share(conn, 100)
    hits = connect()(text(3), k=20, exact=True, where=docs.c.lang == "en")
    assert [hit.key for hit in hits] == [key for key in nearest(NEW, 3) if key % 2]


@pytest.mark.parametrize("placement", list(Placement))
def test_the_row_filter_of_the_collection_always_holds(
    connect: Connect, db: Database, conn: Connection, placement: Placement
) -> None:
    make_docs(conn, row_filter="lang = 'en' AND title NOT LIKE '%9'", filter_columns=["lang", "title"])
    fill(conn, expand_docs(db, placement).target)
    search = connect()
    for share in (0, 100):
        set_share(conn, share)
        assert sorted(hit.key for hit in search(text(3), k=20)) == [1, 3, 5, 7, 11, 13, 15, 17]


@pytest.mark.parametrize("placement", list(Placement))
@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ((("id", "bigint"),), 3),
        ((("id", "text"),), "key 3"),
        ((("id", "uuid"),), "00000000-0000-4000-8000-000000000003"),
        ((("Odd part", "integer"), ('na"me', "text")), (3, "key 3")),
    ],
    ids=["bigint", "text", "uuid", "composite"],
)
def test_keys_come_back_as_the_driver_gives_them(
    connect: Connect, db: Database, conn: Connection, placement: Placement, key: Any, wanted: Any
) -> None:
    make_docs(conn, key=key)
    fill(conn, expand_docs(db, placement).target)
    search = connect()
    for share in (0, 100):
        set_share(conn, share)
        found = search(text(3), k=1)[0].key
        assert (found if isinstance(found, tuple | int | str) else str(found)) == wanted


@pytest.mark.parametrize("placement", list(Placement))
def test_names_with_quotes_spaces_and_capitals(
    connect: Connect, db: Database, conn: Connection, placement: Placement
) -> None:
    make_docs(conn, schema='Odd "schema"', table="My Docs")
    fill(conn, expand_docs(db, placement).target)
    table = sa.Table("My Docs", sa.MetaData(), sa.Column("lang", sa.Text), schema='Odd "schema"')
    search = connect()
    for share in (0, 100):
        set_share(conn, share)
        assert search(text(3), k=1, where=table.c.lang == "en")[0].key == 3


class TestStaleRows:
    @pytest.fixture(autouse=True)
    def _edited(self, conn: Connection, target: Slot) -> None:
        conn.execute("UPDATE docs SET body = 'another text altogether' WHERE id = 3")

    def test_a_row_of_an_earlier_text_is_found_by_its_vector_and_says_so(
        self, connect: Connect, conn: Connection
    ) -> None:
        set_share(conn, 100)
        stale = {hit.key: hit.stale for hit in connect()(text(3), k=20)}
        assert stale == {key: key == 3 for key in range(1, 21)}

    def test_where_texts_are_not_recorded_nothing_is_called_stale(self, connect: Connect) -> None:
        assert not any(hit.stale for hit in connect()(text(3), k=20))

    def test_on_edit_hide_leaves_them_out(self, connect: Connect, conn: Connection) -> None:
        conn.execute("UPDATE embedmig.collection SET hide_stale = true")
        set_share(conn, 100)
        assert sorted(hit.key for hit in connect()(text(3), k=20)) == [key for key in range(1, 21) if key != 3]


def test_rows_without_a_vector_or_of_another_model_are_never_hits(
    connect: Connect, conn: Connection, target: Slot
) -> None:
    table = sql.Identifier(target.schema, target.table)
    model, vector = sql.Identifier(target.model_column or ""), sql.Identifier(target.vector_column)
    for row in conn.execute(
        "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid = %s::regclass", [table.as_string(conn)]
    ).fetchall():
        conn.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(table, sql.Identifier(row["conname"])))
    conn.execute(sql.SQL("UPDATE {} SET {} = %s WHERE id = 3").format(table, model), [OLD.id])
    conn.execute(sql.SQL("UPDATE {} SET {} = 0 WHERE id = 4").format(table, model))
    conn.execute(sql.SQL("UPDATE {} SET {} = %s WHERE id = 6").format(table, model), [target.bridge_model_id])
    if target.placement is Placement.COLUMN:
        conn.execute(sql.SQL("UPDATE {} SET {} = NULL WHERE id = 5").format(table, vector))
    else:
        conn.execute(sql.SQL("DELETE FROM {} WHERE id = 5").format(table))
    set_share(conn, 100)
    search = connect()
    for options in ({}, {"exact": True}, {"where": "true"}):
        hits = {hit.key: hit.model for hit in search(text(3), k=20, **options)}
        assert hits == {n: "old@1->new@1" if n == 6 else "new@1" for n in range(1, 21) if n not in (3, 4, 5)}


def test_rows_that_were_deleted_are_no_hits_though_the_companion_has_them_still(
    connect: Connect, db: Database, conn: Connection
) -> None:
    make_docs(conn, 200)
    fill(conn, expand_docs(db, Placement.COMPANION).target)
    conn.execute("DELETE FROM docs WHERE id > 10")
    assert conn.execute("SELECT count(*) AS n FROM embedmig.docs_v2").fetchone() == {"n": 200}
    set_share(conn, 100)
    # So small a table is read whole: Postgres is made to use the index, as it would with more rows.
    url = psycopg.conninfo.make_conninfo(db.url, options="-c enable_seqscan=off -c enable_sort=off")
    hits = connect(database_url=url)(text(150), k=10)
    assert sorted(hit.key for hit in hits) == list(range(1, 11))


def test_an_unknown_collection_is_named_with_those_there_are(connect: Connect, target: Slot) -> None:
    with pytest.raises(NotFoundError, match="no collection dogs; there are: docs"):
        connect("dogs")


def test_a_database_without_the_control_schema_says_what_to_do(connect: Connect, bare_db: Database) -> None:
    with pytest.raises(ControlSchemaError, match="run embedmig init"):
        connect(database_url=bare_db.url)


def test_a_server_that_is_not_there_is_said_at_once(connect: Connect) -> None:
    with pytest.raises(DatabaseError, match="connection"):
        connect(database_url="postgresql://nobody@127.0.0.1:1/nowhere")


def test_a_collection_that_was_taken_off_is_an_error_and_no_empty_answer(
    connect: Connect, conn: Connection, target: Slot
) -> None:
    search = connect()
    collections.delete_collection(conn, collections.get_collection(conn, "docs"))
    with pytest.raises(NotFoundError, match="no collection docs"):
        search(text(3))
    with pytest.raises(NotFoundError, match="no collection docs"):
        search.serving("user")


def test_a_closed_searcher_says_so(connect: Connect, target: Slot) -> None:
    search = connect()
    search.close()
    with pytest.raises(DatabaseError, match="closed"):
        search(text(3))


def test_a_role_that_may_only_search_needs_no_more_than_the_manual_says(
    connect: Connect, db: Database, conn: Connection, target: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = f"reader_{conn.info.dbname}"
    conn.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
    try:
        for grant in ("USAGE ON SCHEMA embedmig", "SELECT ON embedmig.route, embedmig.slot", "SELECT ON docs"):
            conn.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(grant), sql.Identifier(role)))
        conn.execute(
            sql.SQL("GRANT SELECT ON {} TO {}").format(
                sql.Identifier(target.schema, target.table), sql.Identifier(role)
            )
        )
        search = connect(database_url=psycopg.conninfo.make_conninfo(db.url, user=role))
        for share, slot in ((0, "v1"), (100, "v2")):
            set_share(conn, share)
            assert search(text(3), k=1)[0].slot == slot
            assert search.serving().slot == slot
        monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "new")
        pinned = connect(database_url=psycopg.conninfo.make_conninfo(db.url, user=role))
        assert pinned(text(3), k=1)[0].slot == "v2"
        assert [pin.slot for pin in routes.live_pins(conn, collections.get_collection(conn, "docs"))] == ["v2"]
        for opened in (search, pinned):
            opened.close()
    finally:
        conn.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
        conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
