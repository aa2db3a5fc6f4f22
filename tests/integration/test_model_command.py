"""embedmig model add|list|show|set, through the command line."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from embedmig.catalog.events import list_events
from embedmig.catalog.models import get_fingerprint, get_model
from embedmig.cli.main import run
from embedmig.db import Connection, Database
from embedmig.types import Distance, ModelState

Verb = Callable[..., tuple[int, str]]


def _json(verb: Verb, *arguments: str) -> Any:
    code, printed = verb(*arguments, "--json")
    assert code == 0, printed
    return json.loads(printed)


def test_a_model_is_probed_and_registered_with_its_fingerprint(verb: Verb, conn: Connection) -> None:
    code, printed = verb("model", "add", "tiny@1", "--provider", "hashing", "--option", "dimensions=24")
    assert code == 0, printed
    assert "tiny@1 registered: 24 dimensions, cosine, normalised" in printed
    assert "fingerprint taken on cpu/float32" in printed
    assert get_fingerprint(conn, get_model(conn, "tiny@1")) is not None
    assert [event.verb for event in list_events(conn)] == ["model add"]


@pytest.mark.parametrize(
    ("dimensions", "distance", "said"),
    [
        (2000, "cosine", "vectors stored as vector(2000), indexed as they are"),
        (2001, "l2", "vectors stored as halfvec(2001), indexed as they are"),
        (4001, "cosine", "vectors stored as vector(4001), indexed by their signs (binary quantisation), and searches"),
        (4001, "l2", "vectors stored as vector(4001), in no index, for signs say nothing of l2 distance"),
    ],
)
def test_it_is_said_how_vectors_of_so_many_dimensions_are_indexed(
    verb: Verb, dimensions: int, distance: str, said: str
) -> None:
    gone = ("--provider", "openai", "--state", "gone", "--dimensions", str(dimensions), "--distance", distance)
    code, printed = verb("model", "add", "long@1", *gone)
    assert (code, said in printed) == (0, True), printed


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--state", "gone", "--dimensions", "16001"), "16,001 dimensions, and pgvector stores 16,000 at most"),
        (("--option", "dimensions=16001"), "16,001 dimensions, and pgvector stores 16,000 at most"),
        (("--option", "dimensions=0"), "dimensions"),
        (("--option", "dimensions=-3"), "dimensions"),
        (("--option", "dimensions=many"), "dimensions"),
        (("--option", "dimensions=1.5"), "dimensions"),
        (("--dimensions", "0", "--state", "gone"), "dimensions"),
        (("--dimensions", "-1"), "dimensions"),
    ],
)
def test_dimensions_that_no_column_takes_are_refused_with_nothing_registered(
    verb: Verb, conn: Connection, given: tuple[str, ...], said: str
) -> None:
    code, printed = verb("model", "add", "odd@1", "--provider", "hashing", *given)
    assert (code, said in printed) == (2, True), printed
    assert conn.execute("SELECT * FROM embedmig.model").fetchall() == []


def test_adding_a_model_again_changes_nothing(verb: Verb, conn: Connection) -> None:
    add = ("model", "add", "tiny@1", "--provider", "hashing")
    assert verb(*add)[0] == 0
    code, printed = verb(*add)
    assert (code, "was registered already" in printed) == (0, True)
    assert len(list_events(conn)) == 1


def test_other_options_under_a_known_name_are_refused_when_they_give_other_vectors(
    verb: Verb, conn: Connection
) -> None:
    add = ("model", "add", "tiny@1", "--provider", "hashing")
    assert verb(*add, "--option", "seed=1")[0] == 0
    code, printed = verb(*add, "--option", "seed=2")
    assert (code, "gives other vectors" in printed) == (2, True), printed
    assert get_model(conn, "tiny@1").options == {"seed": 1}
    assert verb(*add, "--option", "seed=1", "--option", "delay_s=0")[0] == 0, "another option, the same vectors"


def test_a_model_that_is_gone_is_registered_by_its_dimensions_alone(verb: Verb, conn: Connection) -> None:
    code, printed = verb("model", "add", "dead@1", "--provider", "openai", "--state", "gone")
    assert (code, "give them, --dimensions" in printed) == (2, True)
    code, printed = verb("model", "add", "dead@1", "--provider", "openai", "--state", "gone", "--dimensions", "1536")
    assert code == 0, printed
    model = get_model(conn, "dead@1")
    assert (model.state, model.dimensions) == (ModelState.GONE, 1536)
    assert get_fingerprint(conn, model) is None
    code, printed = verb("model", "set", "dead@1", "--state", "available")
    assert (code, "has no fingerprint" in printed) == (2, True)
    assert verb("model", "show", "dead@1")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tiny", "--provider", "hashing"), "'tiny' is not a model: write name@revision"),
        (("tiny@1", "--provider", "nobody"), "no provider nobody; there are: hashing, openai, sentence-transformers"),
        (("tiny@1", "--provider", "hashing", "--option", "colour=red"), "colour"),
        (("tiny@1", "--provider", "hashing", "--option", "nonsense"), "'nonsense' is not KEY=VALUE"),
        (("tiny@1", "--provider", "hashing", "--dimensions", "7"), "gives vectors of 32 dimensions, not 7"),
        (("tiny@1", "--provider", "sentence-transformers", "--path", "/nowhere"), "/nowhere"),
        (("tiny@1", "--provider", "hashing", "--state", "gone", "--ends-on", "2027-01-01"), "leave --ends-on out"),
        (("tiny@1", "--provider", "hashing", "--price", "-1"), "not in the range"),
    ],
)
def test_what_cannot_be_registered_is_refused_in_a_sentence(
    verb: Verb, conn: Connection, arguments: tuple[str, ...], said: str
) -> None:
    code, printed = verb("model", "add", *arguments)
    assert code == 2, printed
    assert said in printed
    assert "Traceback" not in printed
    assert list_events(conn) == []


def test_another_definition_under_the_same_name_is_refused(verb: Verb) -> None:
    assert verb("model", "add", "tiny@1", "--provider", "hashing")[0] == 0
    for other in (("--option", "dimensions=64"), ("--document-prompt", "doc: "), ("--distance", "l2")):
        code, printed = verb("model", "add", "tiny@1", "--provider", "hashing", *other)
        assert (code, "a revision of its own" in printed) == (2, True), printed


def test_list_and_show_tell_what_a_model_is(verb: Verb) -> None:
    assert "no model is registered" in verb("model", "list")[1]
    verb("model", "add", "tiny@1", "--provider", "hashing", "--query-prompt", "query: ", "--price", "0.02")
    assert "tiny@1" in verb("model", "list")[1]
    code, printed = verb("model", "show", "tiny@1")
    assert code == 0
    assert "queries 'query: '" in printed
    assert "0.02 a million tokens" in printed
    assert "the same model down to cosine 0.99" in printed
    shown = _json(verb, "model", "show", "tiny@1")
    assert shown["model"]["dimensions"] == 32
    assert shown["slots"] == []
    code, printed = verb("model", "show", "tini@1")
    assert (code, "no model tini@1; there are: tiny@1" in printed) == (2, True)


def test_state_date_and_price_can_be_changed_and_are_logged_once(verb: Verb, conn: Connection) -> None:
    verb("model", "add", "tiny@1", "--provider", "hashing", "--distance", "ip")
    for _ in range(2):
        assert verb("model", "set", "tiny@1", "--ends-on", "2027-03-01", "--price", "0.5")[0] == 0
    model = get_model(conn, "tiny@1")
    assert (model.state, str(model.ends_on), model.price_per_million_tokens) == (ModelState.ENDING, "2027-03-01", 0.5)
    assert model.distance is Distance.INNER_PRODUCT
    assert verb("model", "set", "tiny@1", "--state", "gone")[0] == 0
    model = get_model(conn, "tiny@1")
    assert (model.state, model.ends_on) == (ModelState.GONE, None)
    assert [(event.verb, event.was, event.became) for event in list_events(conn)] == [
        ("model set", "ending", "gone"),
        ("model set", "available", "ending"),
        ("model add", None, "available"),
    ]
    assert verb("model", "set", "tiny@1", "--state", "available")[0] == 0


def test_new_options_are_tried_before_they_are_kept(verb: Verb, conn: Connection) -> None:
    verb("model", "add", "tiny@1", "--provider", "hashing")
    code, printed = verb("model", "set", "tiny@1", "--option", "seed=7")
    assert (code, "no longer gives the vectors" in printed) == (3, True), printed
    assert get_model(conn, "tiny@1").options == {}
    assert verb("model", "set", "tiny@1", "--option", "delay_s=0.001")[0] == 0
    assert get_model(conn, "tiny@1").options == {"delay_s": 0.001}
    verb("model", "set", "tiny@1", "--state", "gone")
    code, printed = verb("model", "set", "tiny@1", "--option", "delay_s=0")
    assert (code, "cannot be tried" in printed) == (2, True)


def test_setting_nothing_or_an_unknown_model_is_refused(verb: Verb) -> None:
    code, printed = verb("model", "set", "tiny@1", "--state", "gone")
    assert (code, "no model tiny@1" in printed) == (2, True)
    verb("model", "add", "tiny@1", "--provider", "hashing")
    code, printed = verb("model", "set", "tiny@1")
    assert (code, "nothing to set" in printed) == (2, True)


def test_without_the_control_schema_the_verb_says_init(bare_db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    with bare_db.connect() as conn:
        conn.execute("CREATE EXTENSION vector")
    code = run(["model", "add", "tiny@1", "--provider", "hashing", "--database-url", bare_db.url])
    assert code == 2
    assert "run embedmig init" in capsys.readouterr().err
