import json
import sys
from datetime import UTC, datetime

import numpy as np
import pytest

from embedmig.adapters import (
    Direction,
    Pairs,
    Provenance,
    StoredAdapter,
    apply_adapter,
    dump_adapter,
    load_adapter,
    read_adapter,
    select_adapter,
)
from embedmig.adapters.kinds import fit_adapter
from embedmig.embedders.fingerprint import Fingerprint
from embedmig.errors import AdapterUnusableError, UnsupportedError
from tests.unit.adapters.conftest import MakePairs

TEXTS = [f"text {number} of {number % 17}" for number in range(600)]


def _fingerprint(seed: int, d: int) -> Fingerprint:
    vectors = np.random.default_rng(seed).normal(size=(12, d)).astype(np.float32)
    return Fingerprint(vectors=vectors, compute_type="cpu/float32", tolerance=0.99999)


FINGERPRINTS = {"old@1": _fingerprint(0, 24), "new@1": _fingerprint(1, 32)}


def _provenance(direction: Direction, **more: object) -> Provenance:
    source, target = ("new@1", "old@1") if direction is Direction.QUERY else ("old@1", "new@1")
    return Provenance(
        direction=direction,
        source_model=source,
        target_model=target,
        n_pairs=600,
        seed=0,
        code_version="0.1.0",
        fitted_at=datetime(2026, 1, 2, tzinfo=UTC),
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("kind", "direction"),
    [
        ("procrustes", Direction.QUERY),
        ("centred", Direction.QUERY),
        ("ridge", Direction.QUERY),
        ("distilled", Direction.QUERY),
        ("ranking", Direction.QUERY),
        ("procrustes", Direction.BRIDGE),
        ("ridge", Direction.BRIDGE),
        ("text", Direction.BRIDGE),
    ],
)
def test_what_comes_back_maps_to_the_same_bits(kind: str, direction: Direction, make_pairs: MakePairs) -> None:
    pairs = make_pairs(600)
    pairs = Pairs(old=pairs.old, new=pairs.new, texts=TEXTS)
    adapter = fit_adapter(kind, pairs, direction)
    provenance = _provenance(direction, notes=("a note",), reason="why", collection="docs")
    loaded = load_adapter(dump_adapter(adapter, provenance, FINGERPRINTS), FINGERPRINTS)
    rows = pairs.new if direction is Direction.QUERY else pairs.old
    before, after = (apply_adapter(one, rows, TEXTS) for one in (adapter, loaded.adapter))
    assert before.tobytes() == after.tobytes()
    assert (loaded.kind, loaded.provenance) == (kind, provenance)
    assert loaded.adapter.get_params() == adapter.get_params()
    assert loaded.adapter.n_fit_ == 600
    assert loaded.farness is None


def test_scores_and_farness_come_back(make_pairs: MakePairs) -> None:
    pairs = make_pairs(600)
    selection = select_adapter(pairs, Direction.QUERY, kinds=["procrustes", "ridge"])
    assert selection.adapter is not None
    provenance = _provenance(Direction.QUERY, scores=selection.scores, reason=selection.reason)
    loaded = load_adapter(
        dump_adapter(selection.adapter, provenance, FINGERPRINTS, farness=selection.farness), FINGERPRINTS
    )
    assert loaded.provenance.scores == selection.scores
    assert loaded.score == selection.score
    assert selection.farness is not None
    assert loaded.farness is not None
    np.testing.assert_array_equal(loaded.farness.are_far(pairs.new), selection.farness.are_far(pairs.new))


@pytest.fixture
def stored(make_pairs: MakePairs) -> bytes:
    adapter = fit_adapter("ridge", make_pairs(600), Direction.BRIDGE)
    return dump_adapter(adapter, _provenance(Direction.BRIDGE), FINGERPRINTS)


@pytest.mark.parametrize("model", ["old@1", "new@1"])
def test_a_changed_fingerprint_of_either_model_makes_it_unusable(stored: bytes, model: str) -> None:
    now = FINGERPRINTS | {model: _fingerprint(5, FINGERPRINTS[model].vectors.shape[1])}
    with pytest.raises(AdapterUnusableError, match=f"{model} with another fingerprint"):
        load_adapter(stored, now)
    # It can still be shown.
    assert isinstance(read_adapter(stored), StoredAdapter)


def test_a_fingerprint_taken_on_another_machine_is_the_same(stored: bytes) -> None:
    def elsewhere(fingerprint: Fingerprint) -> Fingerprint:
        noise = np.random.default_rng(0).normal(size=fingerprint.vectors.shape) * 1e-5
        return Fingerprint(
            vectors=(fingerprint.vectors + noise).astype(np.float32), compute_type="cpu/float32", tolerance=0.99999
        )

    assert load_adapter(stored, {name: elsewhere(one) for name, one in FINGERPRINTS.items()}).kind == "ridge"


def test_a_model_that_is_not_there_makes_it_unusable(stored: bytes) -> None:
    with pytest.raises(AdapterUnusableError, match="old@1, which is not among the models"):
        load_adapter(stored, {"new@1": FINGERPRINTS["new@1"]})


def test_without_a_fingerprint_it_is_not_kept(make_pairs: MakePairs) -> None:
    adapter = fit_adapter("ridge", make_pairs(600), Direction.BRIDGE)
    with pytest.raises(AdapterUnusableError, match="new@1 is missing"):
        dump_adapter(adapter, _provenance(Direction.BRIDGE), {"old@1": FINGERPRINTS["old@1"]})


def test_damaged_bytes_are_refused_whatever_is_damaged(stored: bytes) -> None:
    for damaged in (b"", b"abc", stored[:-7], stored[:100], stored[8:], b"\xff" * 200):
        with pytest.raises(AdapterUnusableError, match="cannot be read"):
            load_adapter(damaged, FINGERPRINTS)


def test_a_later_format_is_refused(stored: bytes) -> None:
    with pytest.raises(AdapterUnusableError, match=r"has the format embedmig\.adapter/2"):
        load_adapter(stored.replace(b"embedmig.adapter/1", b"embedmig.adapter/2"), FINGERPRINTS)


def test_it_is_plain_safetensors_that_others_can_read(stored: bytes) -> None:
    length = int.from_bytes(stored[:8], "little")
    header = json.loads(stored[8 : 8 + length])
    assert header["weights_"]["shape"] == [24, 32]
    about = json.loads(header["__metadata__"]["embedmig"])
    assert about["provenance"]["source_model"] == "old@1"


def test_without_safetensors_it_says_what_to_install(stored: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(UnsupportedError, match=r"embedmig\[adapters\]"):
        load_adapter(stored, FINGERPRINTS)


def test_a_model_that_was_gone_when_it_was_registered_needs_no_fingerprint(make_pairs: MakePairs) -> None:
    adapter = fit_adapter("ridge", make_pairs(600), Direction.QUERY)
    known = {"old@1": None, "new@1": FINGERPRINTS["new@1"]}
    stored = dump_adapter(adapter, _provenance(Direction.QUERY), known)
    assert load_adapter(stored, known).fingerprints["old@1"] is None
    with pytest.raises(AdapterUnusableError, match=r"old@1 had none of the fingerprints .*, and it has one now"):
        load_adapter(stored, FINGERPRINTS)
    with pytest.raises(AdapterUnusableError, match=r"new@1 had one of the fingerprints .*, and it has none now"):
        load_adapter(stored, {"old@1": None, "new@1": None})
