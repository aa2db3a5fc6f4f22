"""Cut-offs: what passes before passes after."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmig.types import Distance
from embedmig.validation.cutoffs import Hits, describe_band, similarities, translate_cutoff


def _hits(distance: Distance, similar: np.ndarray, relevant: np.ndarray | None = None) -> Hits:
    distances = similarities(np.sort(similar, axis=1)[:, ::-1] if distance is not Distance.L2 else similar, distance)
    return Hits(distance=distance, distances=distances, weights=np.ones(len(similar)), relevant=relevant)


def _passing(hits: Hits, cutoff: float) -> float:
    similar = similarities(hits.distances, hits.distance)
    return float(np.mean(similar <= cutoff if hits.distance is Distance.L2 else similar >= cutoff))


@pytest.mark.parametrize("distance", Distance)
@given(seed=st.integers(0, 1000), quantile=st.floats(0.1, 0.9))
@settings(max_examples=15, deadline=None)
def test_the_new_cutoff_lets_the_same_share_through(distance: Distance, seed: int, quantile: float) -> None:
    rng = np.random.default_rng(seed)
    source = _hits(Distance.COSINE, rng.normal(0.7, 0.05, (40, 10)))
    target = _hits(distance, rng.normal(0.4, 0.15, (40, 10)))
    given_cutoff = float(np.quantile(similarities(source.distances, Distance.COSINE), quantile))
    found = translate_cutoff(given_cutoff, source, target, "share")
    assert found.equivalent is not None
    assert found.kept == pytest.approx(_passing(source, given_cutoff))
    assert _passing(target, found.equivalent) == pytest.approx(found.kept, abs=1 / 400)
    assert found.kept_unchanged == pytest.approx(_passing(target, given_cutoff))
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.equivalent <= found.high


def test_the_interval_of_a_cutoff_holds_the_populations() -> None:
    rng = np.random.default_rng(8)
    inside = 0
    for _ in range(60):
        source, target = (_hits(Distance.COSINE, rng.normal(mean, 0.1, (60, 10))) for mean in (0.7, 0.3))
        found = translate_cutoff(0.7, source, target, "share")
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0.3 <= found.high
    assert inside >= 53


def test_the_widest_cutoff_that_is_as_precise() -> None:
    old = Hits(
        distance=Distance.COSINE,
        distances=np.array([[0.1, 0.2, 0.5]]),
        weights=np.ones(1),
        relevant=np.array([[1.0, 0.0, 0.0]]),
    )
    new = Hits(
        distance=Distance.COSINE,
        distances=np.array([[0.3, 0.4, 0.6]]),
        weights=np.ones(1),
        relevant=np.array([[0.0, 1.0, 0.0]]),
    )
    found = translate_cutoff(0.75, old, new, "precision")
    assert found.kept == 0.5
    assert found.equivalent == pytest.approx(0.6)
    unreachable = translate_cutoff(0.85, old, new, "precision")
    assert unreachable.kept == 1.0
    assert unreachable.equivalent is None
    assert "no cut-off" in unreachable.note
    nothing = translate_cutoff(0.99, old, new, "precision")
    assert nothing.kept is None
    assert nothing.equivalent is None


@pytest.mark.parametrize(("cutoff", "said"), [(2.0, "no row"), (-2.0, "every row")])
def test_a_cutoff_that_cuts_nothing_or_everything_is_not_translated(cutoff: float, said: str) -> None:
    hits = _hits(Distance.COSINE, np.random.default_rng(0).random((5, 10)))
    found = translate_cutoff(cutoff, hits, hits, "share")
    assert found.equivalent is None
    assert said in found.note


def test_weights_count_in_the_share_and_missing_rows_do_not() -> None:
    source = Hits(
        distance=Distance.COSINE, distances=np.array([[0.1, np.nan], [0.6, 0.7]]), weights=np.array([4.0, 1.0])
    )
    found = translate_cutoff(0.5, source, source, "share")
    assert found.kept == pytest.approx(4 / 6)
    assert describe_band(source).nearest[2] == pytest.approx(0.65)
