"""What was embedded once is not embedded again, and a file that a killed process left is read as far as it goes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedmig.types import Floats
from embedmig.validation.kept_vectors import VectorFile, embed_once, list_missing, vector_file
from tests.support import NEW, embed

MODEL = NEW


class Asking:
    """The model, with a list of what it was asked."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: list[str]) -> Floats:
        self.texts += texts
        return embed(MODEL, texts)


@pytest.fixture
def file(tmp_path: Path) -> VectorFile:
    found = vector_file(tmp_path, MODEL, b"a fingerprint", "queries")
    assert found is not None
    return found


def test_a_text_is_asked_once_and_comes_back_as_it_was(file: VectorFile) -> None:
    first, second = Asking(), Asking()
    before = embed_once(file, ["a b", "c", "a b"], first, MODEL.dimensions)
    after = embed_once(file, ["new", "c", "a b"], second, MODEL.dimensions)
    assert (first.texts, second.texts) == (["a b", "c"], ["new"])
    assert (before.asked, before.reused, after.asked, after.reused) == (2, 0, 1, 2)
    assert np.array_equal(before.vectors, embed(MODEL, ["a b", "c", "a b"]))
    assert np.array_equal(after.vectors, embed(MODEL, ["new", "c", "a b"]))
    assert list_missing(file, ["c", "other", "other"]) == ["other"]


def test_what_was_embedded_before_a_run_was_cut_short_is_kept(file: VectorFile) -> None:
    texts = [f"text {number}" for number in range(150)]

    def fail_at_the_third(some: list[str]) -> Floats:
        if "text 140" in some:
            raise KeyboardInterrupt
        return embed(MODEL, some)

    with pytest.raises(KeyboardInterrupt):
        embed_once(file, texts, fail_at_the_third, MODEL.dimensions)
    again = Asking()
    assert np.array_equal(embed_once(file, texts, again, MODEL.dimensions).vectors, embed(MODEL, texts))
    assert again.texts == texts[128:]


def test_half_a_record_of_a_killed_process_is_neither_read_nor_in_the_way(file: VectorFile) -> None:
    embed_once(file, ["a", "b"], Asking(), MODEL.dimensions)
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[: -len(whole) // 4])
    again = Asking()
    embed_once(file, ["a", "b"], again, MODEL.dimensions)
    assert again.texts == ["b"]
    assert file.path.read_bytes() == whole


def test_another_fingerprint_prompt_or_kind_has_a_file_of_its_own(tmp_path: Path) -> None:
    others = [
        vector_file(tmp_path, MODEL, b"one", "queries"),
        vector_file(tmp_path, MODEL, b"two", "queries"),
        vector_file(tmp_path, MODEL, b"one", "documents"),
        vector_file(tmp_path, replace(MODEL, query_prompt="query: "), b"one", "queries"),
    ]
    assert len({other.path for other in others if other is not None}) == 4


def test_nothing_is_kept_of_a_model_that_nobody_could_know_again(tmp_path: Path) -> None:
    assert vector_file(tmp_path, MODEL, None, "queries") is None
    asking = Asking()
    for _ in range(2):
        embed_once(None, ["a"], asking, MODEL.dimensions)
    assert asking.texts == ["a", "a"]


def test_the_file_is_the_owners_alone_and_has_no_text_in_it(file: VectorFile) -> None:
    embed_once(file, ["a secret question"], Asking(), MODEL.dimensions)
    assert file.path.stat().st_mode & 0o077 == 0
    assert file.path.parent.stat().st_mode & 0o077 == 0
    assert b"secret" not in file.path.read_bytes()


def test_vectors_that_no_search_could_use_are_not_kept(file: VectorFile) -> None:
    bad = np.zeros((3, MODEL.dimensions), dtype=np.float32)
    bad[1], bad[2] = np.nan, 1
    embed_once(file, ["zeros", "nan", "good"], lambda texts: bad, MODEL.dimensions)
    assert list_missing(file, ["zeros", "nan", "good"]) == ["zeros", "nan"]


def test_a_folder_that_cannot_be_written_keeps_nothing_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "vectors").write_text("in the way")
    file = vector_file(tmp_path, MODEL, b"one", "queries")
    asking = Asking()
    assert embed_once(file, ["a"], asking, MODEL.dimensions).vectors.shape == (1, MODEL.dimensions)
    assert asking.texts == ["a"]
    assert "not kept" in caplog.text
