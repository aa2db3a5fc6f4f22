"""The piece of a row's text that is shown with a hit."""

from embedmig.commands.searching import make_snippet


def test_a_snippet_is_one_line_that_a_terminal_can_bear() -> None:
    assert make_snippet({"title": "A\x1b[31m title\n", "body": None, "more": "and\tmore"}) == "A[31m title and more"


def test_a_long_text_is_cut() -> None:
    assert make_snippet({"body": "word " * 100}, length=12) == "word word w…"
