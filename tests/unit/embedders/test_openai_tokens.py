import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedmig.embedders.openai.tokens import EstimatedTokens, ExactTokens, open_token_counter
from embedmig.errors import UsageError

WORDS = ["[CLS]", "[SEP]", "[UNK]", "the", "ferry", "leaves", "at", "half", "past", "seven", "naïve", "日", "本"]


@pytest.fixture(scope="module")
def tokenizer_json(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A word is a token, a Chinese character too; [CLS] and [SEP] stand around each text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace()])
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 0), ("[SEP]", 1)])
    tokenizer.enable_truncation(4)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return str(path)


@pytest.fixture
def tiktoken_bytes(monkeypatch: pytest.MonkeyPatch) -> str:
    """An encoding of tiktoken's own kind, brought as its plugins bring theirs: a byte is a token, and so is "the "."""
    tokens = [*(bytes([byte]) for byte in range(256)), b"th", b"the", b"the "]
    ranks = {token: rank for rank, token in enumerate(tokens)}
    plugin = types.ModuleType("tiktoken_ext.embedmig_tests")
    settings = {"pat_str": r".+", "mergeable_ranks": ranks, "special_tokens": {"<|end|>": 300}}
    plugin.ENCODING_CONSTRUCTORS = {"bytes_for_tests": lambda: {"name": "bytes_for_tests", **settings}}  # type: ignore[attr-defined]
    import tiktoken.registry
    import tiktoken_ext

    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    monkeypatch.setattr(tiktoken.registry, "_available_plugin_modules", lambda: [plugin.__name__])
    monkeypatch.setattr(tiktoken.registry, "ENCODING_CONSTRUCTORS", None)
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    assert tiktoken_ext is not None
    return "bytes_for_tests"


def open_counter(tokenizer: str | None, max_tokens: int | None = None, **more: Any) -> Any:
    return open_token_counter(tokenizer, max_tokens, **{"truncated_by_server": False, **more})


def test_a_tokenizer_file_counts_exactly_special_tokens_included_and_nothing_cut_off(tokenizer_json: str) -> None:
    counter = open_counter(tokenizer_json)
    assert counter.count(["the ferry leaves at half past seven", "", "The Ferry"]) == [9, 2, 4]
    assert counter.fit(["the ferry leaves at half past seven"]) == (["the ferry leaves at half past seven"], [9])


@pytest.mark.parametrize(
    ("limit", "fitted", "count"),
    [(3, "The", 3), (4, "The  Ferry", 4), (8, "The  Ferry leaves at half past", 8), (9, None, 9), (50, None, 9)],
)
def test_texts_are_cut_off_where_the_models_own_tokenizer_says(
    limit: int, fitted: str | None, count: int, tokenizer_json: str
) -> None:
    text = "The  Ferry leaves at half past seven"
    assert open_counter(tokenizer_json, limit).fit(["at", text]) == (["at", fitted or text], [3, count])


def test_a_limit_that_leaves_no_room_is_refused(tokenizer_json: str) -> None:
    with pytest.raises(UsageError, match="leaves no room"):
        open_counter(tokenizer_json, 2).fit(["the ferry"])


def test_tiktoken_counts_and_cuts_off_between_characters(tiktoken_bytes: str) -> None:
    counter = open_counter(tiktoken_bytes, 5)
    assert counter.count(["the the x", "日本", "<|end|>"]) == [3, 6, 7]
    assert counter.fit(["the the xyz", "日本", "ab"]) == (["the the xyz", "日", "ab"], [5, 3, 2])


def test_a_cut_that_makes_more_tokens_than_it_had_is_cut_again() -> None:
    class Splitting:
        """A whole text is a token for two letters; a beginning on its own is a token for each."""

        special = 0

        def count(self, text: str) -> int:
            return len(text) // 2 if len(text) == 20 else len(text)

        def beginning(self, text: str, tokens: int) -> str:
            return text[: 2 * tokens]

    assert ExactTokens(Splitting(), 6).fit(["x" * 20]) == (["x" * 6], [6])


def test_without_a_tokenizer_the_estimate_follows_what_was_billed() -> None:
    counter = open_counter(None)
    text = "twenty letters long!" * 10
    assert counter.count([text, ""]) == [50, 1]
    counter.learn([text] * 5, 500)
    assert counter.count([text]) == [pytest.approx(100, abs=1)]
    counter.learn([text] * 5000, 50 * 5000)
    assert counter.count([text]) == [pytest.approx(50, abs=1)]


@given(st.lists(st.tuples(st.text(min_size=1, max_size=200), st.integers(1, 200)), max_size=20), st.text())
def test_an_estimate_is_never_less_than_a_token(billed: list[tuple[str, int]], text: str) -> None:
    counter = EstimatedTokens()
    for one, tokens in billed:
        counter.learn([one], tokens)
    assert counter.count([text, ""])[0] >= 1


def test_to_cut_texts_off_somebody_must_know_their_tokens() -> None:
    with pytest.raises(UsageError, match=r"cut texts off at 512 tokens .* tokenizer=.*truncation=server"):
        open_counter(None, 512)
    text = "word " * 1000
    assert open_counter(None, 512, truncated_by_server=True).fit([text])[0] == [text]


def test_with_a_tokenizer_and_a_server_that_cuts_off_the_text_goes_out_whole(tokenizer_json: str) -> None:
    counter = open_counter(tokenizer_json, 4, truncated_by_server=True)
    assert counter.fit(["the ferry leaves"]) == (["the ferry leaves"], [5])


def test_a_tokenizer_that_is_not_there_is_named(tmp_path: Path, tiktoken_bytes: str) -> None:
    with pytest.raises(UsageError, match=r"nothing\.json cannot be read as a tokenizer"):
        open_counter(str(tmp_path / "nothing.json"))
    with pytest.raises(UsageError, match="tiktoken knows no words; it knows bytes_for_tests"):
        open_counter("words")


def test_a_table_that_tiktoken_cannot_fetch_is_named_with_a_way_out(
    tiktoken_bytes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiktoken.registry

    def fetch() -> dict[str, Any]:
        raise ConnectionError("no route to host")

    plugin = sys.modules["tiktoken_ext.embedmig_tests"]
    monkeypatch.setattr(plugin, "ENCODING_CONSTRUCTORS", {"far_away": fetch})
    monkeypatch.setattr(tiktoken.registry, "ENCODING_CONSTRUCTORS", None)
    with pytest.raises(UsageError, match=r"could not fetch its table for far_away \(ConnectionError\)"):
        open_counter("far_away")
