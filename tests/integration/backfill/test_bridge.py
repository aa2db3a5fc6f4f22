"""What a bridge promises of the rows it writes, whatever happens to them meanwhile."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from psycopg import sql

from embedmig.adapters import StoredAdapter
from embedmig.adapters.keeping import open_adapter
from embedmig.backfill.bridging import bridge_rows
from embedmig.backfill.census import count_rows
from embedmig.backfill.results import RunOptions
from embedmig.backfill.running import reembed
from embedmig.catalog import adapters, collections, models, slots
from embedmig.commands import adapter_drop, bridge, verify
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError, UnsupportedError
from embedmig.schema.contract_gates import drop_gates
from embedmig.types import Collection, Floats, Placement, Slot
from tests.backfill_support import check_every_row, entries, hands
from tests.bridge_support import bridged_keys, fit_bridge, keep_bridge, vectors_of
from tests.support import NEW, OLD, embed, expand_docs, make_docs, text_of

BOTH = pytest.mark.parametrize("docs", list(Placement), indirect=True)

Map = Callable[[Floats, Sequence[str] | None], Floats]


@pytest.fixture
def docs(request: pytest.FixtureRequest, db: Database, conn: Connection) -> Collection:
    """60 rows, the target empty (a companion unless told), a bridge kept."""
    collection = make_docs(conn, 60)
    expand_docs(db, getattr(request, "param", Placement.COMPANION))
    keep_bridge(conn, collection)
    return collection


def both(conn: Connection, collection: Collection) -> tuple[Slot, Slot]:
    return slots.get_slot(conn, collection, "v1"), slots.get_slot(conn, collection, "v2")


def run(db: Database, conn: Connection, collection: Collection, mapped: Map, **options: Any) -> Any:
    source, target = both(conn, collection)
    return bridge_rows(db, collection, source, target, mapped, range_rows=25, **options)


def by_ridge(vectors: Floats, texts: Sequence[str] | None) -> Floats:
    return fit_bridge().adapter.transform(vectors)  # type: ignore[call-arg]


@BOTH
def test_every_row_gets_the_map_of_its_source_vector_labelled_as_bridged(
    db: Database, conn: Connection, docs: Collection
) -> None:
    result = bridge(db, "docs")
    assert (result.outcome, result.rows_written, result.queued, result.filled) == ("done", 60, 0, True)
    _, target = both(conn, docs)
    found = vectors_of(conn, docs, target)
    texts = ["\n\n".join(text_of(number)) for number in range(1, 61)]
    wanted = by_ridge(embed(OLD, texts), None)
    for number, vector in enumerate(wanted, start=1):
        model, stands = found[str(number),]
        assert model == target.bridge_model_id
        assert np.allclose(stands, vector, atol=1e-5)
    census = count_rows(conn, docs, target)
    assert (census.bridged, census.true, census.stale, census.unrecorded, census.wrong) == (60, 0, 0, 0, 0)
    assert verify(db, "docs").ok
    assert bridge(db, "docs").rows_planned == 0


@BOTH
def test_a_true_vector_is_never_overwritten_and_what_an_edit_queued_is_left_to_the_queue(
    db: Database, conn: Connection, docs: Collection
) -> None:
    conn.execute("UPDATE docs SET body = 'other words' WHERE id IN (3, 4)")
    with hands(db, docs) as worker:
        worker.work_off()
    conn.execute("UPDATE docs SET body = 'other words still' WHERE id IN (5, 6)")
    assert bridge(db, "docs").rows_written == 56
    _, target = both(conn, docs)
    found = vectors_of(conn, docs, target)
    assert {found["3",][0], found["4",][0]} == {NEW.id}
    assert ("5",) not in found
    assert ("6",) not in found
    assert len(entries(conn, target)) == 2


@BOTH
def test_rows_changed_between_reading_and_writing_keep_no_vector_of_what_was(
    db: Database, conn: Connection, docs: Collection
) -> None:
    def mapped(vectors: Floats, texts: Sequence[str] | None) -> Floats:
        conn.execute("UPDATE docs SET body = 'edited meanwhile' WHERE id = 7")
        conn.execute("DELETE FROM docs WHERE id = 8")
        conn.execute("UPDATE docs SET id = 900 WHERE id = 9")
        # A worker that is quick, and sees to the edits' own entries before the bridge commits.
        with hands(db, docs) as worker:
            worker.work_off()
        return by_ridge(vectors, texts)

    run(db, conn, docs, mapped)
    with hands(db, docs) as worker:
        worker.work_off()
    _, target = both(conn, docs)
    found = vectors_of(conn, docs, target)
    assert found["7",][0] == found["900",][0] == NEW.id
    census = count_rows(conn, docs, target)
    assert (census.orphans, census.stale, census.missing, census.bridged) == (0, 0, 0, 57)


@BOTH
def test_rows_that_another_embeds_meanwhile_stay_his(db: Database, conn: Connection, docs: Collection) -> None:
    embedded = []

    def mapped(vectors: Floats, texts: Sequence[str] | None) -> Floats:
        if not embedded:
            embedded.append(True)
            with hands(db, docs) as worker:
                worker.plan(10)
                worker.write(worker.read())
        return by_ridge(vectors, texts)

    run(db, conn, docs, mapped)
    _, target = both(conn, docs)
    census = count_rows(conn, docs, target)
    assert (census.true, census.bridged, census.missing) == (10, 50, 0)


@pytest.mark.parametrize(
    ("key", "placement"),
    [
        ((("id", "integer"), ("part", "text")), Placement.COMPANION),
        ((("name", "text"),), Placement.COLUMN),
        ((("id", "uuid"),), Placement.COMPANION),
        ((("id", "integer"), ("part", "name")), Placement.COMPANION),
        ((("id", "public.place"),), Placement.COMPANION),
        ((("id", "public.place"),), Placement.COLUMN),
    ],
)
def test_keys_of_every_type_and_row_filters_go_through(
    db: Database, conn: Connection, key: Sequence[tuple[str, str]], placement: Placement
) -> None:
    labels = sql.SQL(", ").join(sql.Literal(str(number)) for number in range(1, 41))
    conn.execute(sql.SQL("CREATE TYPE place AS ENUM ({})").format(labels))
    collection = make_docs(conn, 40, key=key, row_filter="title NOT LIKE '%7'", filter_columns=("title",))
    column = "part" if len(key) == 2 else "name"
    if key[0][1] not in ("uuid", "public.place"):
        conn.execute(f"UPDATE docs SET {column} = '100%s {{50%}} ' || {column} WHERE title LIKE '%1'")
    expand_docs(db, placement)
    keep_bridge(conn, collection)
    _, target = both(conn, collection)
    assert run(db, conn, collection, by_ridge).rows_written == 36
    assert len(bridged_keys(conn, collection, target)) == 36
    assert count_rows(conn, collection, target).wrong == 0


def test_a_companion_is_bridged_from_but_for_vectors_recorded_as_of_another_text(
    db: Database, conn: Connection
) -> None:
    collection = make_docs(conn, 30)
    expand_docs(db, Placement.COMPANION)
    reembed(db, collection, options=RunOptions())
    conn.execute("UPDATE embedmig.migration SET closed_at = clock_timestamp()")
    conn.execute("UPDATE embedmig.slot SET dropped_at = clock_timestamp() WHERE name = 'v1'")
    third = replace(NEW, name="third")
    models.add_model(conn, third, None)
    expand_docs(db, Placement.COMPANION, model=third)
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")
        conn.execute("UPDATE docs SET body = 'edited where no trigger sees it' WHERE id = 3")
    source, target = slots.get_slot(conn, collection, "v2"), slots.get_slot(conn, collection, "v3")
    done = bridge_rows(db, collection, source, target, lambda vectors, texts: vectors, range_rows=7)
    assert done.rows_written == 29
    assert ("3",) not in bridged_keys(conn, collection, target)
    assert count_rows(conn, collection, target).stale == 0


def test_a_bridge_reads_texts_where_its_kind_does(db: Database, conn: Connection) -> None:
    collection = make_docs(conn, 30)
    expand_docs(db, Placement.COMPANION)
    keep_bridge(conn, collection, name="plain")
    keep_bridge(conn, collection, "text", name="reading")
    keep_bridge(conn, collection, name="later")
    result = bridge(db, "docs", with_text=True)
    assert (result.adapter, result.kind, result.rows_written) == ("reading", "text", 30)
    with pytest.raises(RefusedError, match=r"begun with bridge reading \(text\)"):
        bridge(db, "docs", adapter="plain")


def test_what_has_no_source_vector_is_queued_and_the_slot_is_filled_once_it_is_embedded(
    db: Database, conn: Connection, docs: Collection
) -> None:
    conn.execute("UPDATE docs SET embedding = NULL WHERE id <= 20")
    conn.execute("UPDATE docs SET embedding = array_fill(0, ARRAY[16])::vector WHERE id = 21")
    result = bridge(db, "docs")
    assert (result.rows_written, result.queued, result.filled) == (39, 21, False)
    done = reembed(db, docs, options=RunOptions(until=0.4))
    assert done.outcome == "part"
    _, target = both(conn, docs)
    assert target.filled_at is not None
    assert 0 < count_rows(conn, docs, target).bridged <= 39


@BOTH
def test_reembed_replaces_bridged_rows_by_true_ones_the_missing_first_and_the_bridge_goes(
    db: Database, conn: Connection, docs: Collection
) -> None:
    bridge(db, "docs")
    source, target = both(conn, docs)
    assert adapters.used_adapter(conn, docs, target, "bridge") is not None
    gates = drop_gates(conn, docs, source, target, keep_source=True)
    with pytest.raises(RefusedError, match="the bridge that v2 of docs was filled by"):
        adapter_drop(db, "docs", "a1")
    assert any(gate.name == "bridged" and gate.why.startswith("60 rows of v2 are bridged") for gate in gates)
    assert reembed(db, docs, options=RunOptions()).outcome == "done"
    assert count_rows(conn, docs, target).true == 60
    assert check_every_row(conn, docs, target).clean
    assert adapters.used_adapter(conn, docs, target, "bridge") is None
    adapter_drop(db, "docs", "a1")


def test_chunks_with_missing_rows_come_before_those_that_are_only_bridged(
    db: Database, conn: Connection, docs: Collection
) -> None:
    conn.execute("UPDATE docs SET embedding = NULL WHERE id BETWEEN 41 AND 45")
    run(db, conn, docs, by_ridge)
    with hands(db, docs) as worker:
        worker.plan(10)
        first = worker.claim()
    assert first is not None
    assert first.first_key == ("41",)


def test_two_bridges_at_once_are_refused_and_a_stop_keeps_what_is_written(
    db: Database, conn: Connection, docs: Collection
) -> None:
    stop, refused = threading.Event(), []

    def mapped(vectors: Floats, texts: Sequence[str] | None) -> Floats:
        with pytest.raises(RefusedError, match="another process is bridging docs v2"):
            run(db, conn, docs, by_ridge)
        refused.append(True)
        stop.set()
        return by_ridge(vectors, texts)

    seen: list[int] = []
    first = run(db, conn, docs, mapped, stop=stop, on_progress=lambda step: seen.append(step.rows_seen))
    assert refused
    assert seen[-1] == 25
    assert first.interrupted
    assert first.rows_written == 25
    second = run(db, conn, docs, by_ridge)
    assert not second.interrupted
    assert second.rows_written == 35


def test_vectors_of_one_bit_a_dimension_are_refused(db: Database, conn: Connection) -> None:
    collection = make_docs(conn, 5)
    expand_docs(db, Placement.COMPANION)
    conn.execute("UPDATE embedmig.slot SET vector_type = 'bit' WHERE name = 'v1'")
    with pytest.raises(UnsupportedError, match="one bit a dimension"):
        bridge(db, collections.get_collection(conn, collection.name).name)


def test_one_that_began_with_another_bridge_meanwhile_is_not_mixed_with_it(
    db: Database, conn: Connection, docs: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = keep_bridge(conn, docs)
    _, target = both(conn, docs)

    def opened(body: Any) -> StoredAdapter:
        # Between the choice of the newest, a2, and the first row.
        adapters.mark_used(conn, adapters.get_adapter(conn, docs, "a1"), target)
        return open_adapter(body)

    monkeypatch.setattr("embedmig.commands.bridging.open_adapter", opened)
    with pytest.raises(RefusedError, match="begun with bridge a1"):
        bridge(db, "docs", adapter=other.name)
    used = adapters.used_adapter(conn, docs, target, "bridge")
    assert used is not None
    assert used.name == "a1"
    assert bridged_keys(conn, docs, target) == []


def test_a_stop_after_the_last_range_leaves_nothing_to_go_on_with(
    db: Database, conn: Connection, docs: Collection
) -> None:
    stop, ranges = threading.Event(), []

    def mapped(vectors: Floats, texts: Sequence[str] | None) -> Floats:
        ranges.append(len(vectors))
        if len(ranges) == 3:
            stop.set()
        return by_ridge(vectors, texts)

    done = run(db, conn, docs, mapped, stop=stop)
    assert (done.rows_written, done.interrupted) == (60, False)
