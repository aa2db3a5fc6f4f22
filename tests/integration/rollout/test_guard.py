"""The guard finds who writes vectors of another model, and holds what must not go on."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from embedmig import commands
from embedmig.backfill.running import reembed
from embedmig.catalog import slots
from embedmig.catalog.events import list_events
from embedmig.catalog.suspects import list_suspects
from embedmig.db import Connection, Database
from embedmig.db.connection import register_vector_types
from embedmig.embedders import load_embedder
from embedmig.embedders.fingerprint import take_fingerprint
from embedmig.errors import FingerprintError, RefusedError, UsageError
from embedmig.rollout.guarding import guarding
from embedmig.settings import Settings
from embedmig.types import Collection, Model, Placement
from tests.rollout_support import UNWATCHED, make_ready
from tests.support import OLD, embed

TWIN = Model(name="twin", revision="1", provider="hashing", dimensions=16, options={"dimensions": 16, "seed": 9})
"""As many dimensions as the old model: nothing but the guard can tell the two apart."""


@pytest.fixture
def collection(db: Database, conn: Connection) -> Collection:
    """A migration from OLD to its TWIN that may serve, in columns."""
    return make_ready(db, conn, new=TWIN)


@contextmanager
def _application(db: Database, name: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(db.url, autocommit=True, application_name=name) as conn:
        register_vector_types(conn)
        yield conn


def _write(
    db: Database, column: str, model: Model, ids: range, *, application: str = "shop", label: Any = None
) -> None:
    """Rows as an application writes them: text and vector in one statement."""
    with _application(db, application) as conn:
        for number in ids:
            title, body = f"Fresh {number}", f"written by the {application}"
            vector = embed(model, [f"{title}\n\n{body}"])[0]
            names = ["id", "title", "body", "lang", column] + ([f"{column}_model"] if label else [])
            values = [number, title, body, "en", vector] + ([label] if label else [])
            conn.execute(
                sql.SQL("INSERT INTO public.docs ({}) VALUES ({})").format(
                    sql.SQL(", ").join(map(sql.Identifier, names)), sql.SQL(", ").join([sql.Placeholder()] * len(names))
                ),
                values,
            )


def _look(db: Database, **options: Any) -> Any:
    return commands.guard(db, "docs", **options)


def test_vectors_of_the_claimed_model_are_right(db: Database, conn: Connection, collection: Collection) -> None:
    _write(db, "embedding", OLD, range(900, 905))
    look = _look(db)
    assert (look.compared, look.mismatched, look.writers) == (5, 0, ())
    assert _look(db).compared == 0
    assert look.guarded[0].compared == 5


def test_the_new_model_s_vectors_in_the_old_column_of_as_many_dimensions_are_found(
    db: Database, conn: Connection, collection: Collection, verb: Callable[..., tuple[int, str]]
) -> None:
    commands.rollout(db, "docs", 5)
    _write(db, "embedding", OLD, range(900, 903), application="shop")
    _write(db, "embedding", TWIN, range(910, 914), application="importer")
    look = _look(db)
    assert (look.compared, look.mismatched) == (7, 4)
    [writer] = look.writers
    assert (writer.slot, writer.model, writer.rows) == ("v1", "old@1", 4)
    assert "(importer)" in writer.writer
    source = slots.list_slots(conn, collection)[0]
    assert sorted(int(suspect.key[0]) for suspect in list_suspects(conn, source)) == [910, 911, 912, 913]
    with pytest.raises(RefusedError, match=r"4 rows of v1 hold vectors that old@1 does not give.*\(importer\) since"):
        commands.rollout(db, "docs", 25, hold_hours=0, settings=UNWATCHED)
    assert any("(importer)" in why for why in commands.contract(db, "docs", dry_run=True, force=True).refusals)
    event = list_events(conn, "docs", limit=1)[0]
    assert (event.verb, event.became, event.details["rows"]) == ("guard", "mismatch", 4)
    code, said = verb("guard", "docs")
    assert code == 1
    assert "stop that writer" in said


def test_after_a_rename_the_old_model_s_vectors_in_the_renamed_column_are_found(
    db: Database, conn: Connection, collection: Collection
) -> None:
    conn.execute("UPDATE embedmig.route SET full_since = now()")
    commands.rollout(db, "docs", 100)
    commands.contract(db, "docs", rename_column=True, stability_days=0, force=True)
    [only] = slots.list_slots(conn, collection)
    assert (only.vector_column, only.model.key) == ("embedding", "twin@1")
    _write(db, "embedding", OLD, range(900, 903), application="forgotten", label=TWIN.id)
    look = _look(db)
    assert look.mismatched == 3
    assert [(writer.slot, writer.model) for writer in look.writers] == [(only.name, "twin@1")]


def test_marked_rows_are_mended_by_reembed_and_then_marked_no_more(
    db: Database, conn: Connection, collection: Collection, verb: Callable[..., tuple[int, str]]
) -> None:
    _write(db, "embedding", TWIN, range(900, 903))
    assert _look(db).mismatched == 3
    assert _look(db).writers[0].rows == 3
    code, said = verb("guard", "docs", "--requeue")
    assert code == 1
    assert "3 rows queued" in said
    assert reembed(db, collection).outcome == "done"
    look = _look(db)
    assert (look.cleared, look.writers) == (3, ())
    stored = conn.execute("SELECT embedding FROM public.docs WHERE id = 900").fetchone()
    assert stored is not None
    expected = embed(OLD, ["Fresh 900\n\nwritten by the shop"])[0]
    assert np.allclose(stored["embedding"].to_numpy(), expected, atol=1e-5)
    assert commands.rollout(db, "docs", 5).percent == 5


def test_a_row_that_is_deleted_or_written_right_is_marked_no_more(
    db: Database, conn: Connection, collection: Collection
) -> None:
    _write(db, "embedding", TWIN, range(900, 903))
    assert _look(db).mismatched == 3
    conn.execute("DELETE FROM public.docs WHERE id = 900")
    right = embed(OLD, ["Fresh 901\n\nwritten by the shop"])[0]
    conn.execute("UPDATE public.docs SET embedding = %s WHERE id = 901", [right])
    look = _look(db)
    assert (look.cleared, look.writers[0].rows) == (2, 1)


def test_marks_are_taken_off_for_a_reason(db: Database, conn: Connection, collection: Collection) -> None:
    _write(db, "embedding", TWIN, range(900, 902))
    _look(db)
    with pytest.raises(UsageError, match="needs a reason"):
        _look(db, accept=" ")
    assert _look(db, accept="a sandbox").writers == ()
    assert list_events(conn, "docs", limit=1)[0].why == "a sandbox"


def test_an_edit_that_waits_says_nothing_of_the_vector(db: Database, conn: Connection, collection: Collection) -> None:
    _write(db, "embedding", OLD, range(900, 902))
    conn.execute("UPDATE public.docs SET body = 'edited since' WHERE id = 900")
    assert (_look(db).compared, _look(db).mismatched) == (1, 0)
    reembed(db, collection)
    look = _look(db)
    assert (look.compared, look.mismatched) == (1, 0)


def test_a_companion_is_written_by_nobody_else(db: Database, conn: Connection) -> None:
    make_ready(db, conn, Placement.COMPANION)
    assert _look(db).slots == ("v1",)


def test_a_model_that_changed_behind_its_name_blames_nobody(
    db: Database, conn: Connection, collection: Collection
) -> None:
    fingerprint = take_fingerprint(OLD, load_embedder(OLD)).to_bytes()
    now = Jsonb({"dimensions": 16, "seed": 77})
    conn.execute("UPDATE embedmig.model SET fingerprint = %s, options = %s WHERE name = 'old'", [fingerprint, now])
    _write(db, "embedding", OLD, range(900, 902))
    with pytest.raises(FingerprintError):
        _look(db)
    assert conn.execute("SELECT count(*) AS n FROM embedmig.suspect").fetchone() == {"n": 0}


def test_watch_shows_who_writes_and_auto_is_held(db: Database, conn: Connection, collection: Collection) -> None:
    commands.rollout(db, "docs", 5)
    _write(db, "embedding", TWIN, range(900, 903), application="importer")
    seen: list[Any] = []
    stop = threading.Event()

    def end(look: Any) -> None:
        seen.append(look)
        stop.set()

    commands.rollout_watch(db, "docs", settings=Settings(), on_look=end, stop=stop)
    assert "(importer)" in seen[0].suspects[0]
    with pytest.raises(RefusedError, match="importer"):
        commands.rollout_auto(db, "docs", hold_hours=0, settings=UNWATCHED)


def test_the_guard_looks_beside_a_follower(db: Database, conn: Connection, collection: Collection) -> None:
    _write(db, "embedding", TWIN, range(900, 903))
    source = slots.list_slots(conn, collection)[0]
    with guarding(db, collection, Settings(), every_s=0.05):
        deadline = time.monotonic() + 30
        while len(list_suspects(conn, source)) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    _write(db, "embedding", TWIN, range(910, 912))
    with guarding(db, collection, Settings(guard_rows=0), every_s=0.05):
        time.sleep(0.2)
    assert len(list_suspects(conn, source)) == 3


def test_no_more_rows_than_asked_for_are_embedded_the_newest_first(
    db: Database, conn: Connection, collection: Collection
) -> None:
    _write(db, "embedding", OLD, range(900, 910))
    _write(db, "embedding", TWIN, range(910, 912))
    look = _look(db, rows=3)
    assert (look.compared, look.mismatched) == (3, 2)
    assert _look(db, rows=100).compared == 9
