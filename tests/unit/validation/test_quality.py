"""Quality against the measures' definitions, by hand."""

from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmig.validation.quality import compare_quality, score_rankings

items = [f"d{n}" for n in range(15)]
rankings = st.lists(st.sampled_from(items), unique=True, max_size=15)
grades = st.dictionaries(st.sampled_from(items), st.integers(0, 3), min_size=1, max_size=10)


def _ndcg(ranking: list[str], judged: dict[str, int], k: int) -> float:
    """Linear gains: what trec_eval's ndcg_cut takes."""
    gains = [judged.get(item, 0) / log2(rank + 2) for rank, item in enumerate(ranking[:k])]
    ideal = [grade / log2(rank + 2) for rank, grade in enumerate(sorted(judged.values(), reverse=True)[:k])]
    return sum(gains) / sum(ideal)


@given(rankings, grades.filter(lambda judged: any(judged.values())))
@settings(max_examples=80, deadline=None)
def test_measures_are_those_of_their_definitions(ranking: list[str], judged: dict[str, int]) -> None:
    relevant = {item for item, grade in judged.items() if grade > 0}
    places = [rank for rank, item in enumerate(ranking, start=1) if item in relevant]
    found = {name: values[0] for name, values in score_rankings([ranking], [judged]).items()}
    assert found["nDCG@10"] == pytest.approx(_ndcg(ranking, judged, 10))
    assert found["R@100"] == pytest.approx(len(places) / len(relevant))
    assert found["RR"] == pytest.approx(1 / places[0] if places else 0)
    precisions = [n / place for n, place in enumerate(places, start=1)]
    assert found["AP"] == pytest.approx(sum(precisions) / len(relevant))


def test_queries_without_a_relevant_item_have_no_value_and_unfound_ones_have_zero() -> None:
    scores = score_rankings([["a"], ["b"], ["c"], []], [{}, {"b": 0}, {"x": 1}, {"x": 1}])
    assert np.isnan(scores["nDCG@10"][:2]).all()
    assert scores["nDCG@10"][2:].tolist() == [0, 0]


def test_the_order_given_counts_and_not_the_names() -> None:
    first, last = [*"abcdefghij", "z"], ["z", *"abcdefghij"]
    scores = score_rankings([first, last], [{"z": 1}, {"z": 1}], ["RR"])["RR"]
    assert scores.tolist() == pytest.approx([1 / 11, 1])


def test_a_comparison_is_paired_over_the_judged_queries_alone() -> None:
    source = {"RR": np.array([0.5, np.nan, 1.0, 0.2])}
    target = {"RR": np.array([1.0, np.nan, 1.0, 0.4])}
    (found,) = compare_quality(source, target, np.array([1.0, 50.0, 1.0, 2.0]))
    assert found.source.mean == pytest.approx((0.5 + 1 + 0.4) / 4)
    assert found.difference.mean == pytest.approx((0.5 + 0 + 0.4) / 4)
    assert found.difference.queries == 3
    differences, weights = np.array([0.5, 0, 0.2]), np.array([1, 1, 2])
    spread = np.sqrt(np.cov(differences, aweights=weights, ddof=0))
    assert found.effect_size == pytest.approx(found.difference.mean / spread)
    assert compare_quality({"RR": np.array([np.nan])}, {"RR": np.array([np.nan])}, np.ones(1)) == []
