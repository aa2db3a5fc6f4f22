import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmig.embedders.hashing import HashingEmbedder
from embedmig.errors import UsageError

texts = st.lists(st.text(max_size=60), max_size=150)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@given(texts)
@settings(deadline=None)
def test_every_text_has_a_vector_of_unit_length(some: list[str]) -> None:
    vectors = HashingEmbedder(options={}).embed_documents(some)
    assert vectors.shape == (len(some), 32)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@given(texts, st.integers(1, 12))
@settings(deadline=None)
def test_a_vector_does_not_depend_on_the_batch_or_on_what_came_before(some: list[str], limit: int) -> None:
    together = HashingEmbedder(options={}, max_tokens=limit).embed_documents(some)
    alone = HashingEmbedder(options={}, max_tokens=limit)
    for text, vector in reversed(list(zip(some, together, strict=True))):
        assert np.array_equal(alone.embed_documents([text])[0], vector)


@given(st.text(max_size=40), st.text(max_size=40))
@settings(deadline=None)
def test_texts_that_differ_have_vectors_that_differ(a: str, b: str) -> None:
    first, second = HashingEmbedder(options={}).embed_documents([a, b])
    assert np.array_equal(first, second) == (a == b)


def test_texts_that_share_words_are_nearer_than_others() -> None:
    question, near, reordered, far = HashingEmbedder(options={"dimensions": 128}).embed_documents(
        [
            "how to parse json in python",
            "Parse JSON with python, quickly",
            "python in json parse to how",
            "the cat sat on a mat",
        ]
    )
    assert cosine(question, near) > 0.4
    assert abs(cosine(question, far)) < 0.3
    assert 0.97 < cosine(question, reordered) < 0.999


def test_seeds_are_different_spaces() -> None:
    some = [f"text number {i}" for i in range(50)]
    one, other = (HashingEmbedder(options={"seed": seed}).embed_documents(some) for seed in (1, 2))
    assert max(abs(cosine(a, b)) for a, b in zip(one, other, strict=True)) < 0.8


def test_another_process_gives_the_same_vectors() -> None:
    script = (
        "from embedmig.embedders.hashing import HashingEmbedder as H;"
        "print(H(options={'seed': 7}).embed_documents(['Grüße aus Łódź', ''])[:, :4].tolist())"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    here = HashingEmbedder(options={"seed": 7}).embed_documents(["Grüße aus Łódź", ""])[:, :4].tolist()
    assert shown.strip() == str(here)


def test_the_vectors_are_what_they_were_when_this_test_was_written() -> None:
    vector = HashingEmbedder(options={"dimensions": 4, "seed": 3}).embed_documents(["one two"])[0]
    np.testing.assert_allclose(vector, [0.58771, 0.14378, -0.783438, -0.141951], atol=1e-6)


def test_prompts_are_put_before_documents_and_queries_each_their_own() -> None:
    prompted = HashingEmbedder(options={}, document_prompt="passage: ", query_prompt="query: ")
    plain = HashingEmbedder(options={})
    assert np.array_equal(prompted.embed_documents(["a b"]), plain.embed_documents(["passage: a b"]))
    assert np.array_equal(prompted.embed_queries(["a b"]), plain.embed_queries(["query: a b"]))


def test_words_beyond_the_limit_make_no_difference_and_are_counted() -> None:
    limited = HashingEmbedder(options={}, max_tokens=3, document_prompt="p ")
    a, b, c = limited.embed_documents(["one two three four", "one two other", "one three"])
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert limited.count_tokens(["one two three four", ""]) == [5, 1]


def test_a_full_cache_of_words_changes_no_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    some = [f"word{i} and word{i + 1} again" for i in range(1_000)]
    whole = HashingEmbedder(options={}).embed_documents(some)
    monkeypatch.setattr("embedmig.embedders.hashing._CACHE_BYTES", 10_000)
    assert np.array_equal(HashingEmbedder(options={}).embed_documents(some), whole)


def test_threads_that_share_it_get_the_right_vectors() -> None:
    shared, results = HashingEmbedder(options={}), {}
    batches = [[f"thread {t} text {i}" for i in range(2_000)] for t in range(4)]

    def embed(number: int) -> None:
        results[number] = shared.embed_documents(batches[number])

    threads = [threading.Thread(target=embed, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, batch in enumerate(batches):
        assert np.array_equal(results[number], HashingEmbedder(options={}).embed_documents(batch))


def test_delay_is_slept_once_a_call() -> None:
    slow = HashingEmbedder(options={"delay_s": 0.1})
    started = time.perf_counter()
    slow.embed_documents(["a"] * 200)
    assert 0.1 <= time.perf_counter() - started < 10


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dims": 3}, "no option dims; there are: dimensions, seed, delay_s"),
        ({"dimensions": 0}, "dimensions from 1 on"),
        ({"dimensions": "32"}, "dimensions is a whole number, not '32'"),
        ({"seed": True}, "seed is a whole number, not True"),
        ({"delay_s": -1}, "delay_s from 0 on"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        HashingEmbedder(options=options)
