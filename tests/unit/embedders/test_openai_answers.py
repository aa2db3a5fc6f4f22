import json
import math
from typing import Any

import numpy as np
import pytest
from embedding_server import encode

from embedmig.embedders.openai.answers import Answer, is_same_model, read_answer
from embedmig.embedders.openai.failures import Failure, Kind

VECTORS = np.array([[1, 0.1, -2], [0, 0.25, 3e-7], [7, 8, 9]], dtype=np.float32)


def item(index: Any, embedding: Any) -> dict[str, Any]:
    return {"object": "embedding", "index": index, "embedding": embedding}


def read(data: Any, *, texts: int = 3, dimensions: int | None = 3, **more: Any) -> Answer | Failure:
    body = json.dumps({"data": data, "model": "m", **more}).encode()
    return read_answer(body, texts=texts, answers_as="m", dimensions=dimensions)


GOOD = [item(index, encode(vector)) for index, vector in enumerate(VECTORS)]


def test_base64_and_lists_of_numbers_give_the_same_bits() -> None:
    as_text, as_list = read(GOOD), read([item(index, vector.tolist()) for index, vector in enumerate(VECTORS)])
    for answer in (as_text, as_list):
        assert isinstance(answer, Answer)
        assert answer.vectors.dtype == np.float32
        assert np.array_equal(answer.vectors, VECTORS)


def test_rows_are_put_in_order_by_their_index() -> None:
    answer = read([GOOD[2], GOOD[0], GOOD[1]])
    assert isinstance(answer, Answer)
    assert np.array_equal(answer.vectors, VECTORS)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 12, "total_tokens": 13}, 12),
        ({"total_tokens": 13}, 13),
        ({"prompt_tokens": 0, "total_tokens": 0}, None),
        ({"prompt_tokens": "many"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_billed_tokens_are_read_where_they_are_told(usage: Any, tokens: int | None) -> None:
    answer = read(GOOD, usage=usage)
    assert isinstance(answer, Answer)
    assert answer.tokens == tokens


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (GOOD[:2], "2 vectors for 3 texts"),
        ([], "0 vectors for 3 texts"),
        ([*GOOD, GOOD[0]], "4 vectors for 3 texts"),
        ([GOOD[0], GOOD[1], GOOD[1]], "two vectors of index 1"),
        ([*GOOD[:2], item(3, GOOD[2]["embedding"])], "none of a text"),
        ([*GOOD[:2], item(-1, GOOD[2]["embedding"])], "none of a text"),
        ([*GOOD[:2], item("2", GOOD[2]["embedding"])], "none of a text"),
        ([*GOOD[:2], item(True, GOOD[2]["embedding"])], "none of a text"),
        ([*GOOD[:2], {"embedding": GOOD[2]["embedding"]}], "none of a text"),
        ([*GOOD[:2], "nonsense"], "none of a text"),
        ([*GOOD[:2], item(2, [1.0, 2.0])], "several lengths"),
        ([*GOOD[:2], item(2, [1.0, None, "x"])], "vectors that are none"),
        ([*GOOD[:2], item(2, [[1.0], [2.0], [3.0]])], "vectors that are none"),
        ([*GOOD[:2], item(2, "%%%")], "vectors that are none"),
        ([*GOOD[:2], item(2, "AAAA")], "vectors that are none"),
        ([*GOOD[:2], item(2, None)], "vectors that are none"),
        ([*GOOD[:2], item(2, [])], "several lengths"),
        ([item(n, []) for n in range(3)], "vectors that are none"),
        (None, "without data"),
        ({"0": GOOD[0]}, "without data"),
    ],
)
def test_whatever_is_not_one_vector_a_text_is_garbled(data: Any, said: str) -> None:
    failure = read(data, usage={"prompt_tokens": 5})
    assert isinstance(failure, Failure)
    assert failure.kind is Kind.GARBLED
    assert said in failure.said


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"\xff\xfe", b'{"data": [{]}'])
def test_what_is_no_json_object_is_garbled(body: bytes) -> None:
    failure = read_answer(body, texts=1, answers_as="m", dimensions=None)
    assert isinstance(failure, Failure)
    assert failure.kind is Kind.GARBLED


def test_a_garbled_answer_was_billed_all_the_same() -> None:
    assert read(GOOD[:2], usage={"prompt_tokens": 5}).tokens == 5


def test_vectors_of_another_length_than_expected_are_another_model() -> None:
    failure = read(GOOD, dimensions=4)
    assert isinstance(failure, Failure)
    assert failure.kind is Kind.SETUP
    assert "3 dimensions, where 4 were expected" in failure.said
    assert isinstance(read(GOOD, dimensions=None), Answer)


def test_vectors_that_must_not_be_stored_come_through_for_their_rows_to_be_named() -> None:
    answer = read([item(0, [math.nan, 1, 1]), item(1, [math.inf, 1, 1]), item(2, [0, 0, 0])])
    assert isinstance(answer, Answer)
    assert np.isnan(answer.vectors[0, 0])
    assert np.isinf(answer.vectors[1, 0])


@pytest.mark.parametrize(
    ("asked", "named", "same"),
    [
        ("text-embedding-3-small", "text-embedding-3-small", True),
        ("text-embedding-ada-002", "text-embedding-ada-002-v2", True),
        ("nomic-embed-text", "nomic-embed-text:latest", True),
        ("nomic-embed-text:latest", "nomic-embed-text", True),
        ("bge-m3", "BGE-M3", True),
        ("embed@2", "embed@2-2026.01", True),
        ("text-embedding-3-small", "text-embedding-3-large", False),
        ("text-embedding-3", "text-embedding-3-small", False),
        ("nomic-embed-text-v2", "nomic-embed-text", False),
        ("embed-v1", "embed-v2", False),
        ("bge-m3", "my-bge-m3", False),
        ("m", "gpt", False),
    ],
)
def test_models_are_compared_by_name_up_to_a_version(asked: str, named: str, same: bool) -> None:
    assert is_same_model(asked, named) is same


@pytest.mark.parametrize("named", ["another", "another/model:v3"])
def test_an_answer_by_another_model_is_refused_and_names_it(named: str) -> None:
    failure = read(GOOD, model=named)
    assert isinstance(failure, Failure)
    assert failure.kind is Kind.SETUP
    assert f"by {named}, not by m" in failure.said


@pytest.mark.parametrize("named", [None, "", 7, {}])
def test_an_answer_that_names_no_model_cannot_be_compared(named: Any) -> None:
    assert isinstance(read(GOOD, model=named), Answer)


def test_a_name_that_is_none_is_not_repeated() -> None:
    failure = read(GOOD, model="the user's own words")
    assert isinstance(failure, Failure)
    assert "words" not in failure.said
