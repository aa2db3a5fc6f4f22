import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from embedmig.embedders import Fingerprint, check_fingerprint, take_fingerprint
from embedmig.embedders.fingerprint import lowest_agreement
from embedmig.embedders.hashing import HashingEmbedder
from embedmig.embedders.probes import PROBES
from embedmig.errors import FingerprintError, ProviderError
from embedmig.types import Floats, Model

SETTINGS: Mapping[str, Any] = {"document_prompt": "passage: ", "query_prompt": "query: ", "max_tokens": 50}
OPTIONS = {"dimensions": 64, "seed": 5}
MODEL = Model(name="tiny", revision="1", provider="hashing", dimensions=64, options=OPTIONS, **SETTINGS)


def embedder(**changes: Any) -> HashingEmbedder:
    return HashingEmbedder(**{"options": OPTIONS, **SETTINGS, **changes})


class Shaken(HashingEmbedder):
    """Its vectors are off by a random direction of length ``by``: anew at each call, or always the same."""

    def __init__(self, by: float, *, anew: bool) -> None:
        super().__init__(options=OPTIONS, **SETTINGS)
        self.by, self.anew, self.random = by, anew, np.random.default_rng(0)

    def _embed(self, texts: Any, prompt: str) -> Floats:
        if not self.anew:
            self.random = np.random.default_rng(1)
        vectors = super()._embed(texts, prompt)
        noise = self.random.normal(size=vectors.shape if self.anew else (1, self.dimensions))
        return np.asarray(vectors + self.by * noise / np.linalg.norm(noise, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(scope="module")
def stored() -> Fingerprint:
    return take_fingerprint(MODEL, embedder())


def test_it_holds_the_probes_under_both_prompts_and_the_long_one(stored: Fingerprint) -> None:
    assert stored.vectors.shape == (2 * len(PROBES) + 1, 64)
    assert stored.compute_type == "cpu/float32"
    assert 0.99998 < stored.tolerance < 1


def test_the_same_model_loaded_again_passes(stored: Fingerprint) -> None:
    assert check_fingerprint(MODEL, stored, embedder()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {**OPTIONS, "seed": 6}},
        {"options": {**OPTIONS, "dimensions": 32}},
        {"document_prompt": ""},
        {"document_prompt": "passage; "},
        {"query_prompt": "passage: "},
        {"max_tokens": 49},
        {"max_tokens": 51},
        {"max_tokens": None},
    ],
    ids=str,
)
def test_whatever_changed_behind_the_name_trips_it(changes: dict[str, Any], stored: Fingerprint) -> None:
    with pytest.raises(FingerprintError, match="tiny@1 no longer gives the vectors it was registered with") as caught:
        check_fingerprint(MODEL, stored, embedder(**changes))
    assert caught.value.cosine < caught.value.tolerance == stored.tolerance


def test_weights_that_moved_a_little_trip_it_and_rounding_does_not(stored: Fingerprint) -> None:
    assert check_fingerprint(MODEL, stored, Shaken(1e-4, anew=False)) < 1
    with pytest.raises(FingerprintError):
        check_fingerprint(MODEL, stored, Shaken(0.01, anew=False))


def test_vectors_of_another_length_trip_it(stored: Fingerprint) -> None:
    class Doubled(HashingEmbedder):
        def _embed(self, texts: Any, prompt: str) -> Floats:
            return 2 * super()._embed(texts, prompt)

    with pytest.raises(FingerprintError):
        check_fingerprint(MODEL, stored, Doubled(options=OPTIONS, **SETTINGS))


def test_vectors_that_are_not_numbers_trip_it(stored: Fingerprint) -> None:
    with pytest.raises(FingerprintError):
        check_fingerprint(MODEL, stored, Shaken(float("nan"), anew=False))


def test_a_model_that_varies_by_itself_is_given_that_much() -> None:
    wavering = take_fingerprint(MODEL, Shaken(0.01, anew=True))
    assert 0.999 < wavering.tolerance < 0.9998
    assert check_fingerprint(MODEL, wavering, Shaken(0.01, anew=True)) >= wavering.tolerance


def test_the_tolerance_is_never_looser_than_the_floor() -> None:
    assert take_fingerprint(MODEL, Shaken(0.025, anew=True)).tolerance == 0.999


def test_a_model_that_does_not_agree_with_itself_is_refused() -> None:
    with pytest.raises(ProviderError, match="tiny@1 gives other vectors for the same texts"):
        take_fingerprint(MODEL, Shaken(0.2, anew=True))


def test_another_number_format_is_held_to_the_floor(stored: Fingerprint) -> None:
    other = Shaken(0.02, anew=False)
    with pytest.raises(FingerprintError):
        check_fingerprint(MODEL, stored, other)
    other.compute_type = "cuda/bfloat16"
    assert 0.999 < check_fingerprint(MODEL, stored, other) < stored.tolerance
    changed = Shaken(0.1, anew=False)
    changed.compute_type = "cuda/bfloat16"
    with pytest.raises(FingerprintError) as caught:
        check_fingerprint(MODEL, stored, changed)
    assert caught.value.tolerance == 0.999


def test_a_fingerprint_of_other_probes_is_not_compared(stored: Fingerprint) -> None:
    with pytest.raises(ProviderError, match="probe set 99"):
        check_fingerprint(MODEL, dataclasses.replace(stored, probe_set=99), embedder())


@given(
    arrays.arrays(np.float32, (5, 3), elements=st.floats(width=32)),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    st.floats(0.999, 1),
)
@settings(deadline=None)
def test_bytes_give_back_what_was_stored(vectors: Floats, compute_type: str, tolerance: float) -> None:
    first = Fingerprint(vectors=vectors, compute_type=compute_type, tolerance=tolerance)
    again = Fingerprint.from_bytes(first.to_bytes())
    np.testing.assert_array_equal(again.vectors, vectors)
    assert again.vectors.dtype == np.float32
    assert (again.compute_type, again.tolerance, again.probe_set) == (compute_type, tolerance, first.probe_set)


@pytest.mark.parametrize("cut", [0, 10, 200, -30])
def test_bytes_that_are_no_fingerprint_are_refused(cut: int, stored: Fingerprint) -> None:
    with pytest.raises(ProviderError, match="cannot be read"):
        Fingerprint.from_bytes(stored.to_bytes()[:cut])


def test_a_pickle_is_never_read(tmp_path: Any) -> None:
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ProviderError, match="cannot be read"):
        Fingerprint.from_bytes((tmp_path / "pickled.npy").read_bytes())


@given(arrays.arrays(np.float32, (4, 6), elements=st.floats(-8, 8, width=16)))
@settings(deadline=None)
def test_vectors_agree_fully_with_themselves(vectors: Floats) -> None:
    assert lowest_agreement(vectors, vectors) == pytest.approx(1)


@given(arrays.arrays(np.float32, (4, 6), elements=st.floats(0.5, 8, width=16)), st.floats(1.01, 10))
@settings(deadline=None)
def test_agreement_is_the_cosine_less_what_the_lengths_differ(vectors: Floats, factor: float) -> None:
    longer = (vectors * np.float32(factor)).astype(np.float32)
    assert lowest_agreement(vectors, longer) == pytest.approx(1 - (factor - 1) ** 2 / (2 * factor), abs=1e-4)


def test_a_row_of_zeros_agrees_with_zeros_only() -> None:
    zeros, ones = np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32)
    assert lowest_agreement(zeros, zeros) == 1
    assert lowest_agreement(zeros, ones) == 0
    assert lowest_agreement(ones, -ones) == pytest.approx(-1)
    assert lowest_agreement(ones, np.ones((2, 3), np.float32)) == 0
