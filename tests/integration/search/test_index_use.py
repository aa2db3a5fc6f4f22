"""The statement is one that the slot's index answers, whatever the index is over."""

from dataclasses import replace
from typing import Any

import psycopg
import pytest

from embedmig.catalog import collections, slots
from embedmig.db import Connection, Database
from embedmig.schema.indexes import build_index
from embedmig.types import Distance, Model, Placement
from tests.integration.search.conftest import Connect, fill, set_share
from tests.support import NEW, OLD, embed, expand_docs, make_docs, text_of

USE_INDEXES = "-c enable_seqscan=off -c enable_sort=off"
"""The tables are small: what Postgres would do with many rows is asked of it so."""


def plan_of(conn: Connection, search: Any, query: str, **options: Any) -> str:
    """EXPLAIN of the statement that ``search`` would send."""
    explained = search.explain(query, **options)
    model = {OLD.key: OLD, NEW.key: NEW}.get(explained.model) or BIG
    values = {
        "embedmig_query": embed(model, [query])[0],
        "embedmig_group": "docs",
        "embedmig_epoch": explained.epoch,
    }
    with conn.transaction():
        conn.execute("SET LOCAL enable_seqscan = off")
        conn.execute("SET LOCAL enable_sort = off")
        rows = conn.execute("EXPLAIN (COSTS OFF) " + explained.sql, values).fetchall()
    return "\n".join(row["QUERY PLAN"] for row in rows)


BIG = Model(name="big", revision="1", provider="hashing", dimensions=2_048, options={"dimensions": 2_048})
HUGE = replace(BIG, name="huge", dimensions=4_200, options={"dimensions": 4_200})


@pytest.mark.parametrize(
    ("index", "options"),
    [
        ("USING hnsw (embedding vector_cosine_ops)", {}),
        ("USING hnsw ((embedding::halfvec(16)) halfvec_cosine_ops)", {}),
        ("USING hnsw ((embedding::vector(16)) vector_cosine_ops)", {}),
        ("USING hnsw ((binary_quantize(embedding)::bit(16)) bit_hamming_ops)", {}),
        ("USING ivfflat (embedding vector_cosine_ops) WITH (lists = 2)", {}),
        ("USING hnsw (embedding vector_cosine_ops) WHERE lang = 'en'", {"where": "lang = 'en'"}),
    ],
    ids=["vector", "halfvec cast", "vector cast", "quantised", "ivfflat", "partial"],
)
def test_an_index_of_the_users_own_answers_for_the_source(
    connect: Connect, db: Database, conn: Connection, index: str, options: dict[str, Any]
) -> None:
    make_docs(conn, 60)
    conn.execute(f"CREATE INDEX own ON docs {index}")
    search = connect(database_url=psycopg.conninfo.make_conninfo(db.url, options=USE_INDEXES))
    query = "\n\n".join(text_of(3))
    assert search.explain(query, **options).index == "own"
    assert "Index Scan using own on docs d" in plan_of(conn, search, query, **options)
    assert "Index Scan using own" not in plan_of(conn, search, query, exact=True, **options)
    if "ivfflat" not in index:
        hits = search(query, 10, **options)
        assert [hit.key for hit in hits][:1] == [3]
        exact = search(query, 10, exact=True, **options)
        assert len({hit.key for hit in hits} & {hit.key for hit in exact}) >= 8
        assert hits[0].distance == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    "index", ["embedding vector_l2_ops", "(subvector(embedding, 1, 8)::vector(8)) vector_cosine_ops"]
)
def test_an_index_by_another_measure_is_left_alone(connect: Connect, conn: Connection, index: str) -> None:
    make_docs(conn, 60)
    conn.execute(f"CREATE INDEX own ON docs USING hnsw ({index})")
    search = connect()
    assert search.explain("text").index is None
    assert "own" not in plan_of(conn, search, "text")


@pytest.mark.parametrize("distance", list(Distance))
def test_each_distance_has_its_operator(connect: Connect, conn: Connection, distance: Distance) -> None:
    make_docs(conn, 60, old=replace(OLD, distance=distance))
    conn.execute(f"CREATE INDEX own ON docs USING hnsw (embedding vector_{distance.value}_ops)")
    search = connect()
    query = "\n\n".join(text_of(3))
    assert "Index Scan using own" in plan_of(conn, search, query)
    assert search(query, 1)[0].key == 3
    assert search(query, 1)[0].distance == pytest.approx(-1 if distance is Distance.INNER_PRODUCT else 0, abs=1e-6)


@pytest.mark.parametrize("where", [None, "lang = 'en'"])
def test_over_a_companion_the_index_scan_is_at_the_bottom_of_a_nested_loop(
    connect: Connect, db: Database, conn: Connection, where: str | None
) -> None:
    make_docs(conn, 60)
    fill(conn, expand_docs(db, Placement.COMPANION).target)
    set_share(conn, 100)
    lines = plan_of(conn, connect(), "text", where=where).splitlines()
    steps = [line.strip(" ->") for line in lines if "->" in line]
    loop = steps.index("Nested Loop")
    assert steps[loop + 1].startswith("Index Scan using docs_v2_hnsw on docs_v2")
    assert steps[loop + 2].startswith("Index Scan using docs_pkey on docs d")


def test_a_filter_that_leaves_few_rows_still_finds_k(connect: Connect, db: Database, conn: Connection) -> None:
    make_docs(conn, 1_500)
    conn.execute("CREATE INDEX own ON docs USING hnsw (embedding vector_cosine_ops)")
    conn.execute("ALTER TABLE docs ADD rare boolean")
    conn.execute("UPDATE docs SET rare = id % 100 = 0")
    search = connect(database_url=psycopg.conninfo.make_conninfo(db.url, options=USE_INDEXES))
    assert "Index Scan using own" in plan_of(conn, search, "a text", where="rare")
    assert len(search("a text", 10, where="rare")) == 10
    assert len(search("a text", 300)) == 300
    assert len(search("a text", 1_200)) == 1_200


@pytest.mark.parametrize("placement", list(Placement))
@pytest.mark.parametrize("model", [BIG, HUGE], ids=["halfvec", "quantised"])
def test_long_vectors_are_found_through_the_index_that_is_built_for_them(
    connect: Connect, db: Database, conn: Connection, placement: Placement, model: Model
) -> None:
    collection = make_docs(conn, 60, new=model)
    target = expand_docs(db, placement, model=model).target
    fill(conn, target, index=False)
    build_index(db, collection, slots.get_slot(conn, collections.get_collection(conn, "docs"), "v2"))
    set_share(conn, 100)
    search = connect(database_url=psycopg.conninfo.make_conninfo(db.url, options=USE_INDEXES))
    query = "\n\n".join(text_of(3))
    explained = search.explain(query)
    assert explained.index is not None
    hits, exact = search(query, 10), search(query, 10, exact=True)
    assert (hits[0].key, hits[0].slot) == (3, "v2")
    assert len({hit.key for hit in hits} & {hit.key for hit in exact}) >= 9
