import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmig.embedders.probes import PROBE_SET, PROBES, make_long_probe

DIGESTS = {1: "1cfc66ea6d17c9af"}


def word_cosine(a: list[str], b: list[str]) -> float:
    words = sorted({*a, *b})
    x, y = (np.array([Counter(some)[word] for word in words], dtype=float) for some in (a, b))
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def test_the_texts_of_a_probe_set_never_change() -> None:
    whole = "\0".join([*PROBES, make_long_probe(None), make_long_probe(256)])
    assert hashlib.sha256(whole.encode()).hexdigest()[:16] == DIGESTS[PROBE_SET]


def test_the_probes_are_different_texts_of_several_scripts() -> None:
    assert len(set(PROBES)) == len(PROBES) >= 8
    for sample in "aПقは请ह🚲;":
        assert any(sample in probe for probe in PROBES), sample


@given(st.integers(1, 3_000))
@settings(deadline=None)
def test_the_long_probe_has_more_words_than_the_model_takes(limit: int) -> None:
    assert len(make_long_probe(limit).split()) > limit


@pytest.mark.parametrize("limit", [64, 128, 256, 512, 2_048, 8_192])
@pytest.mark.parametrize("changed", [0.5, 0.75, 15 / 16, 17 / 16, 1.25, 2.0])
def test_a_changed_limit_cuts_off_words_unlike_the_rest(limit: int, changed: float) -> None:
    words = make_long_probe(limit).split()
    assert word_cosine(words[:limit], words[: int(limit * changed)]) < 0.9995
