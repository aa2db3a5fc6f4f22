"""Rows embedded at once, by whoever asks."""

import pytest

from embedmig.backfill.refreshing import refresh_keys
from embedmig.backfill.results import RunOptions
from embedmig.backfill.running import reembed
from embedmig.catalog import slots
from embedmig.db import Connection, Database
from embedmig.errors import ProviderError
from embedmig.schema.handing_over import hand_over
from embedmig.types import Collection, Model, Placement
from tests.backfill_support import check_every_row, entries, hands
from tests.support import expand_docs, make_docs


@pytest.fixture(params=list(Placement))
def docs(request: pytest.FixtureRequest, db: Database, conn: Connection) -> Collection:
    collection = make_docs(conn, 20)
    expand_docs(db, request.param)
    reembed(db, collection, options=RunOptions())
    return collection


def test_a_row_just_written_is_embedded_for_every_slot_maintained(
    db: Database, conn: Connection, docs: Collection
) -> None:
    hand_over(conn, docs)
    conn.execute("UPDATE docs SET body = 'just written' WHERE id = 3")
    conn.execute("INSERT INTO docs (id, title, body) VALUES (70, 'a new', 'row')")
    refreshed = refresh_keys(db, docs, [("3",), ("70",), ("71",)])
    assert refreshed.done == (("3",), ("70",), ("71",))
    for name in ("v1", "v2"):
        slot = slots.get_slot(conn, docs, name)
        assert check_every_row(conn, docs, slot).clean
        assert entries(conn, slot) == []


def test_other_rows_stay_queued(db: Database, conn: Connection, docs: Collection) -> None:
    conn.execute("UPDATE docs SET body = 'edited'")
    refresh_keys(db, docs, [("3",)])
    target = slots.get_slot(conn, docs, "v2")
    assert len(entries(conn, target)) == 19
    assert ("3",) not in check_every_row(conn, docs, target).wrong


def test_a_bucket_that_a_worker_holds_is_left_to_it(db: Database, conn: Connection, docs: Collection) -> None:
    conn.execute("UPDATE docs SET body = 'edited' WHERE id = 3")
    with hands(db, docs) as worker:
        groups = worker.read()
        refreshed = refresh_keys(db, docs, [("3",)], wait_s=0.1)
        assert refreshed.left_to_queue == (("3",),)
        worker.write(groups)
    reembed(db, docs)
    assert check_every_row(conn, docs, slots.get_slot(conn, docs, "v2")).clean


def test_a_bucket_that_only_rests_is_no_reason_to_wait(db: Database, conn: Connection, docs: Collection) -> None:
    conn.execute("UPDATE docs SET body = 'edited' WHERE id = 3")
    refresh_keys(db, docs, [("3",)])
    conn.execute("UPDATE embedmig.chunk SET lease_until = clock_timestamp() + interval '1 minute'")
    conn.execute("UPDATE docs SET body = 'and again' WHERE id = 3")
    assert refresh_keys(db, docs, [("3",)], wait_s=0.0).done == (("3",),)


def test_what_a_model_that_is_down_leaves_is_queued(
    db: Database, conn: Connection, docs: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedmig.backfill.embedding._PAUSE_S", 0.001)

    class Down:
        dimensions, max_tokens, compute_type = 24, None, "cpu"

        def embed_documents(self, texts: object) -> None:
            raise ProviderError("no answer")

    def load(model: Model) -> Down:
        return Down()

    conn.execute("UPDATE docs SET body = 'edited' WHERE id = 3")
    with pytest.raises(ProviderError, match="no answer"):
        refresh_keys(db, docs, [("3",)], load=load)  # type: ignore[arg-type]
    assert refresh_keys(db, docs, [("3",)]).left_to_queue == ()
    assert check_every_row(conn, docs, slots.get_slot(conn, docs, "v2")).clean
