"""Quality and rank-biased overlap against ranx and rbo, where both are installed: see docs/validation.md."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmig.validation.agreement import rank_biased_overlap
from embedmig.validation.quality import score_rankings

ranx = pytest.importorskip("ranx")
rbo = pytest.importorskip("rbo")

NAMES = {"nDCG@10": "ndcg@10", "R@100": "recall@100", "RR": "mrr", "AP": "map"}

items = [f"d{n}" for n in range(150)]
rankings = st.lists(st.sampled_from(items), unique=True, min_size=1, max_size=130)
judgments = st.dictionaries(st.sampled_from(items), st.integers(0, 3), min_size=1, max_size=40).filter(
    lambda grades: any(grades.values())
)


@given(st.lists(st.tuples(rankings, judgments), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_measures_are_ranxs(queries: list[tuple[list[str], dict[str, int]]]) -> None:
    # Neither library is told of a grade of 0: to ranx such an item counts as judged, to trec_eval as not relevant.
    qrels = {str(n): {item: grade for item, grade in grades.items() if grade} for n, (_, grades) in enumerate(queries)}
    run = {str(n): {item: float(-rank) for rank, item in enumerate(ranking)} for n, (ranking, _) in enumerate(queries)}
    ours = score_rankings([ranking for ranking, _ in queries], [grades for _, grades in queries])
    theirs = ranx.evaluate(
        ranx.Qrels(qrels), ranx.Run(run), list(NAMES.values()), return_mean=False, make_comparable=False
    )
    for name, theirs_name in NAMES.items():
        np.testing.assert_allclose(ours[name], theirs[theirs_name], atol=1e-9, err_msg=name)


@given(rankings, rankings, st.floats(0.5, 0.99))
@settings(max_examples=500, deadline=None)
def test_rank_biased_overlap_is_the_rbo_packages(a: list[str], b: list[str], p: float) -> None:
    assert rank_biased_overlap(a, b, p) == pytest.approx(rbo.RankingSimilarity(a, b).rbo_ext(p), abs=1e-9)
