"""The labelled queries: judged documents that exist, and questions that are not copied from them."""

import pytest

from embedmig.demo.corpus import Document, collect_documents
from embedmig.demo.queries import LabelledQuery, load_queries

NOT_IN_EVERY_PYTHON = {
    "crypt",
    "crypt.crypt",
    "crypt.mksalt",
    "ipaddress.IPv6Address.is_global",
    "ipaddress.IPv6Address.is_private",
    "pathlib.PurePath.stem",
    "pathlib.PurePath.suffix",
    "pathlib.PurePath.with_suffix",
}


@pytest.fixture(scope="module")
def queries() -> list[LabelledQuery]:
    return load_queries()


@pytest.fixture(scope="module")
def by_name() -> dict[str, Document]:
    return {document.name: document for document in collect_documents()}


def test_there_are_at_least_70_queries_all_different(queries: list[LabelledQuery]) -> None:
    assert len({query.text.casefold() for query in queries}) == len(queries) >= 70


def test_every_kind_of_question_is_asked(queries: list[LabelledQuery]) -> None:
    assert {query.kind for query in queries} == {"how-to", "concept", "name"}


def test_grades_are_1_and_2(queries: list[LabelledQuery]) -> None:
    assert {grade for query in queries for grade in query.relevant.values()} == {1, 2}


def test_every_query_has_an_answer_in_this_python(queries: list[LabelledQuery], by_name: dict[str, Document]) -> None:
    for query in queries:
        assert 2 in query.grades_among(by_name).values(), query.text


def test_judged_documents_exist_unless_python_versions_differ(
    queries: list[LabelledQuery], by_name: dict[str, Document]
) -> None:
    judged = {name for query in queries for name in query.relevant}
    assert judged - set(by_name) <= NOT_IN_EVERY_PYTHON


def test_grades_among_keeps_only_documents_that_are_there() -> None:
    query = LabelledQuery("a question", "how-to", {"json.loads": 2, "gone.name": 1})
    assert query.grades_among({"json.loads", "json.dumps"}) == {"json.loads": 2}


def test_questions_ask_of_many_modules(queries: list[LabelledQuery], by_name: dict[str, Document]) -> None:
    answers = {name for query in queries for name, grade in query.relevant.items() if grade == 2}
    assert len({by_name[name].module.split(".")[0] for name in answers & set(by_name)}) >= 40


def test_questions_are_not_copied_from_the_docstrings(
    queries: list[LabelledQuery], by_name: dict[str, Document]
) -> None:
    for query in queries:
        texts = [by_name[name].text.casefold() for name in query.grades_among(by_name)]
        if query.kind != "name":
            assert not [text for text in texts if query.text.casefold() in " ".join(text.split())], query.text
