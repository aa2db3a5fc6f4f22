"""Gathering queries: each text once, with what belongs to it."""

import pytest

from embedmig.errors import UsageError
from embedmig.validation.queries import Query, add_judgments, gather_queries


def test_repeated_texts_become_one_whose_weights_and_judgments_unite() -> None:
    found = gather_queries(
        [
            Query(text="parse  json ", weight=3, relevant={("a",): 1, ("b",): 2}),
            Query(text=" ", weight=1),
            Query(text="parse json", relevant={("a",): 2}),
            Query(text="parse json"),
            Query(text="read a file"),
        ],
        "a list",
    )
    assert [query.text for query in found.queries] == ["parse json", "read a file"]
    assert found.queries[0].weight == 5
    assert found.queries[0].relevant == {("a",): 2, ("b",): 2}
    assert (found.given, found.repeated, found.empty, found.judged) == (5, 2, 1, 1)


def test_one_text_under_two_labels_stays_two_queries() -> None:
    found = gather_queries([Query(text="help", label="en"), Query(text="help", label="de")], "a list")
    assert [query.label for query in found.queries] == ["en", "de"]


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(UsageError, match="weight"):
        gather_queries([Query(text="x", weight=weight)], "a list")


@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_no_query_at_all_is_refused(texts: list[str]) -> None:
    with pytest.raises(UsageError, match=r"no queries in q\.txt"):
        gather_queries([Query(text=text) for text in texts], "q.txt")


def test_judgments_go_to_the_queries_of_their_id() -> None:
    queries = [Query(text="a", id="1", relevant={("x",): 1}), Query(text="b", id="2")]
    joined = add_judgments(queries, {"1": {("y",): 2}}, "qrels.tsv")
    assert joined[0].relevant == {("x",): 1, ("y",): 2}
    assert joined[1].relevant is None
    with pytest.raises(UsageError, match=r"no query has an id that qrels\.tsv judges"):
        add_judgments(queries, {"7": {("y",): 2}}, "qrels.tsv")
