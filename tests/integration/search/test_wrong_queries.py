"""Every public way to query, with each wrong thing: none answers."""

from array import array
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from embedmig import VersionedVector
from embedmig.commands import search as search_command
from embedmig.db import Connection, Database
from embedmig.errors import DimensionError, ModelMismatchError, RefusedError, UnversionedVectorError, UsageError
from embedmig.types import Embedding, Slot
from tests.alembic_environment import sqlalchemy_url
from tests.integration.search.conftest import Connect, set_share
from tests.support import NEW, OLD, embed, text_of

VECTORS = {model.key: embed(model, [" ".join(text_of(3))])[0] for model in (OLD, NEW)}


class Way(NamedTuple):
    """One way to ask, while a slot of that model serves."""

    name: str
    served: str
    ask: Callable[[Any], Any]

    def refuses(self, query: Any, ours: type[Exception], sqlstate: str) -> Any:
        """The error: ours, or in SQL the one with that SQLSTATE."""
        if self.name != "search_v1":
            with pytest.raises(ours) as caught:
                self.ask(query)
            return caught.value
        with pytest.raises(psycopg.Error) as refused:
            self.ask(query)
        assert refused.value.sqlstate == sqlstate, refused.value
        return refused.value


docs = sa.table(
    "docs",
    sa.column("id", sa.BigInteger),
    sa.column("embedding", VersionedVector(OLD.dimensions, model=OLD.key)),
    sa.column("embedding_v2", VersionedVector(NEW.dimensions, model=NEW.key)),
)


@pytest.fixture
def each_way(connect: Connect, db: Database, conn: Connection, target: Slot) -> Iterator[Callable[[], Iterator[Way]]]:
    """Yields each way to ask, while the source serves and while the target does."""
    engine = sa.create_engine(sqlalchemy_url(db), poolclass=NullPool)

    def from_sql(query: Any) -> Any:
        values, model = (query.values, query.model) if isinstance(query, Embedding) else (np.array(query), None)
        return conn.execute("SELECT * FROM embedmig.search_v1('docs', %s::vector, %s)", [values, model]).fetchall()

    def by_column(served: str) -> Callable[[Any], Any]:
        column = docs.c.embedding if served == OLD.key else docs.c.embedding_v2

        def ask(query: Any) -> Any:
            with engine.connect() as connection:
                return connection.execute(sa.select(docs.c.id).order_by(column.cosine_distance(query))).all()

        return ask

    def ways() -> Iterator[Way]:
        searcher = connect()
        for share, served in ((0, OLD.key), (100, NEW.key)):
            set_share(conn, share)
            yield Way("search", served, searcher.search)
            yield Way("call", served, searcher)
            yield Way("explain", served, searcher.explain)
            yield Way("command", served, lambda query: search_command(db, "docs", query))
            yield Way("search_v1", served, from_sql)
            if served == OLD.key or target.vector_column == "embedding_v2":
                yield Way("VersionedVector", served, by_column(served))

    yield ways
    engine.dispose()


def of_text(ways: Iterator[Way]) -> Iterator[Way]:
    return (way for way in ways if way.name not in ("search_v1", "VersionedVector"))


def test_the_right_query_is_answered_every_way(each_way: Any) -> None:
    for way in each_way():
        assert way.ask(Embedding(VECTORS[way.served], model=way.served))
    for way in of_text(each_way()):
        assert way.ask("a text")


@pytest.mark.parametrize("target", ["column"], indirect=True)
class TestRefusals:
    @pytest.mark.parametrize("make", [list, tuple, np.array, lambda values: array("f", values)])
    def test_a_bare_vector(self, each_way: Any, make: Callable[[Any], Any]) -> None:
        for way in each_way():
            way.refuses(make(VECTORS[way.served]), UnversionedVectorError, "EM005")

    def test_a_vector_of_the_other_slots_model(self, each_way: Any) -> None:
        for way in each_way():
            other = ({OLD.key, NEW.key} - {way.served}).pop()
            error = way.refuses(Embedding(VECTORS[other], model=other), ModelMismatchError, "EM002")
            if isinstance(error, ModelMismatchError):
                assert (error.query_model, error.slot_model) == (other, way.served)

    def test_another_revision_or_a_model_without_a_slot(self, each_way: Any) -> None:
        for way in each_way():
            for model in (way.served.replace("@1", "@2"), "stranger@1"):
                way.refuses(Embedding(VECTORS[way.served], model=model), ModelMismatchError, "EM005")

    def test_a_vector_of_another_length(self, each_way: Any) -> None:
        for way in each_way():
            way.refuses(Embedding(VECTORS[way.served][:-1], model=way.served), DimensionError, "EM003")

    def test_a_slot_that_was_never_filled(self, each_way: Any, conn: Connection) -> None:
        conn.execute("UPDATE embedmig.slot SET filled_at = NULL")
        for way in each_way():
            query = Embedding(VECTORS[way.served], model=way.served)
            if way.served == OLD.key:
                assert way.ask(query)
            elif way.name != "VersionedVector":
                # The column type knows no slots: who names a column means that column.
                way.refuses(query, RefusedError, "EM001")

    @pytest.mark.parametrize("query", ["", None, 3])
    def test_no_query_at_all(self, each_way: Any, query: Any) -> None:
        for way in of_text(each_way()):
            with pytest.raises(UsageError):
                way.ask(query)


@pytest.mark.parametrize("target", ["column"], indirect=True)
class TestFromSql:
    """What can be wrong in SQL alone."""

    @pytest.mark.parametrize(
        ("call", "state"),
        [
            ("search_v1('docs', %(query)s)", "42883"),
            ("search_v1('docs', %(query)s::real[], 'old@1')", "42883"),
            ("search_v1('docs', %(query)s, NULL)", "EM005"),
            ("search_v1('docs', %(query)s, 'old')", "EM005"),
            ("search_v1('docs', NULL, 'old@1')", "22023"),
            ("search_v1('docs', '[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]', 'old@1')", "22023"),
            ("search_v1('dogs', %(query)s, 'old@1')", "EM004"),
            ("search_v1(NULL, %(query)s, 'old@1')", "EM004"),
            ("serving_v1('dogs')", "EM004"),
            ("search_v1('docs', %(query)s, 'old@1', 0)", "22023"),
            ("search_v1('docs', %(query)s, 'old@1', NULL)", "22023"),
            ("search_v1('docs', %(query)s, 'old@1', ef_search => 0)", "22023"),
        ],
    )
    def test_it_fails_by_a_state_of_its_own(self, conn: Connection, target: Slot, call: str, state: str) -> None:
        with pytest.raises(psycopg.Error) as caught:
            conn.execute(f"SELECT * FROM embedmig.{call}", {"query": VECTORS[OLD.key]})
        assert caught.value.sqlstate == state

    def test_a_collection_without_a_slot(self, conn: Connection, target: Slot) -> None:
        conn.execute("UPDATE embedmig.migration SET closed_at = now()")
        conn.execute("UPDATE embedmig.slot SET dropped_at = now()")
        with pytest.raises(psycopg.Error, match="docs has no slot to search") as caught:
            conn.execute("SELECT * FROM embedmig.search_v1('docs', %s, 'old@1')", [VECTORS[OLD.key]])
        assert caught.value.sqlstate == "EM001"


def test_a_model_named_without_its_revision() -> None:
    with pytest.raises(UsageError, match="write name@revision"):
        Embedding(VECTORS[OLD.key], model="old")
