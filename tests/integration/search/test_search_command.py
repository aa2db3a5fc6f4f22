"""embedmig search, as typed."""

import json
from collections.abc import Callable

import pytest

from embedmig.db import Connection
from embedmig.types import Slot
from tests.integration.search.conftest import set_share

Verb = Callable[..., tuple[int, str]]

pytestmark = pytest.mark.parametrize("target", ["companion"], indirect=True)


def test_it_prints_the_nearest_rows_with_a_piece_of_their_text(verb: Verb, target: Slot) -> None:
    code, said = verb("search", "docs", "The body of row 3 speaks of word3 and thing3", "-k", "2")
    assert code == 0
    assert said.startswith("distance key text 0.")
    assert "3 Title 3 The body of row 3 speaks of word3 and thing3" in said
    assert said.count("The body of row") == 2


def test_explain_says_which_slot_which_model_and_why(
    verb: Verb, conn: Connection, target: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, said = verb("search", "docs", "any text", "--explain")
    assert "slot v1, model old@1, epoch" in said
    assert "every row is compared" in said
    assert "the stored route gives the target 0 %" in said
    set_share(conn, 100)
    _, said = verb("search", "docs", "any text", "--explain")
    assert "slot v2, model new@1" in said
    assert "index docs_v2_hnsw" in said
    monkeypatch.setenv("EMBEDMIG_ACTIVE_INDEX", "old")
    _, said = verb("search", "docs", "any text", "--explain")
    assert "slot v1, model old@1" in said
    assert "EMBEDMIG_ACTIVE_INDEX=old pins this process to it; the stored route gives the target 100 % since" in said


def test_where_filters_and_its_mistakes_are_said(verb: Verb, target: Slot) -> None:
    code, said = verb("search", "docs", "any text", "--where", "id = 4", "--json")
    found = json.loads(said)
    assert (code, [hit["key"] for hit in found["hits"]], found["explanation"]) == (0, [4], None)
    assert found["hits"][0]["snippet"].startswith("Title 4 The body of row 4")
    assert verb("search", "docs", "any text", "--where", "false") == (0, "nothing found")
    code, said = verb("search", "docs", "any text", "--where", "nope = 1")
    assert (code, said) == (2, "embedmig: the filter 'nope = 1' does not run: column \"nope\" does not exist")
    code, said = verb("search", "docs", "any text", "--where", "id <", "--json")
    assert (code, json.loads(said)["error"]) == (2, "UsageError")


def test_an_empty_text_and_an_unknown_collection_are_wrong_usage(verb: Verb, target: Slot) -> None:
    assert verb("search", "docs", " ") == (2, "embedmig: the query is empty: there is nothing to embed")
    code, said = verb("search", "dogs", "any text")
    assert (code, "no collection dogs; there are: docs" in said) == (2, True)


def test_a_stale_row_is_marked(verb: Verb, conn: Connection, target: Slot) -> None:
    conn.execute("UPDATE docs SET body = 'another text' WHERE id = 3")
    set_share(conn, 100)
    _, said = verb("search", "docs", "any text", "--where", "id IN (3, 4)")
    assert said.count("(of an earlier text)") == 1
