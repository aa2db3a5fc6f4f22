"""Every way to query a slot that an adapter stands before: the pair it was made for is answered, nothing else is."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from embedmig.catalog import adapters, models
from embedmig.catalog.adapters import KeptAdapter
from embedmig.catalog.collections import get_collection
from embedmig.catalog.serving import read_serving
from embedmig.catalog.slots import get_slot
from embedmig.commands import adapter_drop, adapter_use
from embedmig.commands import search as search_command
from embedmig.db import Connection, Database
from embedmig.errors import (
    AdapterUnusableError,
    DimensionError,
    ModelMismatchError,
    RefusedError,
    UnversionedVectorError,
    UsageError,
)
from embedmig.search import ahead
from embedmig.search.sampling import ShadowOptions
from embedmig.search.searcher import Searcher
from embedmig.types import Embedding, Model, ModelState, Slot
from tests.adapter_support import OTHER, keep_adapter
from tests.integration.search.conftest import Connect, set_share
from tests.support import NEW, OLD, embed, make_docs, text_of

QUERY = "\n\n".join(text_of(3))
VECTORS = {model.key: embed(model, [QUERY])[0] for model in (OLD, NEW, OTHER)}

Way = tuple[str, Callable[..., Any]]


def of(model: Model) -> Embedding:
    return Embedding(VECTORS[model.key], model=model.key)


@pytest.fixture
def adapted(conn: Connection, db: Database) -> KeptAdapter:
    """docs, 20 rows, one slot of the old model, asked with the new one."""
    make_docs(conn)
    kept = keep_adapter(conn, kind="ridge")
    adapter_use(db, "docs", kept.name)
    return kept


@pytest.fixture
def each_way(connect: Connect, db: Database, conn: Connection) -> Callable[[], Iterator[Way]]:
    def from_sql(query: Any, k: int = 10, **options: Any) -> Any:
        values, model = (query.values, query.model) if isinstance(query, Embedding) else (np.array(query), None)
        cut = options.get("max_distance")
        return conn.execute(
            "SELECT * FROM embedmig.search_v1('docs', %s::vector, %s, %s, max_distance => %s::jsonb)",
            [values, model, k, None if cut is None else str(cut).replace("'", '"')],
        ).fetchall()

    def ways() -> Iterator[Way]:
        searcher = connect()
        yield "search", searcher.search
        yield "call", searcher
        yield "explain", searcher.explain
        yield "search_v1", from_sql

    return ways


def refuses(way: Way, query: Any, ours: type[Exception], sqlstate: str, **options: Any) -> Any:
    name, ask = way
    with pytest.raises(psycopg.Error if name == "search_v1" else ours) as caught:
        ask(query, **options)
    if isinstance(caught.value, psycopg.Error):
        assert caught.value.sqlstate == sqlstate, caught.value
    return caught.value


@pytest.mark.parametrize("kind", ["procrustes", "ridge"])
def test_the_database_maps_a_query_as_python_does(conn: Connection, db: Database, connect: Connect, kind: str) -> None:
    make_docs(conn)
    adapter_use(db, "docs", keep_adapter(conn, kind=kind).name)
    searcher = connect()
    # A vector of another length than 1 is the same query.
    for query in (of(NEW), Embedding(VECTORS[NEW.key] * 3, model=NEW.key)):
        found = conn.execute(
            "SELECT key, distance, slot, model FROM embedmig.search_v1('docs', %s, 'new@1')", [query.values]
        ).fetchall()
        hits = searcher.search(query)
        assert [int(row["key"][0]) for row in found] == [hit.key for hit in hits]
        assert [row["distance"] for row in found] == pytest.approx([hit.distance for hit in hits], abs=1e-6)
        assert {(row["slot"], row["model"]) for row in found} == {("v1", "old@1")}
    served = conn.execute("SELECT * FROM embedmig.serving_v1('docs')").fetchone()
    assert served is not None
    assert (served["model"], served["slot"], served["dimensions"]) == ("new@1", "v1", NEW.dimensions)


def test_both_models_of_the_pair_are_answered_and_a_text_is_embedded_with_the_new_one(
    adapted: KeptAdapter, each_way: Any, conn: Connection
) -> None:
    conn.execute("UPDATE embedmig.model SET state = 'gone' WHERE name = 'old'")
    for name, ask in each_way():
        assert ask(of(NEW))
        assert ask(of(OLD))
        if name != "search_v1":
            assert ask(QUERY)


class TestRefusals:
    def test_a_bare_vector(self, adapted: KeptAdapter, each_way: Any) -> None:
        for way in each_way():
            refuses(way, list(VECTORS[NEW.key]), UnversionedVectorError, "EM005")

    def test_a_model_that_the_adapter_was_not_made_for(self, adapted: KeptAdapter, each_way: Any) -> None:
        for way in each_way():
            for model in (OTHER.key, "new@2"):
                error = refuses(way, Embedding(VECTORS[NEW.key], model=model), ModelMismatchError, "EM005")
                assert "new@1" in str(error) or "new@1" in str(error.diag.message_hint)

    def test_a_vector_of_another_length(self, adapted: KeptAdapter, each_way: Any) -> None:
        for way in each_way():
            refuses(way, Embedding(VECTORS[NEW.key][:-1], model=NEW.key), DimensionError, "EM003")
            refuses(way, Embedding(VECTORS[OLD.key], model=NEW.key), DimensionError, "EM003")

    @pytest.mark.parametrize("changed", ["old", "new"])
    def test_a_changed_fingerprint_of_either_model(
        self, adapted: KeptAdapter, each_way: Any, conn: Connection, changed: str
    ) -> None:
        conn.execute("UPDATE embedmig.model SET fingerprint = 'another' WHERE name = %s", [changed])
        for way in each_way():
            refuses(way, of(NEW), AdapterUnusableError, "EM006")
            assert way[1](of(OLD))

    @pytest.mark.parametrize("cut", [0.5, {"v1": 0.5}])
    def test_a_cut_off_on_a_mapped_query(self, adapted: KeptAdapter, each_way: Any, cut: Any) -> None:
        for way in each_way():
            refuses(way, of(NEW), UsageError, "22023", max_distance=cut)
            assert way[1](of(OLD), max_distance=cut) is not None

    @pytest.mark.parametrize("pair", [(OTHER, OLD), (NEW, OTHER), (OLD, NEW)])
    def test_an_adapter_for_another_pair_cannot_stand_there(
        self, conn: Connection, db: Database, each_way: Any, pair: tuple[Model, Model]
    ) -> None:
        make_docs(conn)
        kept = keep_adapter(conn, made=pair, kind="procrustes")
        if pair[1] is not OLD:
            with pytest.raises(RefusedError, match="no slot of docs holds its vectors"):
                adapter_use(db, "docs", kept.name)
        # Even where the catalog was written by hand.
        adapters.mark_used(conn, kept, get_slot(conn, get_collection(conn, "docs"), "v1"))
        for way in each_way():
            refuses(way, of(NEW), ModelMismatchError, "EM005")
            assert way[1](of(OLD))

    def test_bytes_of_another_map_than_the_catalog_says(self, conn: Connection, db: Database, connect: Connect) -> None:
        make_docs(conn)
        kept = keep_adapter(conn, made=(OTHER, OLD), told=(NEW, OLD), kind="procrustes")
        with pytest.raises(AdapterUnusableError):
            adapter_use(db, "docs", kept.name)
        adapters.mark_used(conn, kept, get_slot(conn, get_collection(conn, "docs"), "v1"))
        with pytest.raises(AdapterUnusableError):
            connect().search(of(NEW))

    def test_after_it_was_dropped(self, adapted: KeptAdapter, each_way: Any, db: Database) -> None:
        ways = list(each_way())
        for _, ask in ways:
            assert ask(of(NEW))
        adapter_drop(db, "docs", adapted.name)
        for way in ways:
            refuses(way, of(NEW), ModelMismatchError, "EM005")
            assert way[1](of(OLD))


@pytest.mark.parametrize("target", ["column"], indirect=True)
def test_only_the_slot_that_it_stands_before_is_asked_through_it(
    target: Slot, conn: Connection, db: Database, connect: Connect
) -> None:
    adapter_use(db, "docs", keep_adapter(conn, kind="ridge").name)
    searcher = connect()
    assert searcher.explain(of(NEW)).adapter == "a1"
    set_share(conn, 100)
    explained = searcher.explain(of(NEW))
    assert (explained.slot, explained.adapter) == (target.name, None)
    with pytest.raises(ModelMismatchError):
        searcher.search(of(OLD))
    set_share(conn, 0)
    assert {hit.slot for hit in searcher.search(of(NEW), max_distance={target.name: 0.1})} == {"v1"}
    assert search_command(db, "docs", QUERY, explain=True).explanation.adapter == "a1"  # type: ignore[union-attr]


@pytest.mark.parametrize("target", ["column"], indirect=True)
def test_no_model_that_is_gone_is_loaded_ahead_or_for_shadow_reads(
    target: Slot, conn: Connection, db: Database, connect: Connect
) -> None:
    adapter_use(db, "docs", keep_adapter(conn, kind="ridge").name)
    models.update_model(conn, replace(OLD, state=ModelState.GONE))
    assert [model.key for model in ahead.models_to_come(read_serving(conn, "docs"))] == ["new@1", "new@1"]
    set_share(conn, 100)
    searcher = connect(shadow=ShadowOptions(share=1.0))
    assert searcher.search(QUERY)
    searcher.close()
    pair = conn.execute("SELECT overlap, not_shadowed, errors FROM embedmig.shadow").fetchone()
    assert pair is not None
    assert (sum(pair["overlap"]), pair["not_shadowed"], pair["errors"][0]) == (1, 0, 1)


def test_a_role_that_only_searches_needs_no_further_right(adapted: KeptAdapter, conn: Connection, db: Database) -> None:
    name = f"adapted_{conn.info.dbname}"
    role = sql.Identifier(name)
    conn.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    try:
        for grant in (
            "USAGE ON SCHEMA embedmig",
            "SELECT ON embedmig.route",
            "SELECT ON embedmig.slot",
            "SELECT ON docs",
        ):
            conn.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(grant), role))
        url = psycopg.conninfo.make_conninfo(db.url, options=f"-c role={name}")
        with Searcher.connect("docs", database_url=url) as searcher:
            assert searcher.search(of(NEW))
        with psycopg.connect(url) as reader:
            found = reader.execute(
                "SELECT count(*) FROM embedmig.search_v1('docs', %s::real[]::vector, 'new@1')",
                [VECTORS[NEW.key].tolist()],
            )
            assert found.fetchone() == (10,)
    finally:
        conn.execute(sql.SQL("DROP OWNED BY {}").format(role))
        conn.execute(sql.SQL("DROP ROLE {}").format(role))
