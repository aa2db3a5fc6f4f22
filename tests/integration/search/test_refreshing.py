"""Rows just written are found, without waiting for a worker."""

from typing import Any

import pytest

from embedmig.db import Connection, Database
from embedmig.embedders import forget_embedders, load_embedder, take_fingerprint
from embedmig.errors import DatabaseError, FingerprintError, NotFoundError, UsageError
from embedmig.types import Placement, Slot
from tests.integration.search.conftest import Connect, fill, set_share
from tests.support import NEW, OLD, expand_docs, make_docs

TEXT = "A giraffe walks into the library\n\nand asks for something tall"
INSERT = (
    "INSERT INTO docs (id, title, body) VALUES (100, 'A giraffe walks into the library', 'and asks for something tall')"
)


def test_a_row_just_written_is_found_after_a_refresh(connect: Connect, conn: Connection, target: Slot) -> None:
    set_share(conn, 100)
    search = connect()
    conn.execute(INSERT)
    assert 100 not in [hit.key for hit in search(TEXT, 50)]
    assert search.refresh([100]) == ()
    hit = search(TEXT, 1)[0]
    assert (hit.key, hit.slot, hit.stale) == (100, "v2", False)
    assert hit.distance == pytest.approx(0, abs=1e-6)


def test_an_edited_row_is_found_by_its_new_text(connect: Connect, conn: Connection, target: Slot) -> None:
    set_share(conn, 100)
    search = connect()
    conn.execute(
        "UPDATE docs SET title = 'A giraffe walks into the library', body = 'and asks for something tall' WHERE id = 7"
    )
    assert [hit.stale for hit in search(TEXT, 50) if hit.key == 7] == [True]
    assert search.refresh([7]) == ()
    assert (search(TEXT, 1)[0].key, search(TEXT, 1)[0].stale) == (7, False)


def test_a_row_that_someone_holds_is_left_to_a_worker(connect: Connect, db: Database, conn: Connection) -> None:
    make_docs(conn)
    fill(conn, expand_docs(db, Placement.COLUMN).target)
    search = connect()
    conn.execute("UPDATE docs SET title = 'another' WHERE id = 7")
    with db.connect() as other, other.transaction():
        other.execute("SELECT FROM docs WHERE id = 7 FOR UPDATE")
        assert search.refresh([7, 8]) == (7,)


def test_keys_of_several_columns_are_given_as_hits_give_them(connect: Connect, db: Database, conn: Connection) -> None:
    make_docs(conn, key=(("part", "integer"), ("code", "text")))
    fill(conn, expand_docs(db, Placement.COMPANION).target)
    set_share(conn, 100)
    search = connect()
    key = search("any text", 1)[0].key
    conn.execute("UPDATE docs SET title = 'A giraffe', body = 'in a library' WHERE (part, code) = (%s, %s)", list(key))
    assert search.refresh([key]) == ()
    assert search("A giraffe\n\nin a library", 1)[0].key == key


@pytest.mark.parametrize("target", ["column"], indirect=True)
@pytest.mark.parametrize("keys", [[(1, 2)], [None], [()]])
def test_what_is_no_key_is_refused(connect: Connect, target: Slot, keys: Any) -> None:
    with pytest.raises(UsageError, match="is no key of docs: it has the columns id"):
        connect().refresh(keys)


@pytest.mark.parametrize("target", ["column"], indirect=True)
def test_a_key_alone_or_of_another_type_is_refused(connect: Connect, target: Slot) -> None:
    with pytest.raises(UsageError, match=r"keys is a list: refresh\(\['7'\]\)"):
        connect().refresh("7")
    with pytest.raises(DatabaseError, match="invalid input syntax for type bigint"):
        connect().refresh(["seven"])


@pytest.mark.parametrize("target", ["column"], indirect=True)
def test_a_key_of_no_row_changes_nothing(connect: Connect, conn: Connection, target: Slot) -> None:
    assert connect().refresh([4711]) == ()
    assert conn.execute("SELECT count(*) AS n FROM embedmig.pending").fetchone() == {"n": 0}


@pytest.mark.parametrize("target", ["column"], indirect=True)
def test_a_model_that_changed_behind_its_name_writes_nothing(connect: Connect, conn: Connection, target: Slot) -> None:
    stored = take_fingerprint(OLD, load_embedder(OLD)).to_bytes()
    conn.execute("UPDATE embedmig.model SET fingerprint = %s WHERE name = %s", [stored, NEW.name])
    forget_embedders()
    conn.execute(INSERT)
    with pytest.raises(FingerprintError):
        connect().refresh([100])
    assert conn.execute("SELECT embedding_v2 FROM docs WHERE id = 100").fetchone() == {"embedding_v2": None}
    forget_embedders()


def test_without_the_collection_there_is_nothing_to_refresh(connect: Connect, conn: Connection) -> None:
    make_docs(conn)
    search = connect()
    assert search.refresh([1]) == ()
    conn.execute("UPDATE embedmig.collection SET name = 'other'")
    with pytest.raises(NotFoundError):
        search.refresh([1])
