"""adapter fit, eval, list, show, use and drop: pairs of stored vectors, and a slot that is asked with another model."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedmig import Embedding, Searcher
from embedmig.catalog.events import list_events
from embedmig.catalog.models import update_model
from embedmig.catalog.routes import get_route
from embedmig.cli.main import run
from embedmig.db import Connection, Database
from embedmig.embedders import load_embedder, take_fingerprint
from embedmig.embedders.hashing import HashingEmbedder
from embedmig.types import Collection, ModelState
from tests.support import NEW, OLD, embed, expand_docs, fill_slot, make_docs, text_of

Verb = Callable[..., tuple[int, Any]]

ROWS = 300
FIT = ("adapter", "fit", "docs", "--kind", "procrustes")


@pytest.fixture
def docs(conn: Connection) -> Collection:
    return make_docs(conn, ROWS)


@pytest.fixture
def said(db: Database, capsys: pytest.CaptureFixture[str]) -> Verb:
    """Runs a verb with --json; gives its exit code and what it printed."""

    def run_verb(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = run([*arguments, "--json", "--database-url", db.url])
        return code, json.loads(capsys.readouterr().out)

    return run_verb


def query(number: int) -> str:
    return "\n\n".join(text_of(number))


def test_fit_pairs_stored_vectors_with_the_new_model_s_though_the_old_one_is_gone(
    said: Verb, docs: Collection, conn: Connection
) -> None:
    conn.execute("UPDATE embedmig.model SET state = 'gone' WHERE name = 'old'")
    code, fitted = said(*FIT, "--to", "new@1", "--seed", "3")
    assert code == 0
    assert fitted["plan"] | {"documents": None, "queries": None} == {
        "collection": "docs", "direction": "query", "old_model": "old@1", "new_model": "new@1", "pairs": ROWS,
        "reused": 0, "kept": 0, "judged": 0, "documents": None, "queries": None,
    }  # fmt: skip
    assert (fitted["plan"]["documents"]["texts"], fitted["plan"]["queries"]["texts"]) == (ROWS, ROWS)
    kept = fitted["adapter"]
    assert (kept["name"], kept["kind"], kept["from_model"], kept["to_model"]) == ("a1", "procrustes", "new@1", "old@1")
    made = kept["provenance"]
    assert (made["n_pairs"], made["seed"], made["collection"]) == (ROWS, 3, "docs")
    assert made["scores"][0]["kind"] == "procrustes"
    assert made["scores"][0]["interval"][0] <= made["scores"][0]["share"] <= made["scores"][0]["interval"][1]
    # 300 pairs are few, and it is said and kept.
    assert any("300 pairs are few" in note for note in made["notes"])
    assert [event.verb for event in list_events(conn, "docs")] == ["adapter fit"]


def test_fit_takes_the_new_slot_s_true_vectors_where_they_stand(
    said: Verb, docs: Collection, conn: Connection, db: Database
) -> None:
    expand_docs(db)
    target = next(slot for slot in _slots(conn, docs) if slot.model.key == "new@1")
    fill_slot(conn, docs, target)
    conn.execute("UPDATE docs SET body = 'another text' WHERE id <= 5")
    code, fitted = said(*FIT)
    assert code == 0
    # Of five rows the new vector is of an earlier text; which text the old one is of was never recorded.
    assert (fitted["plan"]["reused"], fitted["plan"]["documents"]["texts"]) == (ROWS - 5, 5)


def _slots(conn: Connection, docs: Collection) -> Any:
    from embedmig.catalog.slots import list_slots

    return list_slots(conn, docs)


def test_what_was_embedded_for_one_fit_is_not_embedded_for_the_next(
    said: Verb, docs: Collection, conn: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDMIG_CACHE_DIR", str(tmp_path))
    fingerprint = take_fingerprint(NEW, load_embedder(NEW)).to_bytes()
    conn.execute("UPDATE embedmig.model SET fingerprint = %s WHERE id = %s", [fingerprint, NEW.id])
    first, again = said(*FIT, "--to", "new@1")[1], said(*FIT, "--to", "new@1")[1]
    assert (first["plan"]["kept"], first["plan"]["documents"]["texts"]) == (0, ROWS)
    assert (again["plan"]["kept"], again["plan"]["documents"]["texts"]) == (ROWS, 0)
    assert again["scores"] == first["scores"]


def test_too_few_pairs_and_no_new_model_are_wrong_usage_and_none_good_enough_is_an_answer(
    said: Verb, docs: Collection, conn: Connection
) -> None:
    code, refused = said(*FIT, "--to", "new@1", "--sample", "249")
    assert (code, refused["error"]) == (2, "AdapterInputError")
    assert "249 pairs are too few" in refused["message"]
    code, refused = said(*FIT)
    assert code == 2
    assert "no open migration" in refused["message"]
    code, refused = said(*FIT, "--to", "old@1")
    assert code == 2
    assert "there is no gap" in refused["message"]
    code, refused = said("adapter", "fit", "docs", "--kind", "text", "--to", "new@1")
    assert code == 2
    assert "a kind is auto, procrustes, centred, ridge, ranking, distilled" in refused["message"]
    code, fitted = said(*FIT, "--to", "new@1", "--floor", "1")
    assert (code, fitted["adapter"]) == (1, None)
    assert "no adapter is good enough" in fitted["reason"]
    assert said("adapter", "list", "docs") == (0, [])


def test_judged_queries_choose_and_their_rows_are_among_the_pairs(said: Verb, docs: Collection, tmp_path: Path) -> None:
    file = tmp_path / "queries.jsonl"
    asked = [{"query": query(number), "relevant": {str(number): 1}} for number in range(1, ROWS, 3)]
    file.write_text("\n".join(map(json.dumps, asked)), encoding="utf-8")
    code, fitted = said(*FIT, "--to", "new@1", "--sample", "260", "--queries", str(file))
    assert code == 0
    assert fitted["plan"]["queries"]["texts"] == len(asked)
    assert fitted["pairs"] == 260 + fitted["plan"]["judged"]
    assert fitted["scores"][0]["n_queries"] == len(asked)
    assert fitted["scores"][0]["own_row"] is None
    file.write_text('{"query": "x", "relevant": {"seven": 1}}', encoding="utf-8")
    code, refused = said(*FIT, "--to", "new@1", "--queries", str(file))
    assert code == 2
    assert "no key of public.docs" in refused["message"]


def test_use_answers_the_new_model_s_queries_from_the_old_slot_and_undo_takes_it_back(
    said: Verb, docs: Collection, conn: Connection, db: Database
) -> None:
    said(*FIT, "--to", "new@1")
    native = Embedding(embed(OLD, [query(7)])[0], model="old@1")
    with Searcher.connect("docs", database_url=db.url) as search:
        before, epoch = search(query(7)), search.serving().epoch
        code, placed = said("adapter", "use", "docs", "a1")
        assert (code, placed["asked_model"], placed["changed"], placed["epoch"]) == (0, "new@1", True, epoch + 1)
        assert search.serving().model == "new@1"
        through = search(query(7))
        assert {hit.slot for hit in through} == {"v1"}
        assert {hit.model for hit in through} == {"old@1"}
        assert [hit.distance for hit in through] != [hit.distance for hit in before]
        # A vector of the slot's own model is what it was.
        assert search(native) == before
        explained = search.explain(query(7))
        assert (explained.adapter, explained.query_model, explained.model) == ("a1", "new@1", "old@1")
        assert "adapter a1 stands before it" in explained.why
        assert said("adapter", "use", "docs", "a1")[1]["changed"] is False
        assert search.serving().epoch == epoch + 1
        code, placed = said("adapter", "use", "docs", "a1", "--undo")
        assert (code, placed["asked_model"], placed["adapter"], placed["epoch"]) == (0, "old@1", None, epoch + 2)
        assert search(query(7)) == before
    assert [event.verb for event in list_events(conn, "docs")][:2] == ["adapter use --undo", "adapter use"]
    assert said("adapter", "use", "docs", "a1", "--undo")[0] == 1


def test_a_mapped_query_finds_what_a_native_one_finds(said: Verb, docs: Collection, db: Database) -> None:
    said("adapter", "fit", "docs", "--kind", "ridge", "--to", "new@1")
    numbers, k = range(1, 40), 10
    with Searcher.connect("docs", database_url=db.url) as search:
        native = [{hit.key for hit in search(query(n), k)} for n in numbers]
        said("adapter", "use", "docs", "a1")
        mapped = [{hit.key for hit in search(query(n), k)} for n in numbers]
    overlap = np.mean([len(a & b) / k for a, b in zip(native, mapped, strict=True)])
    # By chance it would be 10 of 300.
    assert overlap > 0.1


def test_a_query_far_from_everything_fitted_is_said_on_its_hits(
    said: Verb, docs: Collection, db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    said(*FIT, "--to", "new@1")
    said("adapter", "use", "docs", "a1")
    far = Embedding(-embed(NEW, [query(1)])[0], model="new@1")
    with Searcher.connect("docs", database_url=db.url) as search:
        assert search.explain(far).far is True
        assert all("far from everything that adapter a1 was fitted on" in hit.notes[0] for hit in search(far))
        assert all(hit.notes == () for hit in search(query(1)))


def test_dropping_one_that_is_needed_wants_a_yes_and_the_slot_is_asked_natively_again(
    said: Verb, docs: Collection, conn: Connection, db: Database
) -> None:
    said(*FIT, "--to", "new@1")
    said("adapter", "use", "docs", "a1")
    conn.execute("UPDATE embedmig.model SET state = 'gone' WHERE name = 'old'")
    epoch = get_route(conn, "docs").epoch
    code, refused = said("adapter", "drop", "docs", "a1")
    assert code == 1
    assert "old@1, which is gone" in refused["message"]
    with Searcher.connect("docs", database_url=db.url) as search:
        assert search(query(3))
        code, dropped = said("adapter", "drop", "docs", "a1", "--yes")
        assert (code, dropped["placed"]["epoch"], dropped["placed"]["gone"]) == (0, epoch + 1, True)
        assert search.serving().model == "old@1"
    assert said("adapter", "list", "docs") == (0, [])
    code, kept = said("adapter", "list", "docs", "--all")
    assert kept[0]["name"] == "a1"
    assert kept[0]["dropped_at"]
    assert kept[0]["size_bytes"] is None
    assert conn.execute("SELECT count(*) AS n FROM embedmig.adapter_output").fetchone() == {"n": 0}


def test_a_bridge_or_one_that_leads_nowhere_stands_before_no_slot(
    said: Verb, docs: Collection, conn: Connection
) -> None:
    said("adapter", "fit", "docs", "--direction", "bridge", "--kind", "ridge", "--to", "new@1")
    code, refused = said("adapter", "use", "docs", "a1")
    assert code == 1
    assert "a1 is a bridge" in refused["message"]
    said(*FIT, "--to", "new@1")
    update_model(conn, _as_gone(conn))
    code, refused = said("adapter", "use", "docs", "a2")
    assert code == 1
    assert "new@1 is gone" in refused["message"]
    code, refused = said("adapter", "use", "docs", "a9")
    assert code == 2
    assert "there are: a2, a1" in refused["message"]


def _as_gone(conn: Connection) -> Any:
    from dataclasses import replace

    return replace(NEW, state=ModelState.GONE)


def test_eval_measures_rows_that_were_not_fitted_on_and_exits_1_when_they_have_drifted(
    said: Verb, docs: Collection, conn: Connection
) -> None:
    said(*FIT, "--to", "new@1", "--sample", "255")
    code, found = said("adapter", "eval", "docs", "a1")
    assert (code, found["pairs"], found["seen"], found["score"]) == (0, ROWS - 255, False, None)
    assert found["drift"]["drifted"] is False
    assert found["adapter"]["health"]["pairs"] == ROWS - 255
    # Vectors of another model under the old one's name: what the map leads to is not there any more.
    conn.execute("UPDATE docs SET embedding = (SELECT embedding FROM docs d WHERE d.id = 301 - docs.id)")
    code, found = said("adapter", "eval", "docs", "a1")
    assert code == 1
    assert found["drift"]["low"] > found["bound"]
    code, found = said("adapter", "eval", "docs", "a1", "--bound", "100")
    assert code == 0
    code, shown = said("adapter", "show", "docs", "a1")
    assert shown["health"]["drift"]["drifted"] is False
    assert shown["health"]["bound"] == 100


def test_rows_that_judgments_name_are_no_fresh_ones(said: Verb, docs: Collection, tmp_path: Path) -> None:
    file = tmp_path / "queries.jsonl"
    asked = [{"query": query(number), "relevant": {str(number): 1}} for number in range(1, ROWS, 3)]
    file.write_text("\n".join(map(json.dumps, asked)), encoding="utf-8")
    said(*FIT, "--to", "new@1", "--sample", "255")
    code, found = said("adapter", "eval", "docs", "a1", "--queries", str(file))
    assert (code, found["pairs"], found["fresh"]["n"]) == (0, ROWS - 255, ROWS - 255)
    assert found["adapter"]["health"]["pairs"] == ROWS - 255


def test_a_name_that_is_taken_is_said_before_anything_is_embedded(
    said: Verb, docs: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said(*FIT, "--to", "new@1", "--name", "a99999999999")[0] == 0
    # A name of so many digits is no number to count on from.
    assert said(*FIT, "--to", "new@1")[1]["adapter"]["name"] == "a1"
    monkeypatch.setattr(HashingEmbedder, "embed_documents", None)
    code, refused = said(*FIT, "--to", "new@1", "--name", "a1")
    assert (code, refused["error"]) == (2, "ConflictError")
    assert "docs has an adapter a1 already" in refused["message"]


def test_eval_says_that_there_are_no_other_rows(said: Verb, docs: Collection) -> None:
    said(*FIT, "--to", "new@1")
    code, found = said("adapter", "eval", "docs", "a1")
    assert (code, found["seen"], found["pairs"]) == (0, True, ROWS)
    assert found["score"]["n_queries"] > 0


@pytest.mark.parametrize("changed", ["old", "new"])
def test_a_changed_fingerprint_of_either_model_makes_it_unusable(
    said: Verb, docs: Collection, conn: Connection, db: Database, changed: str
) -> None:
    said(*FIT, "--to", "new@1")
    said("adapter", "use", "docs", "a1")
    with Searcher.connect("docs", database_url=db.url) as search:
        mapped = Embedding(embed(NEW, [query(7)])[0], model="new@1")
        assert search(mapped)
        conn.execute("UPDATE embedmig.model SET fingerprint = 'another' WHERE name = %s", [changed])
        code, refused = said("adapter", "eval", "docs", "a1")
        assert (code, refused["error"]) == (1, "AdapterUnusableError")
        assert f"another fingerprint of {changed}@1" in refused["message"]
        said("adapter", "use", "docs", "a1", "--undo")
        code, refused = said("adapter", "use", "docs", "a1")
        assert (code, refused["error"]) == (1, "AdapterUnusableError")


def test_without_safetensors_nothing_is_embedded(said: Verb, docs: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    monkeypatch.setattr(HashingEmbedder, "embed_documents", None)
    code, refused = said(*FIT, "--to", "new@1")
    assert (code, refused["error"]) == (2, "UnsupportedError")
    assert "pip install 'embedmig[adapters]'" in refused["message"]


def test_people_are_told_in_words(docs: Collection, db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    def words(*arguments: str) -> str:
        capsys.readouterr()
        assert run([*arguments, "--database-url", db.url]) == 0
        told = capsys.readouterr()
        return " ".join((told.out + told.err).split())

    told = words(*FIT, "--to", "new@1")
    assert "300 texts and 300 queries to embed, about" in told
    assert "a1 is kept, of 300 pairs: embedmig adapter use docs a1" in told
    assert "asked with new@1 through a1" in words("adapter", "use", "docs", "a1")
    assert "before v1 since" in words("adapter", "list", "docs")
    shown = words("adapter", "show", "docs", "a1")
    assert "new@1 to old@1" in shown
    assert "too few pairs to tell" in shown
    assert "every row was fitted on" in words("adapter", "eval", "docs", "a1")
    assert "adapter a1 stands before it" in words("search", "docs", query(4), "--explain")
    assert "a1 is dropped" in words("adapter", "drop", "docs", "a1")
    assert "no adapter of docs" in words("adapter", "list", "docs")
