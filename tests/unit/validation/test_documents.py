"""Rows of one document, and rows that serve as queries."""

import numpy as np

from embedmig.validation.documents import leave_out, take_documents
from embedmig.validation.query_sources import first_sentence
from embedmig.validation.running_top_k import Ranking

RANKING = Ranking(keys=(("1",), ("2",), ("3",), ("4",)), distances=np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32))


def test_a_document_stands_once_where_its_nearest_row_is() -> None:
    found = take_documents(RANKING, {("1",): "b", ("2",): "a", ("3",): "b", ("4",): None})
    assert found.keys == (("b",), ("a",), ("", "4"))
    assert found.distances.tolist() == RANKING.distances[[0, 1, 3]].tolist()


def test_a_row_that_asks_does_not_find_itself() -> None:
    assert leave_out(RANKING, ("2",), 2).keys == (("1",), ("3",))
    assert leave_out(RANKING, ("9",), 3).keys == (("1",), ("2",), ("3",))


def test_the_first_sentence_ends_at_a_full_stop_before_a_blank() -> None:
    assert first_sentence(" Version 3.11 parses it. Then it stops.") == "Version 3.11 parses it."
    assert first_sentence("A heading\n\nand a body") == "A heading"
    assert first_sentence("") == ""
