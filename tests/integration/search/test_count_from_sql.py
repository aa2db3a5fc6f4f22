"""count_v1: clients that search from SQL say what they were answered, and are in every count from then on."""

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedmig import commands
from embedmig.catalog import routes
from embedmig.db import Connection, Database
from embedmig.search.latency import EDGES_S, bucket_of
from embedmig.settings import Settings
from tests.rollout_support import UNWATCHED, make_ready
from tests.support import make_docs

COUNT = (
    "SELECT embedmig.count_v1('docs', %s, %s, requests => %s, errors => %s, empty => %s, seconds => %s, by_key => %s)"
)


def _count(
    conn: Connection, slot: str, requests: int, *, errors: int = 0, empty: int = 0, by_key: bool = True,
    seconds: tuple[float, ...] = (), epoch: int | None = None,
) -> None:  # fmt: skip
    present = routes.get_route(conn, "docs").epoch if epoch is None else epoch
    conn.execute(COUNT, [slot, present, requests, errors, empty, list(seconds), by_key])


def test_what_a_client_counted_is_told_with_the_rest(db: Database, conn: Connection) -> None:
    make_docs(conn)
    _count(conn, "v1", 5, errors=1, empty=2, seconds=(0.004, 0.004, 0.004, 0.1))
    _count(conn, "v1", 3, by_key=False)
    (told,) = commands.served(db, "docs")
    assert (told.slot, told.requests, told.errors, told.empty, told.pinned) == ("v1", 8, 1, 2, 0)
    assert told.p50_ms == pytest.approx(4, rel=0.06)
    assert told.p99_ms == pytest.approx(100, rel=0.06)
    by = conn.execute("SELECT chosen_by, requests FROM embedmig.served ORDER BY 1").fetchall()
    assert [tuple(row.values()) for row in by] == [("key", 5), ("share", 3)]


def test_rollback_triggers_fire_on_what_clients_counted(db: Database, conn: Connection) -> None:
    make_ready(db, conn)
    commands.rollout(db, "docs", 50, settings=UNWATCHED)
    _count(conn, "v1", 3000, errors=3)
    _count(conn, "v2", 3000, errors=600)
    ended = commands.rollout_watch(db, "docs", settings=Settings())
    assert (ended.outcome, ended.percent) == ("rolled back", 0)
    assert ended.why is not None
    assert "errors" in ended.why


def test_what_cannot_be_is_refused(conn: Connection) -> None:
    make_docs(conn)
    wrong = [
        ("v7", {}), ("v1", {"epoch": 10_000}), ("v1", {"epoch": 0}), ("v1", {"errors": 4}), ("v1", {"empty": -1}),
        ("v1", {"seconds": (0.1,) * 4}), ("v1", {"errors": 1, "seconds": (0.1,) * 3}),
    ]  # fmt: skip
    for slot, options in wrong:
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            _count(conn, slot, 3, **options)  # type: ignore[arg-type]
    with pytest.raises(psycopg.Error, match="no collection dcos; there are: docs") as unknown:
        conn.execute("SELECT embedmig.count_v1('dcos', 'v1', 1)")
    assert unknown.value.sqlstate == "EM004"
    assert conn.execute("SELECT FROM embedmig.served").fetchall() == []


def test_a_role_that_only_searches_may_count(db: Database, conn: Connection) -> None:
    make_docs(conn)
    conn.execute("CREATE ROLE only_counts LOGIN")
    try:
        conn.execute("GRANT USAGE ON SCHEMA embedmig TO only_counts")
        with psycopg.connect(db.url, user="only_counts", autocommit=True) as theirs:
            epoch = routes.get_route(conn, "docs").epoch
            theirs.execute("SELECT embedmig.count_v1('docs', 'v1', %s)", [epoch])
        assert commands.served(db, "docs")[0].requests == 1
    finally:
        conn.execute("DROP OWNED BY only_counts")
        conn.execute("DROP ROLE only_counts")


def test_a_latency_falls_into_the_bucket_that_python_puts_it_in(db: Database, conn: Connection) -> None:
    make_docs(conn)
    epoch = routes.get_route(conn, "docs").epoch

    # An edge is a power in floating point, and belongs to either side.
    @given(st.lists(st.floats(0, 100).filter(lambda s: all(abs(s / edge - 1) > 1e-9 for edge in EDGES_S)), max_size=40))
    def alike(seconds: list[float]) -> None:
        conn.execute("DELETE FROM embedmig.served")
        _count(conn, "v1", len(seconds), seconds=tuple(seconds), epoch=epoch)
        row = conn.execute("SELECT to_json(latency) AS latency FROM embedmig.served").fetchone()
        assert row is not None
        assert row["latency"] == [[bucket_of(s) for s in seconds].count(place) for place in range(256)]

    alike()
