"""Labels taken by themselves."""

import numpy as np
import pytest

from embedmig.validation.strata import split_by_label


def test_the_worst_label_comes_first_and_small_ones_do_not_decide() -> None:
    labels = ["good"] * 30 + ["bad"] * 30 + ["rare"] * 3
    overlaps = np.array([0.9, 1.0, 0.8] * 10 + [0.2, 0.3, 0.1] * 10 + [0.5] * 3)
    strata = split_by_label(labels, overlaps, np.full(63, np.nan), np.ones(63), fewest=20)
    assert [stratum.label for stratum in strata] == ["bad", "rare", "good"]
    assert [stratum.decides for stratum in strata] == [True, False, True]
    assert strata[0].overlap.mean == pytest.approx(0.2)
    assert strata[0].weight_share == pytest.approx(30 / 63)
    assert strata[0].quality is None


def test_quality_of_a_label_is_over_its_judged_queries_and_orders_before_overlap() -> None:
    differences = np.array([-0.2, -0.1, np.nan, 0.3, 0.1, 0.2])
    strata = split_by_label(list("aaabbb"), np.array([1.0] * 3 + [0.1] * 3), differences, np.ones(6), fewest=2)
    assert [stratum.label for stratum in strata] == ["a", "b"]
    assert strata[0].quality is not None
    assert strata[0].quality.mean == pytest.approx(-0.15)
    assert strata[0].quality.queries == 2


def test_intervals_are_wider_the_more_labels_decide() -> None:
    rng = np.random.default_rng(0)
    overlaps = rng.random(200)
    two = split_by_label(["a"] * 100 + ["b"] * 100, overlaps, np.full(200, np.nan), np.ones(200), fewest=20)
    five = split_by_label(
        [n for n in "abcde" for _ in range(40)], overlaps, np.full(200, np.nan), np.ones(200), fewest=20
    )
    assert [stratum.overlap.confidence for stratum in two] == pytest.approx([0.975] * 2)
    assert [stratum.overlap.confidence for stratum in five] == pytest.approx([0.99] * 5)


def test_one_label_or_none_is_no_split() -> None:
    assert split_by_label([None] * 3, np.ones(3), np.full(3, np.nan), np.ones(3), fewest=2) == []
    assert split_by_label(["x"] * 3, np.ones(3), np.full(3, np.nan), np.ones(3), fewest=2) == []
    assert len(split_by_label(["x", None], np.ones(2), np.full(2, np.nan), np.ones(2), fewest=2)) == 2
