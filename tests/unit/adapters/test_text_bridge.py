import sys

import numpy as np
import pytest
from scipy import sparse

from embedmig.adapters import Pairs, RidgeAdapter, TextBridge, text_bridge
from embedmig.errors import AdapterInputError, AdapterNotFittedError, UnsupportedError
from embedmig.types import Floats

WORDS = [f"word{number}" for number in range(120)]


def _unit(rows: Floats) -> Floats:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _texts_and_vectors(n: int, seed: int) -> tuple[list[str], Pairs]:
    """Texts are bags of words; the old model sees half of what the new one sees of each."""
    meanings = np.random.default_rng(7).normal(size=(len(WORDS), 32))
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(len(WORDS), 8, replace=False) for _ in range(n)]
    texts = [" ".join(WORDS[word] for word in row) for row in chosen]
    new = np.stack([meanings[row].sum(axis=0) for row in chosen])
    return texts, Pairs(old=_unit(new[:, :16]), new=_unit(new), texts=texts)


def test_words_give_back_what_the_old_vector_lost() -> None:
    texts, pairs = _texts_and_vectors(1500, 0)
    fresh_texts, fresh = _texts_and_vectors(300, 1)
    without = RidgeAdapter().fit(pairs.old, pairs.new).score(fresh.old, fresh.new)
    bridge = TextBridge(n_features=4096).fit(pairs.old, pairs.new, texts)
    assert bridge.n_steps_ > 0
    assert bridge.score(fresh.old, fresh.new, fresh_texts) > without + 0.1


def test_texts_that_say_nothing_leave_the_vectors_map() -> None:
    _, pairs = _texts_and_vectors(800, 0)
    silent = [""] * 800
    bridge, ridge = TextBridge().fit(pairs.old, pairs.new, silent), RidgeAdapter().fit(pairs.old, pairs.new)
    np.testing.assert_allclose(bridge.transform(pairs.old, silent), ridge.transform(pairs.old), atol=1e-3)


def test_the_steps_lead_to_the_exact_solution() -> None:
    rng = np.random.default_rng(0)
    X, Y, T = (rng.normal(size=(400, d)).astype(np.float32) for d in (6, 5, 9))
    problem = text_bridge._Problem(X, Y, sparse.csr_matrix(T), penalty=3.0)
    for _ in range(9):
        problem.step()
    weights, text_weights, bias = problem.solution()
    both = np.concatenate([X, T], axis=1).astype(np.float64)
    centred = both - both.mean(axis=0)
    penalties = np.diag([problem.alpha] * 6 + [3.0] * 9)
    exact = np.linalg.solve(centred.T @ centred + penalties, centred.T @ (Y - Y.mean(axis=0)))
    np.testing.assert_allclose(np.concatenate([weights, text_weights]), exact, atol=1e-3)
    np.testing.assert_allclose(bias, Y.mean(axis=0) - both.mean(axis=0) @ exact, atol=1e-3)


def test_same_input_and_seed_give_the_same_bits() -> None:
    texts, pairs = _texts_and_vectors(600, 0)
    first, second = (TextBridge(n_features=512, seed=3).fit(pairs.old, pairs.new, texts) for _ in range(2))
    assert first.text_weights_.tobytes() == second.text_weights_.tobytes()


def test_blocks_do_not_show_and_out_is_filled() -> None:
    texts, pairs = _texts_and_vectors(600, 0)
    bridge = TextBridge(n_features=512).fit(pairs.old, pairs.new, texts)
    out = np.empty((5400, 32), np.float32)
    many = bridge.transform(np.tile(pairs.old, (9, 1)), texts * 9, out)
    assert many is out
    np.testing.assert_allclose(many[-600:], bridge.transform(pairs.old, texts), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, atol=1e-6)


def test_another_number_of_texts_is_refused() -> None:
    texts, pairs = _texts_and_vectors(600, 0)
    with pytest.raises(AdapterInputError, match="600 rows need 600 texts"):
        TextBridge().fit(pairs.old, pairs.new, texts[:-1])
    bridge = TextBridge(n_features=512).fit(pairs.old, pairs.new, texts)
    with pytest.raises(AdapterInputError, match="one each"):
        bridge.transform(pairs.old, "one text")
    with pytest.raises(AdapterInputError, match="16 dimensions"):
        bridge.transform(pairs.new, texts)


def test_before_fit_it_says_so() -> None:
    with pytest.raises(AdapterNotFittedError):
        TextBridge().transform(np.ones((1, 3), np.float32), ["a"])


def test_at_most_max_pairs_are_used() -> None:
    texts, pairs = _texts_and_vectors(900, 0)
    assert TextBridge(n_features=512, max_pairs=600).fit(pairs.old, pairs.new, texts).n_fit_ == 600


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    texts, pairs = _texts_and_vectors(600, 0)
    with pytest.raises(UnsupportedError, match=r"embedmig\[adapters\]"):
        TextBridge().fit(pairs.old, pairs.new, texts)
