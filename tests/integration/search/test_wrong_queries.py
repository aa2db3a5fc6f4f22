"""Every public way to query, with each wrong thing: none answers."""

from array import array
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from embedmig.commands import search as search_command
from embedmig.db import Connection, Database
from embedmig.errors import DimensionError, ModelMismatchError, UnversionedVectorError, UsageError
from embedmig.types import Embedding, Slot
from tests.integration.search.conftest import Connect, set_share
from tests.support import NEW, OLD, embed, text_of

VECTORS = {model.key: embed(model, [" ".join(text_of(3))])[0] for model in (OLD, NEW)}

Ask = Callable[[Any], Any]


@pytest.fixture
def each_way(connect: Connect, db: Database, conn: Connection, target: Slot) -> Callable[[], Iterator[tuple[str, Ask]]]:
    """Yields the model that serves and a way to ask it: each way, while the source serves and while the target does."""

    def ways() -> Iterator[tuple[str, Ask]]:
        searcher = connect()
        for share, served in ((0, OLD.key), (100, NEW.key)):
            set_share(conn, share)
            for ask in (searcher.search, searcher, searcher.explain, lambda query: search_command(db, "docs", query)):
                yield served, ask

    return ways


def test_the_right_query_is_answered_every_way(each_way: Any) -> None:
    for served, ask in each_way():
        assert ask(Embedding(VECTORS[served], model=served))
        assert ask("a text")


@pytest.mark.parametrize("target", ["column"], indirect=True)
class TestRefusals:
    @pytest.mark.parametrize("make", [list, tuple, np.array, lambda values: array("f", values)])
    def test_a_bare_vector(self, each_way: Any, make: Callable[[Any], Any]) -> None:
        for served, ask in each_way():
            with pytest.raises(UnversionedVectorError):
                ask(make(VECTORS[served]))

    def test_a_vector_of_the_other_slots_model(self, each_way: Any) -> None:
        for served, ask in each_way():
            other = ({OLD.key, NEW.key} - {served}).pop()
            with pytest.raises(ModelMismatchError) as caught:
                ask(Embedding(VECTORS[other], model=other))
            assert (caught.value.query_model, caught.value.slot_model) == (other, served)

    def test_another_revision_or_a_model_without_a_slot(self, each_way: Any) -> None:
        for served, ask in each_way():
            for model in (served.replace("@1", "@2"), "stranger@1"):
                with pytest.raises(ModelMismatchError):
                    ask(Embedding(VECTORS[served], model=model))

    def test_a_vector_of_another_length(self, each_way: Any) -> None:
        for served, ask in each_way():
            with pytest.raises(DimensionError):
                ask(Embedding(VECTORS[served][:-1], model=served))

    @pytest.mark.parametrize("query", ["", None, 3])
    def test_no_query_at_all(self, each_way: Any, query: Any) -> None:
        for _, ask in each_way():
            with pytest.raises(UsageError):
                ask(query)


def test_a_model_named_without_its_revision() -> None:
    with pytest.raises(UsageError, match="write name@revision"):
        Embedding(VECTORS[OLD.key], model="old")
