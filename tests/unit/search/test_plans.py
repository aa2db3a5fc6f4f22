"""Plans: the statement, what it proves, and what its rows mean."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embedmig.errors import DimensionError, ModelMismatchError, NotFoundError, RefusedError, UsageError
from embedmig.search.plan import SearchPlan, View, make_view, plan, require_pin_allowed
from embedmig.search.request import make_request
from embedmig.search.routing import Pin
from embedmig.types import Distance, Embedding
from tests.unit.search.servings import DOCS, NEW, V1, V2, V2_APART, hnsw, migrating, settled

OLD_QUERY = Embedding([0.6, 0.8], model="old@1")
NEW_QUERY = Embedding([0.6, 0.8, 0.0], model="new@1")
PIN = Pin(value="new", variable="EMBEDMIG_ACTIVE_INDEX")


def planned(query: Embedding, view: View, k: int = 10, **options: Any) -> SearchPlan:
    request = make_request(query, k, **options)
    return plan(query, view, view.choose(request.routing_key), request)


def sql_of(query: Embedding, view: View, k: int = 10, **options: Any) -> str:
    return planned(query, view, k, **options).sql.decode()


def on_target(**changes: Any) -> View:
    return make_view(migrating(share_bp=10_000, **changes), None)


def test_the_statement_proves_the_epoch_it_was_planned_for() -> None:
    found = planned(OLD_QUERY, make_view(migrating(epoch=7), None))
    assert "(SELECT true FROM embedmig.route AS embedmig_route WHERE embedmig_route.group_name = " in found.sql.decode()
    assert (found.params["embedmig_group"], found.params["embedmig_epoch"]) == ("docs", 7)


def test_a_pinned_statement_names_its_slot_instead() -> None:
    found = planned(NEW_QUERY, make_view(migrating(), PIN))
    assert "embedmig.route" not in found.sql.decode()
    assert "embedmig_slot.id = %(embedmig_slot_id)s AND embedmig_slot.dropped_at IS NULL" in found.sql.decode()
    assert found.params["embedmig_slot_id"] == V2.id


def test_a_query_of_another_model_is_refused_with_what_is_served() -> None:
    with pytest.raises(ModelMismatchError) as caught:
        planned(NEW_QUERY, make_view(migrating(epoch=7), None))
    error = caught.value
    assert (error.query_model, error.slot_model, error.slot, error.epoch) == ("new@1", "old@1", "v1", 7)


def test_another_revision_of_the_same_model_is_another_model() -> None:
    with pytest.raises(ModelMismatchError):
        planned(Embedding([0.6, 0.8], model="old@2"), make_view(migrating(), None))


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(DimensionError, match="the vector has 3 dimensions, old@1 has 2"):
        planned(Embedding([0.6, 0.8, 0.0], model="old@1"), make_view(migrating(), None))


def test_rows_become_hits_nearest_first() -> None:
    hits = planned(NEW_QUERY, on_target()).hits([(5, 0.3, False, True), (4, 0.1, True, False)])
    assert [(hit.key, hit.distance, hit.slot, hit.model, hit.stale) for hit in hits] == [
        (4, 0.1, "v2", "old@1->new@1", False),
        (5, 0.3, "v2", "new@1", True),
    ]


def test_a_key_of_several_columns_is_a_tuple_and_columns_come_by_name() -> None:
    key = (*DOCS.key, replace(DOCS.key[0], name="part"))
    view = on_target(collection=replace(DOCS, key=key))
    hits = planned(NEW_QUERY, view, columns=["title", "lang"]).hits([(5, "b", 0.3, False, False, "A title", "en")])
    assert hits[0].key == (5, "b")
    assert hits[0].columns == {"title": "A title", "lang": "en"}


def test_names_reach_sql_as_identifiers_only() -> None:
    odd = 'x"; DROP TABLE docs; --'
    collection = replace(DOCS, schema=odd, table=odd, key=(replace(DOCS.key[0], name=odd),), text_columns=(odd,))
    text = sql_of(NEW_QUERY, on_target(collection=collection, target=replace(V2_APART, table=odd)), columns=[odd])
    quoted = '"x""; DROP TABLE docs; --"'
    assert text.replace(quoted, "").find("DROP") == -1
    assert f'"d".{quoted}' in text


def test_conditions_leave_out_rows_without_a_vector_or_of_another_model() -> None:
    text = sql_of(NEW_QUERY, on_target()).replace(" ", "")
    assert '"d"."embedding_v2"ISNOTNULL' in text
    assert f'"d"."embedding_v2_model"IN({V2.model.id},{V2.bridge_model_id})' in text


def test_the_row_filter_of_the_collection_and_the_callers_condition_both_hold() -> None:
    view = on_target(collection=replace(DOCS, row_filter="lang LIKE 'e%'"))
    text = sql_of(NEW_QUERY, view, where="id > 3 -- a comment")
    assert "AND (\nlang LIKE 'e%%'\n) AND (\nid > 3 -- a comment\n) ORDER BY" in text


def test_stale_rows_are_told_and_hidden_where_the_collection_wants_it() -> None:
    hidden = replace(DOCS, hide_stale=True)
    assert "NOT (" not in sql_of(NEW_QUERY, on_target())
    assert "AND NOT (" in sql_of(NEW_QUERY, on_target(collection=hidden))
    assert "IS DISTINCT FROM md5(" in sql_of(NEW_QUERY, on_target())
    # The source as it was found has no hash: nothing there is called stale.
    assert "md5(" not in sql_of(OLD_QUERY, make_view(migrating(collection=hidden), None))


def test_a_companion_is_joined_under_names_that_no_condition_can_mean() -> None:
    text = sql_of(NEW_QUERY, on_target(target=V2_APART))
    assert 'FROM (SELECT "id" AS "embedmig_key1", "embedding" AS "embedmig_vector"' in text
    assert 'FROM "embedmig"."docs_v2") AS s JOIN "public"."docs" AS d ON "d"."id" = "s"."embedmig_key1"' in text


def test_k_stands_in_the_text_for_the_planner() -> None:
    assert sql_of(NEW_QUERY, on_target(), 7).endswith("LIMIT 7")


class TestSettingsOfTheIndexScan:
    def test_an_unfiltered_search_within_the_default_sets_nothing(self) -> None:
        assert "set_config" not in sql_of(NEW_QUERY, on_target(), 40)

    def test_a_filter_makes_the_scan_go_on_until_k_rows_are_found(self) -> None:
        wanted = "set_config('hnsw.iterative_scan', 'relaxed_order', true)"
        hidden, scoped = replace(DOCS, hide_stale=True), replace(DOCS, row_filter="true")
        assert wanted in sql_of(NEW_QUERY, on_target(), where="lang = 'en'")
        assert wanted in sql_of(NEW_QUERY, on_target(collection=hidden))
        assert wanted in sql_of(NEW_QUERY, on_target(collection=scoped))
        assert wanted in sql_of(NEW_QUERY, on_target(target=V2_APART))

    def test_more_hits_than_the_default_raise_ef_search_and_never_lower_it(self) -> None:
        text = sql_of(NEW_QUERY, on_target(), 100)
        assert "set_config('hnsw.ef_search', greatest(100, current_setting('hnsw.ef_search', true)::int)::text" in text

    @pytest.mark.parametrize(("k", "asked", "set_to"), [(10, 200, 200), (10, 20, 20), (100, 20, 100), (2000, 20, 1000)])
    def test_ef_search_as_asked_but_never_below_k(self, k: int, asked: int, set_to: int) -> None:
        text = sql_of(NEW_QUERY, on_target(), k, ef_search=asked)
        assert f"set_config('hnsw.ef_search', '{set_to}', true)" in text

    def test_ivfflat_has_its_own_names(self) -> None:
        view = on_target(indexes={V2.id: (hnsw(kind="ivfflat"),)})
        assert "set_config('ivfflat.iterative_scan'" in sql_of(NEW_QUERY, view, where="lang = 'en'")
        assert "ef_search" not in sql_of(NEW_QUERY, view, 100, ef_search=200)


class TestIndexes:
    @pytest.mark.parametrize(
        "index",
        [
            hnsw(valid=False),
            hnsw("vector_l2_ops"),
            hnsw(expression="(subvector(embedding_v2, 1, 2)::vector(2))"),
            hnsw("halfvec_cosine_ops", expression="(embedding_v2::halfvec(2))"),
        ],
        ids=["invalid", "another distance", "a part of the vector", "another length"],
    )
    def test_without_a_usable_index_every_row_is_compared(self, index: Any) -> None:
        found = planned(NEW_QUERY, on_target(indexes={V2.id: (index,)}), where="true")
        assert found.statement.index is None
        assert 'ORDER BY ("d"."embedding_v2" <=> %(embedmig_query)s) + 0 LIMIT' in found.sql.decode()
        assert "set_config" not in found.sql.decode()

    def test_an_exact_search_leaves_the_index_alone(self) -> None:
        assert "+ 0 LIMIT" in sql_of(NEW_QUERY, on_target(), exact=True)

    def test_the_models_own_distance_is_used(self) -> None:
        target = replace(V2, model=replace(NEW, distance=Distance.INNER_PRODUCT))
        view = on_target(target=target, indexes={V2.id: (hnsw("vector_ip_ops"),)})
        assert 'ORDER BY ("d"."embedding_v2" <#> %(embedmig_query)s) LIMIT' in sql_of(NEW_QUERY, view)

    def test_a_halfvec_column_is_compared_with_a_halfvec(self) -> None:
        target = replace(V2, vector_type="halfvec")
        view = on_target(target=target, indexes={V2.id: (hnsw("halfvec_cosine_ops"),)})
        assert 'ORDER BY ("d"."embedding_v2" <=> %(embedmig_query)s::halfvec) LIMIT' in sql_of(NEW_QUERY, view)

    def test_a_halfvec_index_over_a_vector_column_is_met_in_its_expression(self) -> None:
        index = hnsw("halfvec_cosine_ops", expression="(embedding_v2::halfvec(3))")
        text = sql_of(NEW_QUERY, on_target(indexes={V2.id: (index,)}))
        assert 'ORDER BY (("d"."embedding_v2"::halfvec(3)) <=> %(embedmig_query)s::halfvec) LIMIT' in text

    def test_an_index_over_a_sized_cast_of_an_unsized_column_is_met(self) -> None:
        index = hnsw("vector_cosine_ops", expression="(embedding_v2::vector(3))")
        text = sql_of(NEW_QUERY, on_target(indexes={V2.id: (index,)}))
        assert 'ORDER BY (("d"."embedding_v2"::vector(3)) <=> %(embedmig_query)s) LIMIT' in text

    def test_a_binary_quantised_index_finds_candidates_that_are_ranked_again(self) -> None:
        index = hnsw("bit_hamming_ops", expression="(binary_quantize(embedding_v2)::bit(3))")
        text = sql_of(NEW_QUERY, on_target(indexes={V2.id: (index,)}), 20)
        assert "<~> binary_quantize(%(embedmig_query)s)::bit(3) LIMIT 200) AS found" in text
        assert text.endswith("AS found ORDER BY embedmig_distance LIMIT 20")
        assert "greatest(200, current_setting('hnsw.ef_search'" in text

    def test_the_slots_own_index_comes_before_others(self) -> None:
        target = replace(V2, index_name="mine")
        indexes = (hnsw(name="a"), hnsw(name="mine"))
        assert planned(NEW_QUERY, on_target(target=target, indexes={V2.id: indexes})).statement.index == "mine"


class TestCutOffs:
    ROWS = ((1, 0.2, False, False), (2, 0.5, False, False))

    @pytest.mark.parametrize(
        ("cut", "keys"), [({"v2": 0.4}, [1]), ({"v1": 0.1}, [1, 2]), (None, [1, 2]), ({"v2": 0.5}, [1, 2])]
    )
    def test_each_slot_has_its_own(self, cut: Any, keys: list[int]) -> None:
        assert [hit.key for hit in planned(NEW_QUERY, on_target(), max_distance=cut).hits(self.ROWS)] == keys

    def test_one_number_while_two_slots_live_is_refused(self) -> None:
        with pytest.raises(UsageError, match="one max_distance for slots v1 and v2"):
            planned(NEW_QUERY, on_target(), max_distance=0.4)

    def test_one_number_is_enough_for_one_slot(self) -> None:
        found = planned(NEW_QUERY, make_view(settled(V2), None), max_distance=0.4)
        assert [hit.key for hit in found.hits(self.ROWS)] == [1]

    def test_a_slot_that_was_dropped_may_stay_in_the_table_and_a_misspelt_one_may_not(self) -> None:
        view = make_view(settled(V2), None)
        assert planned(NEW_QUERY, view, max_distance={"v1": 0.1, "v2": 0.4}).max_distance == 0.4
        with pytest.raises(UsageError, match="max_distance names slot V2; there are: v2"):
            planned(NEW_QUERY, view, max_distance={"V2": 0.4})


class TestPins:
    def test_a_target_that_is_filled_indexed_and_without_failures_may_be_pinned(self) -> None:
        require_pin_allowed(make_view(migrating(), PIN))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"target": replace(V2, filled_at=None)}, "which was never filled: embedmig reembed docs"),
            ({"failing": frozenset([V2.id])}, "which has rows that could not be embedded"),
            ({"indexes": {V2.id: (hnsw(valid=False),)}}, "which has no valid index: embedmig index docs"),
            ({"indexes": {}}, "which has no valid index"),
        ],
        ids=["never filled", "failures", "invalid index", "no index"],
    )
    def test_a_target_that_is_not_ready_may_not(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(
            RefusedError, match=f"EMBEDMIG_ACTIVE_INDEX=new pins this process to slot v2 of docs, {message}"
        ):
            require_pin_allowed(make_view(migrating(**changes), PIN))

    def test_a_pin_to_the_source_always_goes(self) -> None:
        bare = migrating(source=replace(V1, filled_at=None), indexes={}, failing=frozenset([V1.id, V2.id]))
        require_pin_allowed(make_view(bare, Pin(value="old", variable="X")))

    def test_a_pin_to_the_only_slot_always_goes(self) -> None:
        require_pin_allowed(make_view(settled(replace(V2, filled_at=None)), PIN))

    def test_a_pin_to_no_slot_is_refused(self) -> None:
        with pytest.raises(NotFoundError):
            make_view(migrating(), Pin(value="v3", variable="X"))


def test_statements_are_written_once_and_their_number_is_bounded() -> None:
    view = on_target()
    first = planned(NEW_QUERY, view).statement
    assert planned(Embedding(np.ones(3), model="new@1"), view).statement is first
    for k in range(1, 600):
        planned(NEW_QUERY, view, k)
    assert len(view.statements) <= 256


def test_the_explanation_names_slot_model_index_and_reason() -> None:
    found = planned(NEW_QUERY, on_target()).explain()
    assert (found.collection, found.slot, found.model, found.epoch, found.index) == (
        "docs",
        "v2",
        "new@1",
        7,
        "docs_hnsw",
    )
    assert found.pin is None
    assert "100 %" in found.why
    assert planned(NEW_QUERY, make_view(migrating(), PIN)).explain().pin == "new"
