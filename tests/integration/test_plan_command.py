"""embedmig plan: what it foretells is what then happens, and it changes nothing."""

import json
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from psycopg import sql
from support import NEW, OLD, expand_docs, make_docs

from embedmig.backfill.forecast import count_wanting, forecast_embedding, sample_texts
from embedmig.catalog.collections import get_collection
from embedmig.catalog.events import list_events
from embedmig.catalog.models import add_model, update_model
from embedmig.catalog.rates import RateLimits, set_limits
from embedmig.catalog.slots import list_slots
from embedmig.commands import expand, index, plan, reembed
from embedmig.commands.planning import Plan
from embedmig.db import Connection, Database
from embedmig.embedders import load_embedder
from embedmig.errors import NotFoundError, RefusedError, UnsupportedError, UsageError
from embedmig.schema import forecast
from embedmig.schema.inspection import describe_table
from embedmig.types import Distance, Model, ModelState, Placement

Verb = Callable[..., tuple[int, str]]

WIDE = Model(name="wide", revision="1", provider="hashing", dimensions=384, options={"dimensions": 384})


@pytest.fixture
def docs(conn: Connection) -> Connection:
    make_docs(conn, 20)
    return conn


def _plan(db: Database, to: str = "new@1") -> Plan:
    told: Plan = plan(db, "docs", to)
    return told


def test_rows_tokens_and_cost_are_told_and_nothing_is_changed(db: Database, docs: Connection) -> None:
    docs.execute("INSERT INTO docs (id, title) VALUES (101, NULL), (102, '')")
    update_model(docs, replace(NEW, price_per_million_tokens=2.0))
    told = _plan(db)
    assert (told.rows, told.rows_are_exact) == (22, True)
    assert (told.embedding.rows_wanting, told.embedding.rows_wanting_are_exact) == (20, True)
    texts = docs.execute("SELECT title || ' ' || body AS t FROM docs WHERE title <> ''").fetchall()
    assert told.embedding.tokens == sum(len(row["t"].split()) for row in texts)
    assert told.embedding.cost == pytest.approx(told.embedding.tokens * 2.0 / 1e6)
    assert told.embedding.how == "not measured: calls cost money, or it was asked not to"
    assert told.seconds is None
    assert [slot.name for slot in list_slots(docs, get_collection(docs, "docs"))] == ["v1"]
    assert list_events(docs) == []


def test_time_is_measured_on_a_sample_where_that_is_free(db: Database, docs: Connection) -> None:
    told = _plan(db)
    assert told.embedding.how.startswith("measured here on 20 texts, on cpu/float32")
    assert told.seconds is not None
    assert told.seconds >= told.embedding.rows_wanting / told.writes[0].rows_per_s


def test_time_at_the_limits_of_the_model_is_told(db: Database, docs: Connection) -> None:
    set_limits(docs, NEW, RateLimits(tokens_per_minute=60.0))
    told = _plan(db)
    assert told.seconds == pytest.approx(told.embedding.tokens, rel=0.01)
    assert told.embedding.how == "at the limits per minute that are set for the model"


def test_texts_longer_than_the_model_takes_are_counted(db: Database, docs: Connection) -> None:
    short = Model(
        name="short", revision="1", provider="hashing", dimensions=8, options={"dimensions": 8}, max_tokens=12
    )
    add_model(docs, short, None)
    docs.execute("UPDATE docs SET body = repeat('word ', 40) WHERE id <= 5")
    told = _plan(db, "short@1")
    assert told.embedding.truncated_share == 0.25
    assert told.embedding.longest_tokens == 42
    assert any("longer than 12 tokens: the model cuts them off" in warning for warning in told.warnings)
    # What is cut off is not paid for.
    assert told.embedding.tokens <= 20 * 12


def test_the_row_filter_decides_what_is_embedded(db: Database, conn: Connection) -> None:
    make_docs(conn, 20, row_filter="lang = 'en'", filter_columns=["lang"])
    assert _plan(db).embedding.rows_wanting == 10


def test_an_empty_table_takes_no_time(db: Database, conn: Connection) -> None:
    make_docs(conn, 0)
    told = _plan(db)
    assert (told.rows, told.embedding.rows_wanting, told.embedding.tokens, told.seconds) == (0, 0, 0, 0.0)


def test_what_expand_runs_is_what_plan_showed(db: Database, docs: Connection) -> None:
    told = _plan(db)
    done = expand(db, "docs", "new@1", at_once=True)
    assert told.sql == done.sql
    assert (told.placement, told.why) == (done.placement, done.why_placed)


@pytest.mark.parametrize(
    ("statement", "placement", "why"),
    [
        ("SELECT 1", Placement.COLUMN, "no ANN index"),
        ("CREATE INDEX i ON docs USING hnsw (embedding vector_l2_ops)", Placement.COLUMN, "the table is small"),
        ("CREATE PUBLICATION p FOR TABLE docs", Placement.COMPANION, "the table is published"),
    ],
)
def test_the_recommended_placement_is_that_of_auto_with_its_reason(
    db: Database, docs: Connection, statement: str, placement: Placement, why: str
) -> None:
    docs.execute(sql.SQL(statement))
    told = _plan(db)
    assert told.placement is placement
    assert why in told.why
    assert {write.placement for write in told.writes} == set(Placement)
    assert expand(db, "docs", "new@1", at_once=True).placement is placement


def test_a_placement_that_cannot_be_is_told_and_the_other_recommended(db: Database, docs: Connection) -> None:
    docs.execute("ALTER TABLE docs ADD COLUMN embedding_v2 text")
    told = _plan(db)
    assert told.placement is Placement.COMPANION
    assert "embedding_v2" in told.blocked["column"]
    assert [write.placement for write in told.writes] == [Placement.COMPANION]


def test_who_would_notice_is_named_with_the_placement_under_which(db: Database, docs: Connection) -> None:
    docs.execute("CREATE PUBLICATION p FOR TABLE docs")
    docs.execute("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    docs.execute("CREATE TRIGGER touch BEFORE UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION f()")
    docs.execute("CREATE TRIGGER of_title BEFORE UPDATE OF title ON docs FOR EACH ROW EXECUTE FUNCTION f()")
    docs.execute("CREATE VIEW v AS SELECT embedding FROM docs")
    told = _plan(db)
    assert [(who.kind, who.name, who.placement) for who in told.onlookers] == [
        ("publication", "p", Placement.COLUMN),
        ("trigger", "touch", Placement.COLUMN),
        ("view", "public.v", None),
    ]
    assert any("pg_stat_statements is not installed" in line for line in told.not_looked_at)


def test_the_index_is_foretold_as_it_is_then_built(db: Database, conn: Connection) -> None:
    make_docs(conn, 0)
    add_model(conn, WIDE, None)
    generator = np.random.default_rng(5)
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO docs (id, title) VALUES (%s, 'some title')", [(number,) for number in range(1, 2501)]
        )
    told = _plan(db, "wide@1")
    slot = expand_docs(db, Placement.COMPANION, model=WIDE).target
    with conn.cursor() as cursor, cursor.copy("COPY embedmig.docs_v2 FROM STDIN WITH (FORMAT BINARY)") as copy:
        copy.set_types(["bigint", "vector", "int4", "uuid"])
        for number in range(1, 2501):
            copy.write_row([number, generator.standard_normal(384).astype(np.float32), slot.model.id, None])
    filled = conn.execute("SELECT pg_total_relation_size('embedmig.docs_v2') AS n").fetchone()
    (companion,) = [write for write in told.writes if write.placement is Placement.COMPANION]
    assert filled is not None
    assert companion.disk_bytes == pytest.approx(filled["n"], rel=0.15)
    built = index(db, "docs").index
    assert told.index.kind == "hnsw"
    assert told.index.size_bytes == pytest.approx(built.size_bytes, rel=0.1)
    assert told.index.opclass == "vector_cosine_ops"


def test_the_sources_index_is_foretold_to_be_mirrored(db: Database, docs: Connection) -> None:
    docs.execute("CREATE INDEX i ON docs USING ivfflat (embedding vector_cosine_ops) WITH (lists = 2)")
    told = _plan(db)
    assert (told.index.kind, told.index.memory_wanted_bytes) == ("ivfflat", 0)
    assert "ivfflat with lists = 2, as i has it" in told.index.notes


@pytest.mark.parametrize(
    ("dimensions", "distance", "vector_type", "opclass"),
    [
        (3000, Distance.COSINE, "halfvec(3000)", "halfvec_cosine_ops"),
        (5000, Distance.COSINE, "vector(5000)", "bit_hamming_ops"),
        (5000, Distance.L2, "vector(5000)", None),
    ],
)
def test_over_the_index_limit_it_says_what_is_used_instead(
    db: Database, docs: Connection, dimensions: int, distance: Distance, vector_type: str, opclass: str | None
) -> None:
    big = replace(WIDE, name="big", dimensions=dimensions, distance=distance, options={"dimensions": dimensions})
    add_model(docs, big, None)
    told = _plan(db, "big@1")
    assert (told.vector_type, told.index.opclass) == (vector_type, opclass)
    if dimensions > 4000:
        assert any("signs" in note for note in told.index.notes)


def test_a_transaction_that_holds_the_horizon_leaves_no_hot_update(db: Database, docs: Connection) -> None:
    docs.execute("CREATE INDEX i ON docs USING hnsw (embedding vector_cosine_ops)")
    docs.execute("INSERT INTO docs (id, title) SELECT i, repeat('title ', 20) FROM generate_series(100, 2000) i")
    collection = get_collection(docs, "docs")
    target = expand_docs(db, Placement.COLUMN).target
    facts = describe_table(docs, collection.schema, collection.table)
    free = forecast.forecast_column(docs, target, facts, rows=1900, horizon_held=False)
    held = forecast.forecast_column(docs, target, facts, rows=1900, horizon_held=True)
    assert free.hot_share is not None
    assert held.hot_share is not None
    assert held.hot_share < free.hot_share
    assert held.rows_per_s < free.rows_per_s
    assert held.disk_bytes > free.disk_bytes
    assert held.wal_bytes > free.wal_bytes
    assert any("end it first" in line for line in held.consequences)


def test_a_large_table_is_sampled_and_says_about(docs: Connection) -> None:
    docs.execute("INSERT INTO docs (id, title) SELECT i, nullif(i % 2, 0)::text FROM generate_series(100, 30099) i")
    docs.execute("ANALYZE docs")
    collection = get_collection(docs, "docs")
    wanting, exact = count_wanting(docs, collection, 100_000)
    assert not exact
    assert wanting == pytest.approx(50_000, rel=0.1)
    texts = sample_texts(docs, collection, 100_000, 50)
    assert len(texts) == 50
    assert all(text == "1" or text.startswith("Title ") for text in texts)
    told = forecast_embedding(docs, collection, NEW, load_embedder(NEW), RateLimits(), rows=100_000, measure=False)
    assert told.sample_texts == 400
    # A token each, but for the few rows with a title and a body, whose page is in every fifth sample.
    assert told.tokens == pytest.approx(50_000, rel=0.4)


def test_with_a_migration_open_it_tells_why_expand_would_refuse(db: Database, docs: Connection, verb: Verb) -> None:
    expand_docs(db)
    told = _plan(db)
    assert told.sql == ()
    assert told.refusal == "docs has an open migration to slot v2 (new@1)"
    assert "expand would refuse now" in verb("plan", "docs", "--to", "new@1")[1]


def test_a_model_that_is_gone_or_the_one_there_is_or_unknown_is_refused(db: Database, docs: Connection) -> None:
    with pytest.raises(UsageError, match="is of old@1 already"):
        _plan(db, "old@1")
    with pytest.raises(NotFoundError, match=r"no model nope@1; there are: new@1, old@1"):
        _plan(db, "nope@1")
    update_model(docs, replace(NEW, state=ModelState.GONE))
    with pytest.raises(RefusedError, match="new@1 is gone"):
        _plan(db)
    add_model(docs, replace(WIDE, name="huge", dimensions=20_000, options={"dimensions": 20_000}), None)
    with pytest.raises(UnsupportedError, match="pgvector stores 16,000 at most"):
        _plan(db, "huge@1")


def test_a_source_model_that_is_gone_is_warned_of(db: Database, docs: Connection) -> None:
    update_model(docs, replace(OLD, state=ModelState.GONE))
    assert any("missing there after a rollback" in warning for warning in _plan(db).warnings)


def test_a_bridge_is_foretold_with_the_reindex_to_plan_and_the_batch_size_under_an_index(
    db: Database, docs: Connection, verb: Verb
) -> None:
    told = _plan(db)
    assert told.bridge is not None
    assert 16 <= told.bridge.batch_rows <= 512
    code, printed = verb("plan", "docs", "--to", "new@1")
    assert code == 0
    assert f"--batch-size {told.bridge.batch_rows}" in printed
    assert told.bridge.reindex in printed
    expand(db, "docs", "new@1", placement=told.placement)
    reembed(db, "docs")
    index(db, "docs")
    built = list_slots(docs, get_collection(docs, "docs"))[1].index_name
    assert told.bridge.reindex.endswith(f'."{built}"')
    docs.execute(told.bridge.reindex)  # type: ignore[call-overload]


def test_the_verb_prints_it_all_and_json_for_machines(verb: Verb, docs: Connection) -> None:
    code, printed = verb("plan", "docs", "--to", "new@1", "--no-measure")
    assert code == 0, printed
    for part in ("docs: old@1 (v1) to new@1", "placement: column", "who will notice", "locks", "ALTER TABLE"):
        assert part in printed
    assert "ALTER TABLE" not in verb("plan", "docs", "--to", "new@1", "--no-sql")[1]
    code, printed = verb("plan", "docs", "--to", "new@1", "--json")
    told = json.loads(printed)
    assert (code, told["placement"], told["rows"]) == (0, "column", 20)
    assert told["sql"]


def test_where_vectors_are_in_the_way_of_hot_updates_plan_says_what_makes_room_and_it_does(
    db: Database, conn: Connection
) -> None:
    old = replace(WIDE, name="old_wide")
    make_docs(conn, 600, old=old, new=replace(WIDE, options={"dimensions": 384, "seed": 1}))
    conn.execute("CREATE INDEX ON docs USING hnsw (embedding vector_cosine_ops) WITH (m = 2, ef_construction = 4)")
    conn.execute("VACUUM ANALYZE docs")
    told = _plan(db, "wide@1")
    column = next(write for write in told.writes if write.placement is Placement.COLUMN)
    assert column.hot_share is not None
    assert column.hot_share < 0.6
    (advice,) = (line for line in column.consequences if "toast_tuple_target" in line)
    said = re.match(r"at least (\d+)% of the updates stay on their page after (.+), milliseconds", advice)
    assert said is not None
    share, statement = int(said[1]) / 100, said[2]
    assert share >= column.hot_share + 0.1
    conn.execute(sql.SQL(statement))
    expand(db, "docs", "wide@1", placement=Placement.COLUMN)
    assert reembed(db, "docs").slots[0].census.true == 600
    counted = conn.execute(
        "SELECT n_tup_upd AS updated, n_tup_hot_upd AS hot FROM pg_stat_user_tables WHERE relname = 'docs'"
    ).fetchone()
    assert counted is not None
    assert counted["hot"] >= share * counted["updated"] > 0


def test_room_by_toast_is_not_spoken_of_where_it_makes_none(db: Database, docs: Connection) -> None:
    docs.execute("CREATE INDEX i ON docs USING hnsw (embedding vector_cosine_ops)")
    told = _plan(db)
    assert not any("toast_tuple_target" in line for write in told.writes for line in write.consequences)
