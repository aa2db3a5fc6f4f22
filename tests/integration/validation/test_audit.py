"""audit: whose vectors are stored, as far as a sample shows."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from scipy import stats

from embedmig.catalog.events import list_events
from embedmig.catalog.models import update_model
from embedmig.commands import audit
from embedmig.db import Connection, Database
from embedmig.errors import NotFoundError, RefusedError
from embedmig.types import ModelState, Placement
from embedmig.validation.audit import audit_slot, wilson_interval
from tests.integration.validation.conftest import Migrated, fill, pair_of
from tests.support import NEW, OLD, embed, expand_docs, make_docs, text_of

Verb = Callable[..., tuple[int, str]]

IMPOSTOR = replace(OLD, name="impostor", options=OLD.options | {"seed": 99})
"""As wide as the old model, and another."""


def _swap(conn: Connection, numbers: range) -> set[tuple[str, ...]]:
    """Gives these rows vectors by the impostor; their keys."""
    vectors = embed(IMPOSTOR, ["\n\n".join(text_of(number)) for number in numbers])
    for number, vector in zip(numbers, vectors, strict=True):
        conn.execute("UPDATE docs SET embedding = %s WHERE id = %s", [vector, number])
    return {(str(number),) for number in numbers}


def test_three_percent_by_another_model_are_found_by_key(db: Database, conn: Connection) -> None:
    make_docs(conn, 400)
    swapped = _swap(conn, range(7, 400, 33))
    assert len(swapped) == 12
    found = audit(db, "docs")
    assert (found.sampled, found.compared) == (200, 200)
    assert 0 < len(found.mismatches) <= 12
    assert {mismatch.key for mismatch in found.mismatches} <= swapped
    assert not found.is_clean
    assert found.low < 0.97 < found.high
    everything = audit(db, "docs", sample=400)
    assert {mismatch.key for mismatch in everything.mismatches} == swapped
    assert everything.share == pytest.approx(0.97)


def test_a_clean_table_is_clean_and_the_sample_is_the_seeds(db: Database, conn: Connection) -> None:
    make_docs(conn, 300)
    found = audit(db, "docs", sample=50)
    assert (found.is_clean, found.matching, found.share) == (True, 50, 1.0)
    assert found.low > 0.9
    swapped = _swap(conn, range(1, 31))
    first, again, other = (audit(db, "docs", sample=50, seed=seed).mismatches for seed in (1, 1, 2))
    assert first == again
    assert {mismatch.key for mismatch in first} != {mismatch.key for mismatch in other}
    assert {mismatch.key for mismatch in first} <= swapped


@pytest.mark.parametrize("placement", list(Placement))
def test_rows_of_another_text_or_bridged_are_counted_apart(
    migrated: Migrated, db: Database, conn: Connection, placement: Placement
) -> None:
    pair = migrated(100, placement)
    conn.execute("UPDATE docs SET body = 'edited since' WHERE id <= 10")
    table = "docs" if placement is Placement.COLUMN else f"embedmig.{pair.target.table}"
    model_column = pair.target.model_column
    conn.execute(f"UPDATE {table} SET {model_column} = %s WHERE id BETWEEN 11 AND 15", [pair.target.bridge_model_id])
    found = audit(db, "docs", slot="v2")
    assert (found.sampled, found.stale, found.bridged, found.compared) == (100, 10, 5, 85)
    assert found.is_clean
    assert found.texts_recorded


def test_an_edited_row_whose_text_was_not_recorded_does_not_match(db: Database, conn: Connection, verb: Verb) -> None:
    make_docs(conn, 40)
    conn.execute("UPDATE docs SET body = 'edited since' WHERE id = 3")
    code, said = verb("audit", "docs")
    assert code == 1
    assert "39 of 40 sampled vectors match" in said
    assert "does not match: 3 " in said
    assert "was never recorded" in said


def test_rows_without_text_or_vector_or_outside_the_filter_are_not_sampled(db: Database, conn: Connection) -> None:
    make_docs(conn, 60, row_filter="lang = 'en'", filter_columns=("lang",))
    conn.execute("UPDATE docs SET title = NULL, body = '' WHERE id = 1")
    conn.execute("UPDATE docs SET embedding = NULL WHERE id = 3")
    assert audit(db, "docs").sampled == 28


def test_the_target_is_audited_by_its_own_model(migrated: Migrated, db: Database, conn: Connection) -> None:
    pair = migrated(50, filled=False)
    fill(conn, pair.collection, pair.target, model=replace(NEW, options=NEW.options | {"seed": 5}))
    assert audit(db, "docs", slot="v2").matching == 0
    assert audit(db, "docs").is_clean
    with pytest.raises(NotFoundError, match="v3"):
        audit(db, "docs", slot="v3")


def test_half_precision_vectors_match_their_model(migrated: Migrated, conn: Connection) -> None:
    pair = migrated(40)
    conn.execute(f"ALTER TABLE docs ADD half halfvec({NEW.dimensions})")
    conn.execute("UPDATE docs SET half = embedding_v2::halfvec")
    halved = replace(pair.target, vector_column="half", vector_type="halfvec")
    found = audit_slot(conn, pair.collection, halved, sample=40, cosine=0.999, confidence=0.95)
    assert (found.compared, found.is_clean) == (40, True)


def test_a_model_that_is_gone_cannot_be_audited(db: Database, conn: Connection) -> None:
    make_docs(conn, 10)
    update_model(conn, replace(OLD, state=ModelState.GONE))
    with pytest.raises(RefusedError, match="old@1 is gone"):
        audit(db, "docs")


def test_the_audit_is_logged_as_a_share_and_writes_nothing_else(db: Database, conn: Connection) -> None:
    make_docs(conn, 30)
    before = conn.execute("SELECT xmin::text, * FROM docs ORDER BY id").fetchall()
    audit(db, "docs")
    event = list_events(conn, "docs")[0]
    assert (event.verb, event.became) == ("audit", "clean")
    assert (event.details["slot"], event.details["compared"], event.details["matching"]) == ("v1", 30, 30)
    after = conn.execute("SELECT xmin::text, * FROM docs ORDER BY id").fetchall()
    assert [row["xmin"] for row in before] == [row["xmin"] for row in after]


def test_the_command_line_exits_by_what_was_found(db: Database, conn: Connection, verb: Verb) -> None:
    make_docs(conn, 60)
    code, said = verb("audit", "docs", "--sample", "20")
    assert code == 0
    assert "20 of 20 sampled vectors match" in said
    assert "Wilson" in said
    _swap(conn, range(1, 61))
    code, said = verb("audit", "docs", "--json")
    found = json.loads(said)
    assert (code, found["matching"], len(found["mismatches"])) == (1, 0, 60)
    code, said = verb("audit", "docs")
    assert "and 40 more" in said


def test_vectors_of_other_text_columns_are_told_from_those_of_another_model(
    db: Database, conn: Connection, verb: Verb
) -> None:
    make_docs(conn, 60)
    for number in range(1, 61):
        (vector,) = embed(OLD, [text_of(number)[1]])
        conn.execute("UPDATE docs SET embedding = %s WHERE id = %s", [vector, number])
    code, said = verb("audit", "docs")
    assert (code, "are the text columns" in said) == (1, True), said
    _swap(conn, range(1, 61))
    code, said = verb("audit", "docs")
    assert (code, "are the text columns" in said) == (1, False), said


def test_an_empty_table_has_nothing_to_audit(db: Database, conn: Connection, verb: Verb) -> None:
    make_docs(conn, 0)
    code, said = verb("audit", "docs")
    assert code == 0
    assert "no row could be compared" in said


def test_composite_keys_are_audited(db: Database, conn: Connection) -> None:
    make_docs(conn, 20, key=(("tenant", "text"), ("id", "integer")))
    expand_docs(db)
    assert audit(db, "docs").is_clean
    assert pair_of(conn).source.model == OLD


@pytest.mark.parametrize(("matching", "compared"), [(200, 200), (194, 200), (0, 5), (1, 1), (17, 40)])
def test_the_interval_of_a_share_is_wilsons(matching: int, compared: int) -> None:
    theirs = stats.binomtest(matching, compared).proportion_ci(0.95, method="wilson")
    assert wilson_interval(matching, compared, 0.95) == pytest.approx((theirs.low, theirs.high))
    assert wilson_interval(0, 0, 0.95) == (0.0, 1.0)
