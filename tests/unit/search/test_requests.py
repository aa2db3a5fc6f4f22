"""What may be asked of a search, before anything is sent."""

from array import array
from typing import Any

import numpy as np
import pytest

from embedmig.errors import UnversionedVectorError, UsageError
from embedmig.search.request import make_request
from embedmig.types import Embedding

VECTOR = [0.1, 0.2, 0.3]


class TensorLike:
    def tolist(self) -> list[float]:
        return VECTOR


@pytest.mark.parametrize(
    "query",
    [VECTOR, tuple(VECTOR), np.array(VECTOR), np.float32(0.1), array("f", VECTOR), b"\x00\x01", TensorLike(), []],
    ids=["list", "tuple", "numpy", "scalar", "array", "bytes", "tensor", "empty"],
)
def test_a_bare_vector_is_refused_whatever_it_is_made_of(query: Any) -> None:
    with pytest.raises(UnversionedVectorError, match=f"a bare {type(query).__name__} names no model"):
        make_request(query)


@pytest.mark.parametrize("query", [None, 3, 0.5, {"model": "new@1"}, object()])
def test_what_is_neither_text_nor_embedding_is_refused(query: Any) -> None:
    with pytest.raises(UsageError, match="a query is text or an Embedding"):
        make_request(query)


@pytest.mark.parametrize("query", ["", "  \n"])
def test_an_empty_text_is_refused(query: str) -> None:
    with pytest.raises(UsageError, match="the query is empty"):
        make_request(query)


@pytest.mark.parametrize("k", [0, -1, 2.0, "10", True, None, 100_001])
def test_k_is_a_whole_number_from_1(k: Any) -> None:
    with pytest.raises(UsageError, match="k is a whole number from 1 to 100,000"):
        make_request("text", k)


@pytest.mark.parametrize("ef_search", [0, 1001, 40.0])
def test_ef_search_stays_within_what_hnsw_takes(ef_search: Any) -> None:
    with pytest.raises(UsageError, match="ef_search is a whole number from 1 to 1,000"):
        make_request("text", ef_search=ef_search)


def test_columns_are_a_list_and_params_need_a_condition() -> None:
    with pytest.raises(UsageError, match="columns is a list of names"):
        make_request("text", columns="title")
    with pytest.raises(UsageError, match="params without where"):
        make_request("text", params={"lang": "en"})


def test_a_text_routes_by_itself_and_an_embedding_by_no_key_unless_one_is_given() -> None:
    embedding = Embedding(VECTOR, model="new@1")
    assert make_request("text").routing_key == "text"
    assert make_request("text", routing_key="user").routing_key == "user"
    assert make_request("text", routing_key="").routing_key == ""
    assert make_request(embedding).routing_key is None
    assert make_request(embedding, routing_key="user").routing_key == "user"
