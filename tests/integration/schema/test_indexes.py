"""Building a slot's index: what is built, what is left alone, and what an interruption leaves."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from psycopg import sql
from support import NEW, expand_docs, make_docs

from embedmig.catalog.collections import get_collection
from embedmig.catalog.events import list_events
from embedmig.catalog.models import add_model
from embedmig.catalog.routes import get_route
from embedmig.catalog.slots import add_slot, get_slot, mark_filled, set_maintainer
from embedmig.db import Connection, Database
from embedmig.errors import ConflictError, DatabaseError, RefusedError, UnsupportedError, UsageError
from embedmig.schema import build_memory
from embedmig.schema.index_building import IndexProgress
from embedmig.schema.indexes import IndexBuilt, build_index, drop_index, index_state
from embedmig.schema.inspection import find_ann_indexes
from embedmig.types import Distance, Maintainer, Model, Placement, Slot

Verb = Callable[..., tuple[int, str]]


def _fill(conn: Connection, slot: Slot) -> None:
    """Any vectors: these tests are about the index over them."""
    generator = np.random.default_rng(7)
    keys = [row["id"] for row in conn.execute("SELECT id FROM docs")]
    vectors = generator.standard_normal((len(keys), slot.model.dimensions)).astype(np.float32)
    if slot.placement is Placement.COMPANION:
        statement = sql.SQL("INSERT INTO {} VALUES (%s, %s, {})").format(
            sql.Identifier(slot.schema, slot.table), sql.Literal(slot.model.id)
        )
        pairs = list(zip(keys, vectors, strict=True))
    else:
        statement = sql.SQL("UPDATE {} SET {} = %s, {} = {} WHERE id = %s").format(
            sql.Identifier(slot.schema, slot.table),
            sql.Identifier(slot.vector_column),
            sql.Identifier(slot.model_column or ""),
            sql.Literal(slot.model.id),
        )
        pairs = list(zip(vectors, keys, strict=True))
    with conn.cursor() as cursor:
        cursor.executemany(statement, pairs)


@pytest.fixture(params=[Placement.COLUMN, Placement.COMPANION])
def target(request: pytest.FixtureRequest, db: Database, conn: Connection) -> Slot:
    """A filled target in each placement."""
    make_docs(conn, 30)
    slot = expand_docs(db, request.param).target
    _fill(conn, slot)
    return slot


@pytest.fixture
def column(db: Database, conn: Connection) -> Slot:
    """A filled target on the user's table."""
    make_docs(conn, 30)
    slot = expand_docs(db).target
    _fill(conn, slot)
    return slot


def _build(db: Database, conn: Connection, slot: Slot, **options: Any) -> IndexBuilt:
    collection = get_collection(conn, "docs")
    source = get_slot(conn, collection, "v1")
    return build_index(db, collection, slot, source=source, **options)


@contextmanager
def _old_transaction(db: Database, slot: Slot) -> Iterator[Connection]:
    """A writer that does not commit: CREATE INDEX CONCURRENTLY waits for it."""
    with db.connect() as other, other.transaction(force_rollback=True):
        table = sql.Identifier(slot.schema, slot.table)
        other.execute(sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(table))
        yield other


def test_the_index_is_built_and_the_catalog_knows_it(db: Database, conn: Connection, target: Slot) -> None:
    before = get_route(conn, "docs").epoch
    built = _build(db, conn, target)
    table = "docs_v2_embedding" if target.placement is Placement.COMPANION else "docs_embedding_v2"
    assert built.names == built.built == (f"{table}_hnsw",)
    (index,) = find_ann_indexes(conn, target.schema, target.table, target.vector_column)
    assert (index.kind, index.opclass, index.valid) == ("hnsw", "vector_cosine_ops", True)
    assert dict(index.options) == {"m": "16", "ef_construction": "64"}
    stored = get_slot(conn, get_collection(conn, "docs"), "v2")
    assert stored.index_name == index.name
    assert get_route(conn, "docs").epoch == before + 1
    assert list_events(conn)[0].verb == "index"
    state = index_state(conn, stored)
    assert (state.valid, state.name, state.building_pid) == (True, index.name, None)
    assert state.size_bytes == index.size_bytes > 0


def test_a_build_takes_nothing_back_that_was_written_of_the_slot_meanwhile(
    db: Database, conn: Connection, target: Slot
) -> None:
    assert target.filled_at is None
    mark_filled(conn, target)
    set_maintainer(conn, target, Maintainer.APP)
    (name,) = _build(db, conn, target).names
    stored = get_slot(conn, get_collection(conn, "docs"), "v2")
    assert stored.index_name == name
    assert stored.filled_at is not None
    assert stored.maintained_by is Maintainer.APP


def test_building_again_does_nothing(db: Database, conn: Connection, target: Slot) -> None:
    _build(db, conn, target)
    oid = conn.execute("SELECT oid FROM pg_class WHERE relname LIKE '%%_hnsw'").fetchone()
    epoch = get_route(conn, "docs").epoch
    again = _build(db, conn, get_slot(conn, get_collection(conn, "docs"), "v2"))
    assert again.built == ()
    assert conn.execute("SELECT oid FROM pg_class WHERE relname LIKE '%%_hnsw'").fetchone() == oid
    assert get_route(conn, "docs").epoch == epoch
    assert [event.verb for event in list_events(conn)].count("index") == 1


def test_the_users_own_valid_index_is_taken(db: Database, conn: Connection, column: Slot) -> None:
    conn.execute("CREATE INDEX mine ON docs USING ivfflat (embedding_v2 vector_cosine_ops) WITH (lists = 2)")
    built = _build(db, conn, column)
    assert (built.names, built.built) == (("mine",), ())
    assert get_slot(conn, get_collection(conn, "docs"), "v2").index_name == "mine"
    with pytest.raises(ConflictError, match="mine is there and valid, with ivfflat: drop it first"):
        _build(db, conn, column, kind="hnsw")
    with pytest.raises(ConflictError, match="with lists = 2"):
        _build(db, conn, column, lists=3)


def test_an_index_for_another_distance_is_not_taken(db: Database, conn: Connection, column: Slot) -> None:
    conn.execute("CREATE INDEX mine ON docs USING hnsw (embedding_v2 vector_l2_ops)")
    assert _build(db, conn, column).built == ("docs_embedding_v2_hnsw",)


@pytest.mark.parametrize(
    ("options", "kind", "shown"),
    [
        ({"m": 8, "ef_construction": 40}, "hnsw", {"m": "8", "ef_construction": "40"}),
        ({"kind": "ivfflat", "lists": 3}, "ivfflat", {"lists": "3"}),
        ({"lists": 4}, "ivfflat", {"lists": "4"}),
        ({"kind": "ivfflat"}, "ivfflat", {"lists": "1"}),
    ],
)
def test_options_are_what_was_asked_for(
    db: Database, conn: Connection, column: Slot, options: dict[str, object], kind: str, shown: dict[str, str]
) -> None:
    _build(db, conn, column, **options)
    (index,) = find_ann_indexes(conn, "public", "docs", "embedding_v2")
    assert (index.kind, dict(index.options)) == (kind, shown)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "btree"}, "an index is hnsw or ivfflat"),
        ({"m": 1}, "m goes from 2 to 100"),
        ({"m": 40}, "ef_construction must be at least twice m"),
        ({"kind": "ivfflat", "m": 8}, "ivfflat has no m: it takes lists"),
        ({"lists": 8, "m": 8}, "give those of one kind"),
        ({"maintenance_work_mem": "lots"}, "'lots' is no size"),
        ({"maintenance_work_mem": "1kB"}, "goes from 1MB to 2TB"),
    ],
)
def test_options_that_cannot_be_are_refused(
    db: Database, conn: Connection, column: Slot, options: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        _build(db, conn, column, **options)
    assert find_ann_indexes(conn, "public", "docs", "embedding_v2") == []


def test_the_sources_kind_parameters_and_conditions_are_mirrored(db: Database, conn: Connection, column: Slot) -> None:
    conn.execute(
        "CREATE INDEX a ON docs USING hnsw (embedding vector_cosine_ops) WITH (m = 6, ef_construction = 30)"
        " WHERE lang = 'en'"
    )
    conn.execute("CREATE INDEX b ON docs USING hnsw (embedding vector_cosine_ops) WITH (m = 4) WHERE lang = 'de'")
    conn.execute("CREATE INDEX c ON docs USING hnsw (embedding vector_l2_ops)")
    built = _build(db, conn, column)
    assert built.names == ("docs_embedding_v2_hnsw", "docs_embedding_v2_hnsw_1")
    found = {index.name: index for index in find_ann_indexes(conn, "public", "docs", "embedding_v2")}
    assert found["docs_embedding_v2_hnsw"].predicate == "(lang = 'en'::text)"
    assert dict(found["docs_embedding_v2_hnsw"].options) == {"m": "6", "ef_construction": "30"}
    assert found["docs_embedding_v2_hnsw_1"].predicate == "(lang = 'de'::text)"
    assert found["docs_embedding_v2_hnsw_1"].options["m"] == "4"
    assert "hnsw with m = 4, as b has it" in built.notes
    assert any("c (vector_l2_ops) is for another distance" in note for note in built.notes)


def test_conditions_on_columns_that_a_companion_lacks_become_one_index(db: Database, conn: Connection) -> None:
    make_docs(conn, 30)
    conn.execute("CREATE INDEX a ON docs USING hnsw (embedding vector_cosine_ops) WHERE lang = 'en'")
    slot = expand_docs(db, Placement.COMPANION).target
    _fill(conn, slot)
    built = _build(db, conn, slot)
    assert built.names == ("docs_v2_embedding_hnsw",)
    assert any("the companion has no such column" in note for note in built.notes)


def test_a_condition_on_the_old_vectors_is_not_carried_over(db: Database, conn: Connection, column: Slot) -> None:
    conn.execute("CREATE INDEX a ON docs USING hnsw (embedding vector_cosine_ops) WHERE embedding IS NOT NULL")
    _build(db, conn, column)
    (index,) = find_ann_indexes(conn, "public", "docs", "embedding_v2")
    assert index.predicate is None


def test_a_slot_without_vectors_is_refused_and_an_empty_table_is_not(db: Database, conn: Connection) -> None:
    make_docs(conn, 5)
    slot = expand_docs(db).target
    with pytest.raises(RefusedError, match="slot v2 of docs has no vectors yet: fill it first, embedmig reembed docs"):
        _build(db, conn, slot)
    conn.execute("DELETE FROM docs")
    assert _build(db, conn, slot).built == ("docs_embedding_v2_hnsw",)


def _wait_for(conn: Connection, query: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while conn.execute(sql.SQL(query)).fetchone() is None:
        assert time.monotonic() < deadline, query
        time.sleep(0.02)


def _cancelled(db: Database, statement: sql.Composed) -> None:
    with pytest.raises(DatabaseError, match="canceling statement"), db.connect() as builder:
        builder.execute(statement)


def _leave_invalid(db: Database, conn: Connection, slot: Slot, name: str) -> None:
    """A build that was cancelled while it waited for an older transaction, as a restart or an operator would."""
    statement = sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} USING hnsw ({} vector_cosine_ops)").format(
        sql.Identifier(name), sql.Identifier(slot.schema, slot.table), sql.Identifier(slot.vector_column)
    )
    with _old_transaction(db, slot), ThreadPoolExecutor(1) as pool:
        running = pool.submit(_cancelled, db, statement)
        _wait_for(conn, "SELECT 1 FROM pg_stat_progress_create_index WHERE current_locker_pid <> 0")
        conn.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index")
        running.result(timeout=10)


def test_an_invalid_leftover_is_dropped_and_built_anew(db: Database, conn: Connection, target: Slot) -> None:
    name = f"{target.table}_{target.vector_column}_hnsw"
    _leave_invalid(db, conn, target, name)
    (leftover,) = find_ann_indexes(conn, target.schema, target.table, target.vector_column)
    assert not leftover.valid
    built = _build(db, conn, target)
    assert built.dropped_invalid == built.built == (name,)
    (index,) = find_ann_indexes(conn, target.schema, target.table, target.vector_column)
    assert index.valid


def test_progress_names_the_phase_and_who_is_waited_for(db: Database, conn: Connection, column: Slot) -> None:
    seen: list[IndexProgress] = []
    with _old_transaction(db, column) as other:

        def watch(progress: IndexProgress) -> None:
            seen.append(progress)
            if progress.waits_for_pid == other.info.backend_pid:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            _build(db, conn, column, on_progress=watch)
    assert seen[-1].phase == "waiting for writers before build"
    assert seen[-1].share == 0.0
    assert seen[-1].index == "docs_embedding_v2_hnsw"


def test_ctrl_c_cancels_the_build_in_the_server(db: Database, conn: Connection, column: Slot) -> None:
    def interrupt(progress: IndexProgress) -> None:
        raise KeyboardInterrupt

    with _old_transaction(db, column):
        with pytest.raises(KeyboardInterrupt):
            _build(db, conn, column, on_progress=interrupt)
        assert conn.execute("SELECT 1 FROM pg_stat_progress_create_index").fetchone() is None
    assert get_slot(conn, get_collection(conn, "docs"), "v2").index_name is None
    again = _build(db, conn, column)
    assert again.built == ("docs_embedding_v2_hnsw",)


def test_an_interrupted_build_leaves_no_invalid_index_behind(db: Database, conn: Connection, column: Slot) -> None:
    with _old_transaction(db, column) as other:

        def interrupt(progress: IndexProgress) -> None:
            other.execute("ROLLBACK")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            _build(db, conn, column, on_progress=interrupt)
        other.execute("BEGIN")
    # Cancelled too late, the build is complete, and stays.
    assert all(index.valid for index in find_ann_indexes(conn, "public", "docs", "embedding_v2"))


def test_a_second_build_at_the_same_time_is_told_who_builds(db: Database, conn: Connection, column: Slot) -> None:
    with _old_transaction(db, column):

        def meet(progress: IndexProgress) -> None:
            with pytest.raises(RefusedError, match=r"being built: pid \d+ \(embedmig\) has been at it"):
                _build(db, conn, column)
            assert index_state(conn, column).building_pid is not None
            raise InterruptedError

        with pytest.raises(InterruptedError):
            _build(db, conn, column, on_progress=meet)


def test_a_name_that_something_else_has_is_refused(db: Database, conn: Connection, column: Slot) -> None:
    conn.execute("CREATE TABLE docs_embedding_v2_hnsw (id int)")
    with pytest.raises(ConflictError, match="is taken by something else"):
        _build(db, conn, column)


def test_settings_of_the_session_are_the_builds_alone(db: Database, conn: Connection, column: Slot) -> None:
    before = conn.execute("SHOW maintenance_work_mem").fetchone()
    built = _build(db, conn, column, maintenance_work_mem="96MB", parallel_workers=0)
    assert (built.maintenance_work_mem_bytes, built.parallel_workers) == (96 << 20, 0)
    with db.connect() as other:
        assert other.execute("SHOW maintenance_work_mem").fetchone() == before


_MORE_THAN_THERE_IS = "900GB"


def test_workers_are_stepped_down_where_shared_memory_is_seen_to_be_small(
    db: Database, conn: Connection, column: Slot
) -> None:
    conn.execute("ALTER TABLE docs SET (parallel_workers = 2)")
    built = _build(db, conn, column, maintenance_work_mem=_MORE_THAN_THERE_IS, parallel_workers=2)
    assert (built.parallel_workers, built.dropped_invalid) == (0, ())
    assert any("parallel workers want 921600: built without them" in note for note in built.notes)


def test_workers_are_stepped_down_where_shared_memory_gives_out(
    db: Database, conn: Connection, column: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As from another machine, where nobody sees the server's /dev/shm: the failure itself is the server's own.
    monkeypatch.setattr(build_memory, "shared_memory_bytes", lambda conn: None)
    conn.execute("ALTER TABLE docs SET (parallel_workers = 2)")
    built = _build(db, conn, column, maintenance_work_mem=_MORE_THAN_THERE_IS, parallel_workers=2)
    assert built.parallel_workers == 0
    assert built.dropped_invalid == ("docs_embedding_v2_hnsw",)
    assert any("/dev/shm has no room" in note for note in built.notes)
    assert index_state(conn, get_slot(conn, get_collection(conn, "docs"), "v2")).valid


def _make_partitioned(conn: Connection, *partitions: str) -> None:
    """The same collection over a partitioned table, of 40 rows."""
    make_docs(conn, 0)
    conn.execute("DROP TABLE docs")
    conn.execute(
        "CREATE TABLE docs (id bigint PRIMARY KEY, title text, body text, lang text, embedding vector(16))"
        " PARTITION BY RANGE (id)"
    )
    for partition in partitions:
        conn.execute(sql.SQL(f"CREATE TABLE {partition}"))
    conn.execute("INSERT INTO docs SELECT i, 'title', 'body', 'en' FROM generate_series(1, 40) i")


def test_every_partition_gets_its_index_and_the_parents_is_valid(db: Database, conn: Connection) -> None:
    _make_partitioned(
        conn,
        "docs_low PARTITION OF docs FOR VALUES FROM (0) TO (10)",
        "docs_high PARTITION OF docs FOR VALUES FROM (10) TO (1000) PARTITION BY RANGE (id)",
        "docs_high_a PARTITION OF docs_high FOR VALUES FROM (10) TO (20)",
        "docs_high_b PARTITION OF docs_high FOR VALUES FROM (20) TO (1000)",
    )
    slot = expand_docs(db, Placement.COLUMN).target
    _fill(conn, slot)
    built = _build(db, conn, slot)
    assert built.names == ("docs_embedding_v2_hnsw",)
    tables = ("docs", "docs_high", "docs_high_a", "docs_high_b", "docs_low")
    assert sorted(built.built) == sorted(f"{table}_embedding_v2_hnsw" for table in tables)
    stored = get_slot(conn, get_collection(conn, "docs"), "v2")
    assert index_state(conn, stored).valid
    assert _build(db, conn, stored).built == ()
    drop_index(conn, stored)
    assert find_ann_indexes(conn, "public", "docs", "embedding_v2") == []


def test_indexes_that_stand_on_partitions_alone_are_mirrored_by_their_parameters(
    db: Database, conn: Connection
) -> None:
    _make_partitioned(conn, "docs_all PARTITION OF docs DEFAULT")
    conn.execute("CREATE INDEX one ON docs_all USING hnsw (embedding vector_cosine_ops) WITH (m = 5)")
    slot = expand_docs(db, Placement.COLUMN).target
    _fill(conn, slot)
    built = _build(db, conn, slot)
    assert "hnsw with m = 5, as one has it" in built.notes
    (index,) = find_ann_indexes(conn, "public", "docs", "embedding_v2")
    assert (index.name, index.partitioned, index.options["m"]) == ("docs_embedding_v2_hnsw", True, "5")


def test_a_build_over_partitions_goes_on_where_it_stopped(db: Database, conn: Connection) -> None:
    _make_partitioned(
        conn,
        "docs_low PARTITION OF docs FOR VALUES FROM (0) TO (10)",
        "docs_high PARTITION OF docs FOR VALUES FROM (10) TO (1000)",
    )
    slot = expand_docs(db, Placement.COLUMN).target
    _fill(conn, slot)
    done = "{} USING hnsw (embedding_v2 vector_cosine_ops) WITH (m = 16, ef_construction = 64)"
    conn.execute(sql.SQL("CREATE INDEX docs_low_embedding_v2_hnsw ON " + done.format("docs_low")))
    conn.execute(sql.SQL("CREATE INDEX docs_embedding_v2_hnsw ON ONLY " + done.format("docs")))
    assert not index_state(conn, slot).valid
    built = _build(db, conn, slot)
    assert "docs_low_embedding_v2_hnsw" not in built.built
    assert index_state(conn, get_slot(conn, get_collection(conn, "docs"), "v2")).valid


def test_drop_index_drops_that_index_alone_and_can_be_repeated(db: Database, conn: Connection, target: Slot) -> None:
    _build(db, conn, target)
    stored = get_slot(conn, get_collection(conn, "docs"), "v2")
    for _ in range(2):
        drop_index(conn, stored)
    assert not index_state(conn, stored).valid
    assert conn.execute(
        sql.SQL("SELECT count(*) AS n FROM {}").format(sql.Identifier(target.schema, target.table))
    ).fetchone() == {"n": 30}


def _slot_of(conn: Connection, model: Model, vector_type: str) -> Slot:
    """A source slot with vectors of another width, on a table of its own."""
    make_docs(conn, 12)
    conn.execute(
        sql.SQL("ALTER TABLE docs ADD COLUMN wide {}({})").format(sql.SQL(vector_type), sql.Literal(model.dimensions))
    )
    rows = np.random.default_rng(3).standard_normal((12, model.dimensions)).astype(np.float32)
    with conn.cursor() as cursor:
        cursor.executemany("UPDATE docs SET wide = %s WHERE id = %s", list(zip(rows, range(1, 13), strict=True)))
    add_model(conn, model, None)
    return add_slot(
        conn,
        Slot(
            id=0,
            collection_id=get_collection(conn, "docs").id,
            name="v7",
            model=model,
            placement=Placement.COLUMN,
            schema="public",
            table="docs",
            vector_column="wide",
            model_column=None,
            hash_column=None,
            vector_type=vector_type,
            maintained_by=Maintainer.APP,
        ),
    )


@pytest.mark.parametrize(
    ("dimensions", "vector_type", "distance", "opclass"),
    [
        (2000, "vector", Distance.L2, "vector_l2_ops"),
        (3000, "halfvec", Distance.COSINE, "halfvec_cosine_ops"),
        (100, "halfvec", Distance.INNER_PRODUCT, "halfvec_ip_ops"),
        (5000, "vector", Distance.COSINE, "bit_hamming_ops"),
    ],
)
def test_the_operator_class_follows_width_type_and_distance(
    db: Database, conn: Connection, dimensions: int, vector_type: str, distance: Distance, opclass: str
) -> None:
    model = Model(name="wide", revision="1", provider="hashing", dimensions=dimensions, distance=distance)
    slot = _slot_of(conn, model, vector_type)
    build_index(db, get_collection(conn, "docs"), slot)
    (index,) = find_ann_indexes(conn, "public", "docs", "wide")
    assert (index.opclass, index.valid) == (opclass, True)
    assert (index.expression is not None) == (opclass == "bit_hamming_ops")
    assert build_index(db, get_collection(conn, "docs"), slot).built == ()


@pytest.mark.parametrize(
    ("dimensions", "distance", "said"),
    [(3000, Distance.COSINE, "takes 4000 as halfvec"), (5000, Distance.L2, "signs say nothing of l2 distance")],
)
def test_widths_that_no_index_takes_are_refused(
    db: Database, conn: Connection, dimensions: int, distance: Distance, said: str
) -> None:
    model = Model(name="wide", revision="1", provider="hashing", dimensions=dimensions, distance=distance)
    slot = _slot_of(conn, model, "vector")
    with pytest.raises(UnsupportedError, match=said):
        build_index(db, get_collection(conn, "docs"), slot)


def test_the_verb_says_what_it_built_and_does_nothing_the_second_time(
    verb: Verb, db: Database, conn: Connection, column: Slot
) -> None:
    code, printed = verb("index", "docs", "--m", "8")
    assert code == 0, printed
    assert "docs_embedding_v2_hnsw built in" in printed
    assert "CREATE INDEX CONCURRENTLY" in printed
    code, printed = verb("index", "docs")
    assert (code, "is there and valid" in printed) == (0, True)
    code, printed = verb("index", "docs", "--m", "9")
    assert (code, "with m = 8" in printed) == (2, True)
    code, printed = verb("index", "nothing")
    assert (code, "no collection nothing; there are: docs" in printed) == (2, True)
    code, printed = verb("index", "docs", "--slot", "v9")
    assert (code, "no slot v9 of docs; there are: v1, v2" in printed) == (2, True)


def test_without_a_migration_the_only_slot_is_indexed(db: Database, conn: Connection, verb: Verb) -> None:
    make_docs(conn, 5)
    assert verb("index", "docs")[0] == 0
    assert get_slot(conn, get_collection(conn, "docs"), "v1").index_name == "docs_embedding_hnsw"
    assert NEW.dimensions == 24
