"""Files of queries and judgments, good and bad."""

from pathlib import Path

import pytest

from embedmig.errors import UsageError
from embedmig.validation.query_files import read_judgments, read_queries


def _file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_json_lines_carry_judgments_labels_and_weights(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        "q.jsonl",
        '{"query": "parse json", "relevant": {"json.loads": 2, "7": 1}, "label": "how-to", "weight": 3, "id": "q1"}\n'
        "\n"
        '{"text": "read", "relevant": ["a", 7], "kind": "name"}\n'
        '{"query": "composite", "relevant": [["de", 17], {"key": ["en", "3"], "grade": 2}]}\n'
        '{"query": "alone"}\n',
    )
    first, second, third, last = read_queries(path)
    assert (first.text, first.id, first.label, first.weight) == ("parse json", "q1", "how-to", 3.0)
    assert first.relevant == {("json.loads",): 2, ("7",): 1}
    assert (second.id, second.label, second.relevant) == ("3", "name", {("a",): 1, ("7",): 1})
    assert third.relevant == {("de", "17"): 1, ("en", "3"): 2}
    assert (last.relevant, last.label, last.weight) == (None, None, 1.0)


def test_tables_have_the_same_fields_as_columns(tmp_path: Path) -> None:
    path = _file(
        tmp_path, "q.csv", 'id,query,relevant,weight\n1,"parse, json",a; b,2\n2,read,"{""c"": 3}",\n3,alone,,\n'
    )
    first, second, third = read_queries(path)
    assert (first.text, first.relevant, first.weight) == ("parse, json", {("a",): 1, ("b",): 1}, 2.0)
    assert (second.relevant, second.weight) == ({("c",): 3}, 1.0)
    assert third.relevant is None
    tabbed = _file(tmp_path, "q.tsv", "query\tlabel\nwhat, and why\tx\n")
    assert [(query.text, query.label) for query in read_queries(tabbed)] == [("what, and why", "x")]


def test_plain_text_is_a_query_a_line(tmp_path: Path) -> None:
    queries = read_queries(_file(tmp_path, "q.txt", "\ufeffparse json\r\n\r\nread a file\n"))
    assert [(query.text.strip(), query.id) for query in queries] == [("parse json", "1"), ("read a file", "3")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("qrels.trec", "q1 0 d1 2\nq1 0 d2 0\nq2 0 d1 1\n"),
        ("qrels.txt", "q1\td1\t2\nq1\td2\t0\nq2\td1\t1\n"),
        ("qrels.tsv", "query_id\tdoc_id\trelevance\nq1\td1\t2\nq1\td2\t0\nq2\td1\t1\n"),
        ("qrels.csv", "q1,d1,2\nq1,d2,0\nq2,d1,1\n"),
    ],
)
def test_judgments_of_every_form_read_the_same(tmp_path: Path, name: str, text: str) -> None:
    found = read_judgments(_file(tmp_path, name, text))
    assert found == {"q1": {("d1",): 2, ("d2",): 0}, "q2": {("d1",): 1}}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("q.jsonl", "{", "line 1 is not JSON"),
        ("q.jsonl", '{"query": "a"}\n[1]\n', "line 2: an object"),
        ("q.jsonl", '{"qeury": "a"}', "unknown field qeury"),
        ("q.jsonl", '{"label": "a"}', 'no "query"'),
        ("q.jsonl", '{"query": 3}', 'no "query"'),
        ("q.jsonl", '{"query": "a", "relevant": "k"}', '"relevant" is'),
        ("q.jsonl", '{"query": "a", "relevant": {"k": "high"}}', "the grade 'high'"),
        ("q.jsonl", '{"query": "a", "relevant": [1.5]}', "a key is"),
        ("q.jsonl", '{"query": "a", "relevant": [{"key": "k"}]}', "a graded key"),
        ("q.jsonl", '{"query": "a", "weight": "often"}', "the weight 'often'"),
        ("q.csv", "text_of_it\na\n", "one of them query"),
        ("q.csv", "query,label\na\n", "line 2: it has not as many fields"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = _file(tmp_path, name, text)
    with pytest.raises(UsageError) as caught:
        read_queries(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.jsonl cannot be read"):
        read_queries(tmp_path / "nothing.jsonl")
    broken = tmp_path / "latin.txt"
    broken.write_bytes(b"caf\xe9\n")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_queries(broken)


@pytest.mark.parametrize(
    ("text", "said"), [("q1 d1\n", "line 1"), ("q1 d1 1\nq2 d1 high\n", "line 2"), ("", "no judgments")]
)
def test_bad_judgments_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_judgments(_file(tmp_path, "qrels.txt", text))
