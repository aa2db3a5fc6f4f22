"""Exact search by streaming, against Postgres's own exact search."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from psycopg import sql

from embedmig.db import Connection, identifiers
from embedmig.errors import DimensionError, UnsupportedError
from embedmig.types import Distance, Floats, Maintainer, Placement, Slot
from embedmig.validation import exact
from embedmig.validation.exact import exact_top_k
from embedmig.validation.pair import Pair, count_pair
from embedmig.validation.products import ROWS_A_PRODUCT
from embedmig.validation.running_top_k import QUERIES_AT_ONCE, Ranking
from tests.integration.validation.conftest import pair_of, texts_of, write
from tests.support import NEW, OLD

Migrated = Callable[..., Pair]

PLACEMENTS = list(Placement)


def by_sql(
    conn: Connection, pair: Pair, slot: Slot, query: Floats, k: int, where: str = "true"
) -> list[tuple[tuple[str, ...], float]]:
    """Key and distance by a sequential scan over the rows that both slots hold."""
    vectors = {pair.source.id: "a", pair.target.id: "b"}
    statement = sql.SQL(
        "SELECT {} AS key, {} {} %s AS distance FROM {} AS d {} {} WHERE {} IS NOT NULL AND {} IS NOT NULL AND {}"
        " ORDER BY distance, {} LIMIT %s"
    ).format(
        identifiers.key_array(pair.collection, "d"),
        identifiers.vector(slot, vectors[slot.id]),
        sql.SQL(slot.model.distance.operator),
        identifiers.table(pair.collection),
        identifiers.join_slot(pair.collection, pair.source, to="a"),
        identifiers.join_slot(pair.collection, pair.target, to="b"),
        identifiers.vector(pair.source, "a"),
        identifiers.vector(pair.target, "b"),
        sql.SQL(where.replace("%", "%%")),
        identifiers.keys(pair.collection, "d"),
    )
    return [(tuple(row["key"]), row["distance"]) for row in conn.execute(statement, [query, k])]


def queries_for(pair: Pair, count: int = 4) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(1)
    source, target = (
        rng.standard_normal((count, slot.model.dimensions), dtype=np.float32) for slot in (pair.source, pair.target)
    )
    return source, target


def assert_is_postgres(
    conn: Connection, pair: Pair, found: tuple[list[Ranking], list[Ranking]], k: int, where: str = "true"
) -> None:
    for slot, rankings, queries in zip(pair.slots, found, queries_for(pair), strict=True):
        assert len(rankings) == len(queries)
        for ranking, query in zip(rankings, queries, strict=True):
            expected = by_sql(conn, pair, slot, query, k, where)
            assert list(ranking.keys) == [key for key, _ in expected]
            assert ranking.distances == pytest.approx([distance for _, distance in expected], abs=1e-5)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("distance", Distance)
def test_both_sides_are_what_postgres_finds_by_each_models_distance(
    migrated: Migrated, conn: Connection, placement: Placement, distance: Distance
) -> None:
    pair = migrated(80, placement, old=replace(OLD, distance=distance), model=replace(NEW, distance=distance))
    assert pair.source.model.distance is distance
    assert_is_postgres(conn, pair, exact_top_k(conn, pair, queries_for(pair), 15), 15)


@pytest.mark.parametrize(
    "key",
    [
        (("id", "uuid"),),
        (("name", "text"),),
        (("tenant", "text"), ("id", "integer")),
        (('Odd "key"', "bigint"),),
    ],
)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_keys_of_any_type_come_as_postgres_prints_them(
    migrated: Migrated, conn: Connection, placement: Placement, key: tuple[tuple[str, str], ...]
) -> None:
    pair = migrated(40, placement, key=key)
    assert_is_postgres(conn, pair, exact_top_k(conn, pair, queries_for(pair), 7), 7)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_blocks_of_any_size_give_the_same(
    migrated: Migrated, conn: Connection, placement: Placement, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = migrated(50, placement)
    whole = exact_top_k(conn, pair, queries_for(pair), 9)
    read: list[int] = []
    monkeypatch.setattr(exact, "rows_at_once", lambda *_: 7)
    in_blocks = exact_top_k(conn, pair, queries_for(pair), 9, on_progress=read.append)
    for one, other in zip(whole, in_blocks, strict=True):
        assert [ranking.keys for ranking in one] == [ranking.keys for ranking in other]
    assert max(read) == 7
    assert sum(read) == 50 * (1 if pair.in_one_table else 2)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_duplicates_are_ordered_by_key_on_both_sides(
    migrated: Migrated, conn: Connection, placement: Placement
) -> None:
    pair = migrated(40, placement, filled=False)
    rows = texts_of(conn, pair.collection)
    rng = np.random.default_rng(2)
    few = rng.standard_normal((3, NEW.dimensions), dtype=np.float32)
    write(conn, pair.collection, pair.target, rows, few[np.arange(40) % 3])
    conn.execute("UPDATE docs SET embedding = (SELECT embedding FROM docs WHERE id = 1)")
    found = exact_top_k(conn, pair, queries_for(pair), 12)
    assert_is_postgres(conn, pair, found, 12)
    assert [key for (key,) in found[0][0].keys] == [str(number) for number in range(1, 13)]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_rows_that_only_one_side_holds_are_in_neither_result(
    migrated: Migrated, conn: Connection, placement: Placement
) -> None:
    pair = migrated(30, placement)
    conn.execute("UPDATE docs SET embedding = NULL WHERE id <= 5")
    if placement is Placement.COLUMN:
        conn.execute("UPDATE docs SET embedding_v2 = NULL, embedding_v2_model = NULL WHERE id > 25")
    else:
        conn.execute(sql.SQL("DELETE FROM {} WHERE id > 25").format(identifiers.slot_table(pair.target)))
    found = exact_top_k(conn, pair, queries_for(pair), 50)
    assert all({int(key) for (key,) in ranking.keys} == set(range(6, 26)) for side in found for ranking in side)
    counts = count_pair(conn, pair)
    assert (counts.judged, counts.only_source, counts.only_target) == (20, 5, 5)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_row_filter_holds_even_with_a_percent_sign(
    migrated: Migrated, conn: Connection, placement: Placement
) -> None:
    row_filter = "id % 3 = 0 AND title LIKE 'Title%'"
    pair = migrated(60, placement, row_filter=row_filter, filter_columns=("id", "title"))
    found = exact_top_k(conn, pair, queries_for(pair), 50)
    assert_is_postgres(conn, pair, found, 50, row_filter.replace("id", "d.id").replace("title", "d.title"))
    assert len(found[0][0].keys) == count_pair(conn, pair).judged == 20


def test_two_companions_can_be_compared(migrated: Migrated, conn: Connection) -> None:
    pair = migrated(30, Placement.COMPANION)
    conn.execute("CREATE TABLE embedmig.docs_v1 AS SELECT id, embedding FROM docs")
    source = replace(pair.source, placement=Placement.COMPANION, schema="embedmig", table="docs_v1", model_column=None)
    both = replace(pair, source=source)
    direct, joined = (exact_top_k(conn, some, queries_for(pair), 10) for some in (pair, both))
    assert [ranking.keys for ranking in joined[0]] == [ranking.keys for ranking in direct[0]]


def test_vectors_labelled_as_another_models_are_left_out(migrated: Migrated, conn: Connection) -> None:
    pair = migrated(30)
    conn.execute("ALTER TABLE docs DROP CONSTRAINT embedmig_embedding_v2_check")
    conn.execute("UPDATE docs SET embedding_v2_model = 12345 WHERE id <= 10")
    found = exact_top_k(conn, pair, queries_for(pair), 50)
    assert {int(key) for (key,) in found[1][0].keys} == set(range(11, 31))


def test_half_precision_vectors_are_read_as_they_are(migrated: Migrated, conn: Connection) -> None:
    pair = migrated(40)
    conn.execute(f"ALTER TABLE docs ADD half halfvec({NEW.dimensions})")
    conn.execute("UPDATE docs SET half = embedding_v2::halfvec")
    target = replace(pair.target, vector_column="half", vector_type="halfvec", model_column=None)
    found = exact_top_k(conn, replace(pair, target=target), queries_for(pair), 10)[1]
    for ranking, query in zip(found, queries_for(pair)[1], strict=True):
        rows = conn.execute(
            "SELECT id, half::vector <=> %s AS distance FROM docs ORDER BY distance, id LIMIT 10", [query]
        ).fetchall()
        assert [int(key) for (key,) in ranking.keys] == [row["id"] for row in rows]


def test_a_side_that_is_not_asked_answers_nothing(migrated: Migrated, conn: Connection) -> None:
    pair = migrated(20, Placement.COMPANION)
    whole = exact_top_k(conn, pair, queries_for(pair), 5)
    source, target = exact_top_k(conn, pair, (None, queries_for(pair)[1]), 5)
    assert source == []
    assert [ranking.keys for ranking in target] == [ranking.keys for ranking in whole[1]]


def test_a_vector_of_another_length_stops_the_search_with_its_length(migrated: Migrated, conn: Connection) -> None:
    pair = migrated(30)
    conn.execute("ALTER TABLE docs ADD loose vector")
    conn.execute("UPDATE docs SET loose = CASE WHEN id = 17 THEN '[1,2,3]' ELSE embedding END")
    loose = replace(pair, source=replace(pair.source, vector_column="loose", model_column=None))
    with pytest.raises(DimensionError, match="3 dimensions, old@1 has 16"), conn.transaction():
        exact_top_k(conn, loose, queries_for(pair), 5)
    assert conn.execute("SELECT 1 AS one").fetchone() == {"one": 1}


def test_bits_are_refused(migrated: Migrated, conn: Connection) -> None:
    pair = migrated(5)
    with pytest.raises(UnsupportedError, match="holds bit"):
        exact_top_k(conn, replace(pair, target=replace(pair.target, vector_type="bit")), queries_for(pair), 5)


def test_a_search_that_is_left_half_way_leaves_the_connection_usable(
    migrated: Migrated, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = migrated(60)
    monkeypatch.setattr(exact, "rows_at_once", lambda *_: 5)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), conn.transaction():
        exact_top_k(conn, pair, queries_for(pair), 5, on_progress=interrupt)
    assert_is_postgres(conn, pair, exact_top_k(conn, pair_of(conn), queries_for(pair), 5), 5)


@pytest.mark.parametrize("memory_mb", [16, 64, 512])
@pytest.mark.parametrize("queries", [1, 1_000, 100_000])
def test_memory_bounds_a_block(memory_mb: int, queries: int) -> None:
    slot = Slot(
        id=1,
        collection_id=1,
        name="v1",
        model=replace(NEW, dimensions=1536),
        placement=Placement.COLUMN,
        schema="public",
        table="docs",
        vector_column="embedding",
        model_column=None,
        hash_column=None,
        maintained_by=Maintainer.APP,
    )
    rows = exact.rows_at_once([slot], queries, memory_mb)
    products = min(rows, ROWS_A_PRODUCT) * min(queries, QUERIES_AT_ONCE * exact.processors()) * 5
    two_blocks_as_sent_and_as_arrays = rows * 1536 * 4 * 4
    assert products + two_blocks_as_sent_and_as_arrays < memory_mb * 2**20
    assert rows >= 100
