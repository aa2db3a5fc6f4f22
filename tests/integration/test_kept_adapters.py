"""What the catalog promises of kept adapters."""

from typing import Any

import psycopg
import pytest

from embedmig.catalog import adapters
from embedmig.catalog.collections import delete_collection
from embedmig.catalog.slots import drop_slot, get_slot
from embedmig.db import Connection
from embedmig.errors import ConflictError, NotFoundError
from embedmig.types import Collection
from tests.support import NEW, OLD, make_docs


def keep(conn: Connection, collection: Collection, **changes: Any) -> adapters.KeptAdapter:
    values: dict[str, Any] = {
        "name": None,
        "direction": "query",
        "from_model": NEW,
        "to_model": OLD,
        "kind": "ridge",
        "normalise": True,
        "body": b"bytes",
        "provenance": {"scores": [{"kind": "ridge", "share": 0.8}, {"kind": "procrustes", "share": 0.7}]},
    }
    return adapters.add_adapter(conn, collection, **(values | changes))


def test_an_adapter_s_name_is_its_own_and_never_given_again_by_itself(conn: Connection) -> None:
    docs = make_docs(conn)
    first, named = keep(conn, docs), keep(conn, docs, name="mine")
    assert (first.name, first.from_model, first.to_model) == ("a1", "new@1", "old@1")
    assert first.score == {"kind": "ridge", "share": 0.8}
    with pytest.raises(ConflictError, match="docs has an adapter mine already"):
        keep(conn, docs, name="mine")
    adapters.mark_dropped(conn, first)
    adapters.mark_dropped(conn, named)
    assert keep(conn, docs).name == "a2"
    assert keep(conn, docs, name="mine").name == "mine"
    with pytest.raises(NotFoundError, match="no adapter a1 of docs; there are: mine, a2"):
        adapters.get_adapter(conn, docs, "a1")
    with pytest.raises(NotFoundError, match="dropped meanwhile"):
        adapters.read_body(conn, first)


def test_one_adapter_a_direction_stands_at_a_slot_and_none_at_a_dropped_one(conn: Connection) -> None:
    docs = make_docs(conn)
    slot = get_slot(conn, docs, "v1")
    first, second = keep(conn, docs), keep(conn, docs)
    bridge = keep(conn, docs, direction="bridge", from_model=OLD, to_model=NEW)
    adapters.mark_used(conn, first, slot)
    adapters.mark_used(conn, bridge, slot)
    adapters.mark_used(conn, second, slot)
    standing = adapters.used_adapter(conn, docs, slot, "query")
    assert standing is not None
    assert standing.name == second.name
    assert standing.slot == "v1"
    with pytest.raises(psycopg.errors.UniqueViolation):
        conn.execute("UPDATE embedmig.adapter SET slot_id = %s, used_since = now() WHERE id = %s", [slot.id, first.id])
    drop_slot(conn, slot)
    assert not any(kept.in_use or kept.slot for kept in adapters.list_adapters(conn, docs))


def test_one_that_was_dropped_meanwhile_takes_nobody_s_place(conn: Connection) -> None:
    docs = make_docs(conn)
    slot = get_slot(conn, docs, "v1")
    standing, dropped = keep(conn, docs), keep(conn, docs)
    adapters.mark_used(conn, standing, slot)
    adapters.mark_dropped(conn, dropped)
    with pytest.raises(NotFoundError, match="dropped meanwhile"), conn.transaction():
        adapters.mark_used(conn, dropped, slot)
    assert [kept.name for kept in adapters.list_adapters(conn, docs) if kept.in_use] == [standing.name]


def test_a_fingerprint_that_is_another_than_at_the_fit_is_seen(conn: Connection) -> None:
    docs = make_docs(conn)
    kept = keep(conn, docs)
    assert not kept.from_changed
    assert not kept.to_changed
    conn.execute("UPDATE embedmig.model SET fingerprint = 'other' WHERE id = %s", [NEW.id])
    kept = adapters.get_adapter(conn, docs, kept.name)
    assert kept.from_changed
    assert not kept.to_changed
    assert adapters.read_body(conn, kept).fingerprints == {"new@1": b"other", "old@1": None}


def test_they_go_with_their_collection(conn: Connection) -> None:
    docs = make_docs(conn)
    adapters.mark_used(conn, keep(conn, docs), get_slot(conn, docs, "v1"))
    delete_collection(conn, docs)
    assert adapters.list_adapters(conn, docs, dropped=True) == []
