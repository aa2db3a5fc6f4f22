"""Vectors that the application brings along: kept, whatever our worker was about to write."""

from collections.abc import Iterator

import numpy as np
import pytest

from embedmig.backfill.census import count_rows
from embedmig.catalog.collections import get_collection
from embedmig.db import Connection, Database
from embedmig.schema.handing_over import hand_over
from embedmig.types import Collection, Floats, Placement
from tests.backfill_support import Hands, check_every_row, entries, hands, make_ready
from tests.support import NEW, OLD, embed, expand_docs, make_docs

APPS_OLD = embed(OLD, ["what the application embedded"])[0]
APPS_NEW = embed(NEW, ["what the application embedded"])[0]


@pytest.fixture
def docs(db: Database, conn: Connection) -> Collection:
    make_docs(conn, 10)
    expand_docs(db, Placement.COLUMN)
    return get_collection(conn, "docs")


@pytest.fixture
def target(db: Database, docs: Collection) -> Iterator[Hands]:
    with hands(db, docs, "v2") as one:
        one.plan()
        one.work_off()
        yield one


@pytest.fixture
def source(db: Database, docs: Collection, target: Hands, conn: Connection) -> Iterator[Hands]:
    hand_over(conn, docs)
    with hands(db, docs, "v1") as one:
        yield one


def vector(conn: Connection, column: str, key: int) -> Floats | None:
    row = conn.execute("SELECT embedding, embedding_v2 FROM docs WHERE id = %s", [key]).fetchone()
    assert row is not None
    return None if row[column] is None else row[column].to_numpy()


def drain(worker: Hands, conn: Connection) -> None:
    for _ in range(4):
        make_ready(conn)
        worker.work_off()
    assert entries(conn, worker.slot) == []


def test_before_the_handover_the_source_is_left_alone(target: Hands, conn: Connection) -> None:
    before = vector(conn, "embedding", 1)
    conn.execute("UPDATE docs SET body = 'text alone' WHERE id = 1")
    conn.execute("UPDATE docs SET body = 'with its vector', embedding = %s WHERE id = 2", [APPS_OLD])
    conn.execute("UPDATE docs SET embedding = %s WHERE id = 3", [APPS_OLD])
    drain(target, conn)
    assert np.array_equal(vector(conn, "embedding", 1), before)
    assert np.array_equal(vector(conn, "embedding", 2), APPS_OLD)
    assert np.array_equal(vector(conn, "embedding", 3), APPS_OLD)
    assert check_every_row(conn, target.collection, target.slot).clean


def test_after_the_handover_an_edit_is_embedded_for_both_slots(source: Hands, target: Hands, conn: Connection) -> None:
    conn.execute("UPDATE docs SET body = 'text alone' WHERE id = 1")
    conn.execute("INSERT INTO docs (id, title, body) VALUES (50, 'a new', 'row')")
    drain(source, conn)
    drain(target, conn)
    assert check_every_row(conn, source.collection, source.slot).clean
    assert check_every_row(conn, target.collection, target.slot).clean


def test_a_vector_brought_with_its_text_is_kept(source: Hands, target: Hands, conn: Connection) -> None:
    conn.execute("UPDATE docs SET body = 'with its vector', embedding = %s WHERE id = 2", [APPS_OLD])
    drain(source, conn)
    drain(target, conn)
    assert np.array_equal(vector(conn, "embedding", 2), APPS_OLD)
    assert check_every_row(conn, target.collection, target.slot).clean


def test_a_vector_brought_in_a_second_statement_is_kept(source: Hands, conn: Connection) -> None:
    conn.execute("UPDATE docs SET body = 'first the text' WHERE id = 3")
    conn.execute("UPDATE docs SET embedding = %s WHERE id = 3", [APPS_OLD])
    drain(source, conn)
    assert np.array_equal(vector(conn, "embedding", 3), APPS_OLD)


def test_a_vector_brought_after_ours_was_written_stays(source: Hands, conn: Connection) -> None:
    conn.execute("UPDATE docs SET body = 'first the text' WHERE id = 3")
    drain(source, conn)
    conn.execute("UPDATE docs SET embedding = %s WHERE id = 3", [APPS_OLD])
    drain(source, conn)
    assert np.array_equal(vector(conn, "embedding", 3), APPS_OLD)


def test_a_vector_brought_to_a_row_that_lost_its_text_is_not_refused(
    source: Hands, target: Hands, conn: Connection
) -> None:
    conn.execute("UPDATE docs SET body = 'embedded by us', title = 'of a text' WHERE id = 3")
    drain(source, conn)
    conn.execute("UPDATE docs SET title = NULL, body = NULL, embedding = NULL WHERE id = 3")
    conn.execute("UPDATE docs SET title = NULL, body = NULL WHERE id = 4")
    drain(source, conn)
    drain(target, conn)
    # The application knows of no label, and the table's CHECK wants one.
    conn.execute("UPDATE docs SET body = 'a text again', embedding = %s WHERE id IN (3, 4)", [APPS_OLD])
    drain(source, conn)
    drain(target, conn)
    assert np.array_equal(vector(conn, "embedding", 3), APPS_OLD)
    assert np.array_equal(vector(conn, "embedding", 4), APPS_OLD)
    assert check_every_row(conn, target.collection, target.slot).clean


def test_an_edit_after_a_brought_vector_is_embedded(source: Hands, conn: Connection) -> None:
    conn.execute("UPDATE docs SET embedding = %s WHERE id = 3", [APPS_OLD])
    conn.execute("UPDATE docs SET body = 'then the text' WHERE id = 3")
    drain(source, conn)
    assert check_every_row(conn, source.collection, source.slot).clean


@pytest.mark.parametrize("name", ["v1", "v2"])
def test_a_vector_brought_between_our_read_and_write_is_kept(
    source: Hands, target: Hands, conn: Connection, name: str
) -> None:
    worker = source if name == "v1" else target
    column, brought = ("embedding", APPS_OLD) if name == "v1" else ("embedding_v2", APPS_NEW)
    conn.execute("UPDATE docs SET body = 'an edit' WHERE id = 4")
    groups = worker.read()
    if name == "v1":
        conn.execute("UPDATE docs SET embedding = %s WHERE id = 4", [brought])
    else:
        conn.execute("UPDATE docs SET embedding_v2 = %s WHERE id = 4", [brought])
    worker.write(groups)
    drain(worker, conn)
    assert np.array_equal(vector(conn, column, 4), brought)


def test_a_vector_brought_under_a_lock_that_our_write_skips_is_kept(
    db: Database, source: Hands, conn: Connection
) -> None:
    """Its entry has a lower number than the one that settling makes: the number of the edit counts, not of that."""
    conn.execute("UPDATE docs SET body = 'an edit' WHERE id = 4")
    groups = source.read()
    with db.connect() as application:
        application.execute("BEGIN")
        application.execute("UPDATE docs SET embedding = %s WHERE id = 4", [APPS_OLD])
        source.write(groups)
        application.execute("COMMIT")
    drain(source, conn)
    assert np.array_equal(vector(conn, "embedding", 4), APPS_OLD)


def test_of_a_brought_vector_no_text_is_recorded_and_no_model_is_called(target: Hands, conn: Connection) -> None:
    conn.execute(
        "UPDATE docs SET body = 'edited', embedding_v2 = %s, embedding_v2_model = %s WHERE id = 5", [APPS_NEW, NEW.id]
    )
    assert count_rows(conn, target.collection, target.slot).unrecorded == 1
    target.embedder.embedder = None  # type: ignore[assignment]
    drain_without_model(target, conn)
    row = conn.execute("SELECT embedding_v2_hash AS hash FROM docs WHERE id = 5").fetchone()
    assert row == {"hash": None}
    assert np.array_equal(vector(conn, "embedding_v2", 5), APPS_NEW)
    census = count_rows(conn, target.collection, target.slot)
    assert (census.true, census.unrecorded, census.stale, census.wrong) == (10, 1, 0, 0)


def drain_without_model(worker: Hands, conn: Connection) -> None:
    while (chunk := worker.claim()) is not None:
        groups = worker.read(chunk)
        assert all(not group.to_embed for group in groups)
        worker.write(groups)


def test_that_a_vector_was_brought_is_remembered_for_seven_days(target: Hands, conn: Connection) -> None:
    from embedmig.backfill.queue import forget_expired

    conn.execute("UPDATE docs SET embedding_v2 = %s WHERE id = 5", [APPS_NEW])
    drain(target, conn)
    remembered = "SELECT count(*) AS n FROM embedmig.pending WHERE kind = 'a'"
    forget_expired(conn, [target.slot.id])
    assert conn.execute(remembered).fetchone() == {"n": 1}
    conn.execute("UPDATE embedmig.pending SET queued_at = queued_at - interval '8 days'")
    forget_expired(conn, [target.slot.id])
    assert conn.execute(remembered).fetchone() == {"n": 0}


def test_a_brought_vector_that_was_locked_is_seen_to_later(db: Database, target: Hands, conn: Connection) -> None:
    conn.execute("UPDATE docs SET embedding_v2 = %s WHERE id = 5", [APPS_NEW])
    groups = target.read()
    with db.connect() as user:
        user.execute("BEGIN")
        user.execute("UPDATE docs SET lang = 'fr' WHERE id = 5")
        target.write(groups)
        user.execute("COMMIT")
    drain(target, conn)
    assert conn.execute("SELECT embedding_v2_hash AS hash FROM docs WHERE id = 5").fetchone() == {"hash": None}


def test_a_vector_set_to_null_is_no_vector_brought(source: Hands, conn: Connection) -> None:
    conn.execute("UPDATE docs SET body = 'edited', embedding = NULL WHERE id = 6")
    drain(source, conn)
    assert check_every_row(conn, source.collection, source.slot).clean
