"""Which requests are shadowed."""

import random

import pytest

from embedmig import ShadowOptions, UsageError
from embedmig.search.sampling import LABELS_KEPT, OTHER, Sampler
from embedmig.search.shadow_counts import Answer, Pairs, overlap_tenths


def _sampler(**options: float) -> Sampler:
    return Sampler(ShadowOptions(**options), random.Random(1).random, lambda: 0.0)  # type: ignore[arg-type]


def test_the_share_of_all_is_taken_by_chance() -> None:
    sampler = _sampler(share=0.1)
    drawn = sum(sampler.draw("") is True for _ in range(20_000))
    assert 1_850 < drawn < 2_150
    assert all(sampler.draw("") is not False for _ in range(1_000))


def test_a_rare_label_has_its_pairs_beside_a_frequent_one() -> None:
    sampler = _sampler(share=0.01, per_label_a_minute=5)
    rare = [sampler.draw("rare") for _ in range(6)]
    often = [sampler.draw("often") for _ in range(5_000)]
    assert sum(taken is not None for taken in rare) >= 5
    assert often.count(False) <= 5
    assert 25 < often.count(True) < 80


def test_each_minute_begins_anew() -> None:
    now = [0.0]
    sampler = Sampler(ShadowOptions(share=0, per_label_a_minute=2), random.Random(1).random, lambda: now[0])
    assert [sampler.draw("a") for _ in range(3)] == [False, False, None]
    now[0] = 60.0
    assert [sampler.draw("a") for _ in range(3)] == [False, False, None]


def test_labels_beyond_the_first_fifty_are_one() -> None:
    sampler = _sampler(share=0)
    names = {sampler.name(f"user {n}") for n in range(500)}
    assert len(names) == LABELS_KEPT + 1
    assert OTHER in names
    assert sampler.name("user 0") == "user 0"
    assert sampler.name(None) == ""


@pytest.mark.parametrize("wrong", [{"share": 1.1}, {"share": -0.1}, {"queue": 0}, {"per_label_a_minute": -1}])
def test_options_that_cannot_be_are_wrong_usage(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        ShadowOptions(**wrong)  # type: ignore[arg-type]


def test_overlap_is_the_share_of_the_longer_answer() -> None:
    ten = tuple(range(10))
    assert overlap_tenths(ten, ten) == 10
    assert overlap_tenths(ten, tuple(range(5, 15))) == 5
    assert overlap_tenths((1, 2), (2, 3)) == 5
    assert overlap_tenths((1, 2, 3), ()) == 0
    assert overlap_tenths((), ()) == 10


def test_pairs_tell_who_failed_and_who_found_nothing() -> None:
    pairs, more = Pairs(), Pairs()
    found, empty, failed = Answer((1, 2), 0.001, 0.002), Answer((), 0.001, 0.002), Answer(None)
    for source, target in ((found, found), (failed, found), (found, failed), (failed, failed), (found, empty)):
        more.pair(source, target)
        pairs.pair(source, target)
    assert pairs.errors == [2, 1, 1, 1]
    assert pairs.empty == [1, 0, 1, 0]
    assert (pairs.overlap[10], pairs.overlap[0], sum(pairs.overlap)) == (1, 1, 2)
    assert sum(pairs.source_latency.values()) == 3
    pairs.add(more)
    assert pairs.errors == [4, 2, 2, 2]
    assert pairs.target_embed_us == 2 * more.target_embed_us > 0
