"""Counting every row: exact, whatever was done behind the triggers' backs."""

from collections.abc import Callable

import pytest

from embedmig.backfill.census import count_rows, find_wrong_rows
from embedmig.backfill.running import reembed
from embedmig.catalog import slots
from embedmig.db import Connection, Database
from embedmig.types import Collection, Placement
from tests.support import bridge_id, expand_docs, make_docs

Verb = Callable[..., tuple[int, str]]


@pytest.fixture(params=list(Placement))
def filled(request: pytest.FixtureRequest, db: Database, conn: Connection) -> Collection:
    docs = make_docs(conn, 40)
    expand_docs(db, request.param)
    reembed(db, docs)
    return docs


def behind_the_triggers(conn: Connection, *statements: str) -> None:
    conn.execute("SET session_replication_role = 'replica'")
    for statement in statements:
        conn.execute(statement)
    conn.execute("RESET session_replication_role")


def test_what_the_triggers_did_not_see_is_wrong_and_not_queued(conn: Connection, filled: Collection) -> None:
    behind_the_triggers(
        conn,
        "UPDATE docs SET body = 'unseen' WHERE id IN (1, 2)",
        "INSERT INTO docs (id, title, body) VALUES (90, 'unseen', 'x'), (91, 'unseen', 'y'), (92, 'unseen', 'z')",
        "UPDATE docs SET title = '', body = NULL WHERE id = 3",
    )
    target = slots.get_slot(conn, filled, "v2")
    census = count_rows(conn, filled, target)
    assert (census.rows, census.without_text, census.true) == (43, 1, 39)
    assert (census.missing, census.missing_not_queued) == (3, 3)
    assert (census.stale, census.stale_not_queued) == (2, 2)
    assert (census.orphans, census.orphans_not_queued) == (1, 1)
    assert census.wrong == 6
    wrong = find_wrong_rows(conn, filled, target, limit=100)
    assert [(row.key, row.what) for row in wrong] == [
        (("1",), "stale"), (("2",), "stale"), (("3",), "orphan"),
        (("90",), "missing"), (("91",), "missing"), (("92",), "missing"),
    ]  # fmt: skip
    assert not any(row.queued for row in wrong)
    assert len(find_wrong_rows(conn, filled, target, limit=2)) == 2


def test_what_the_triggers_saw_is_queued_and_not_wrong(conn: Connection, filled: Collection) -> None:
    conn.execute("UPDATE docs SET body = 'seen' WHERE id IN (1, 2)")
    conn.execute("UPDATE docs SET body = 'seen again' WHERE id = 1")
    conn.execute("INSERT INTO docs (id, title, body) VALUES (90, 'seen', 'x')")
    conn.execute("DELETE FROM docs WHERE id = 40")
    census = count_rows(conn, filled, slots.get_slot(conn, filled, "v2"))
    assert (census.missing, census.stale, census.wrong) == (1, 2, 0)
    assert census.queued in (3, 4)
    assert census.oldest_queued_s is not None
    assert 0 <= census.oldest_queued_s < 60


def test_a_companion_row_whose_row_is_gone_is_an_orphan(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 10)
    expand_docs(db, Placement.COMPANION)
    reembed(db, docs)
    behind_the_triggers(conn, "DELETE FROM docs WHERE id IN (4, 5)")
    conn.execute("DELETE FROM docs WHERE id = 6")
    target = slots.get_slot(conn, docs, "v2")
    census = count_rows(conn, docs, target)
    assert (census.rows, census.orphans, census.orphans_not_queued) == (7, 3, 2)
    known = {row.key: row.queued for row in find_wrong_rows(conn, docs, target, limit=10)}
    assert known == {("4",): False, ("5",): False, ("6",): True}


def test_bridged_and_foreign_rows_are_told_from_true_ones(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 20)
    expand_docs(db, Placement.COMPANION)
    reembed(db, docs)
    conn.execute("UPDATE embedmig.docs_v2 SET embedding_model = %s WHERE id <= 5", [bridge_id()])
    target = slots.get_slot(conn, docs, "v2")
    census = count_rows(conn, docs, target)
    assert (census.true, census.bridged, census.other_model, census.wrong) == (15, 5, 0, 0)


def test_the_source_as_it_was_found_is_unrecorded_and_never_stale(conn: Connection) -> None:
    docs = make_docs(conn, 20)
    conn.execute("UPDATE docs SET body = 'who knows' WHERE id = 1")
    conn.execute("UPDATE docs SET embedding = NULL WHERE id = 2")
    census = count_rows(conn, docs, slots.get_slot(conn, docs, "v1"))
    assert (census.true, census.unrecorded, census.stale, census.missing) == (19, 19, 0, 1)


def test_a_filter_leaves_rows_out_of_every_count(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 20, row_filter="lang = 'en'", filter_columns=["lang"])
    census = count_rows(conn, docs, slots.get_slot(conn, docs, "v1"))
    assert (census.rows, census.true) == (10, 10)


def test_counting_changes_nothing(conn: Connection, filled: Collection) -> None:
    conn.execute("SET default_transaction_read_only = on")
    for name in ("v1", "v2"):
        slot = slots.get_slot(conn, filled, name)
        count_rows(conn, filled, slot)
        find_wrong_rows(conn, filled, slot, limit=5)


def test_verify_exits_1_on_what_is_wrong_and_0_on_what_is_queued(
    conn: Connection, filled: Collection, verb: Verb
) -> None:
    code, said = verb("verify", "docs")
    assert code == 0
    assert "v2 (new@1): 40 true, 0 bridged, 0 missing, 0 stale, 0 of another model" in said
    conn.execute("UPDATE docs SET body = 'seen' WHERE id = 1")
    assert verb("verify", "docs")[0] == 0
    behind_the_triggers(conn, "UPDATE docs SET body = 'unseen' WHERE id = 2")
    code, said = verb("verify", "docs", "--keys", "10")
    assert code == 1
    assert "wrong: 1 are stale and not queued" in said
    assert verb("verify", "docs", "--slot", "v1")[0] == 0


def test_what_the_application_lacks_is_told_and_not_judged(conn: Connection, filled: Collection, verb: Verb) -> None:
    conn.execute("UPDATE docs SET embedding = NULL WHERE id = 1")
    code, said = verb("verify", "docs")
    assert (code, "the application's to mend: 1 are missing and not queued" in said) == (0, True), said
    assert "wrong" not in said
    assert verb("verify", "docs", "--slot", "v1")[0] == 1


def test_reembed_says_what_it_did_line_by_line_and_at_the_end(db: Database, conn: Connection, verb: Verb) -> None:
    make_docs(conn, 100)
    code, said = verb("reembed", "docs")
    assert code == 1
    assert "embedmig expand docs" in said
    expand_docs(db)
    code, said = verb("reembed", "docs", "--until", "50%", "--batch-size", "8")
    assert code == 0
    assert '"phase": "planning"' in said
    assert "the part is embedded" in said
    code, said = verb("reembed", "docs")
    assert code == 0
    assert "every row is embedded" in said
    assert "100 true" in said


@pytest.mark.parametrize(
    "arguments",
    [["--until", "0"], ["--until", "120%"], ["--until", "some"], ["--workers", "0"], ["--follow", "--until", "20%"]],
)
def test_reembed_refuses_options_that_cannot_be(conn: Connection, verb: Verb, arguments: list[str]) -> None:
    make_docs(conn, 1)
    assert verb("reembed", "docs", *arguments)[0] == 2


def test_failures_are_listed_tried_again_and_ignored(db: Database, conn: Connection, verb: Verb) -> None:
    docs = make_docs(conn, 10, key=[("tenant", "text"), ("id", "bigint")])
    expand_docs(db)
    reembed(db, docs)
    target = slots.get_slot(conn, docs, "v2")
    assert "no row of docs failed" in verb("failures", "list", "docs")[1]
    for key in (["key 3", "3"], ["a, b", "4"]):
        conn.execute(
            "INSERT INTO embedmig.failure (slot_id, key, reason) VALUES (%s, %s, 'all zeros')", [target.id, key]
        )
    assert "key 3, 3" in verb("failures", "list", "docs")[1]
    assert verb("failures", "retry", "docs", "--key", "key 3")[0] == 2
    assert verb("failures", "ignore", "docs", "--key", "nothing,9")[0] == 2
    assert "1 rows of v2 are ignored" in verb("failures", "ignore", "docs", "--key", '"a, b",4')[1]
    assert "1 rows are queued again" in verb("failures", "retry", "docs")[1]
    assert verb("reembed", "docs")[0] == 0
    assert "key 3, 3" not in verb("failures", "list", "docs")[1]


def test_the_old_models_own_column_is_not_judged(conn: Connection, verb: Verb) -> None:
    make_docs(conn, 5)
    conn.execute("UPDATE docs SET embedding = NULL WHERE id = 2")
    assert verb("verify", "docs")[0] == 0
    assert verb("verify", "docs", "--slot", "v1")[0] == 1
