"""Small pure parts: chunk sizes, tokens, the cache of vectors, the watch over HOT updates, crews' errors."""

from collections.abc import Sequence

import numpy as np
import pytest

from embedmig import errors
from embedmig.backfill.crews import error_from
from embedmig.backfill.hot import HotWatch
from embedmig.backfill.jobs import choose_chunk_rows
from embedmig.backfill.progress import Speed, seconds_left
from embedmig.backfill.tokens import TokenCounter
from embedmig.backfill.vector_cache import VectorCache
from embedmig.backfill.writing import Written
from embedmig.types import Floats, Placement
from tests.unit.backfill.test_completeness import SLOT


def test_a_column_chunk_has_a_page_for_each_row_of_a_group() -> None:
    assert SLOT.placement is Placement.COLUMN
    rows = choose_chunk_rows(SLOT, rows=10**6, tuples_per_page=25.5, group_rows=512, workers=1)
    assert rows >= 512 * 25.5


def test_a_part_is_cut_into_enough_chunks_to_be_a_fair_sample() -> None:
    assert choose_chunk_rows(SLOT, rows=10**6, tuples_per_page=25, group_rows=512, workers=1, part_rows=200_000) == 1000
    assert choose_chunk_rows(SLOT, rows=3500, tuples_per_page=25, group_rows=512, workers=1, part_rows=700) == 16


class Counting:
    dimensions, compute_type = 4, "cpu"

    def __init__(self, max_tokens: int | None) -> None:
        self.max_tokens = max_tokens
        self.counted = 0

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        return np.ones((len(texts), 4), dtype=np.float32)

    embed_queries = embed_documents

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        self.counted += len(texts)
        return [len(text.split()) for text in texts]


def test_tokens_are_about_right_and_counted_on_samples_only() -> None:
    model = Counting(None)
    counter = TokenCounter(model)
    texts = ["word " * 20] * 500
    total = sum(counter.count(texts) for _ in range(16))
    assert abs(total - 16 * 500 * 20) < 0.01 * total
    assert model.counted < 100


def test_texts_over_the_limit_are_counted_exactly_and_cost_the_limit() -> None:
    counter = TokenCounter(Counting(10))
    tokens = counter.count(["word " * 50] * 5 + ["word " * 5] * 5)
    assert counter.truncated == 5
    assert abs(tokens - (5 * 10 + 5 * 5)) <= 10


def test_a_vector_is_kept_from_the_second_time_on_and_the_oldest_goes_first() -> None:
    cache = VectorCache(limit_bytes=32)
    one = np.ones(4, dtype=np.float32)
    cache.keep(b"a", one)
    assert cache.find(b"a") is None
    for text_hash in (b"a", b"b", b"b", b"c", b"c"):
        cache.keep(text_hash, one)
    assert cache.find(b"a") is None
    assert cache.find(b"b") is not None
    assert cache.find(b"c") is not None


def test_updates_that_are_not_hot_slow_the_writer_only_where_an_index_suffers() -> None:
    for guarded, pause in ((True, 2.0), (False, 0.0)):
        watch = HotWatch(guarded=guarded)
        assert watch.pause_s(2.0) == 0
        watch.note(Written(rows=2000, queued_again=0, updated=2000, hot=20))
        assert watch.share == 0.01
        assert watch.pause_s(2.0) == pause
        watch.note(Written(rows=2000, queued_again=0, updated=2000, hot=1500))
        assert watch.pause_s(2.0) == 0


def test_rates_are_of_the_last_half_minute() -> None:
    speed = Speed()
    speed.note(0, 0, 0)
    assert speed.note(10, 1000, 5000) == (100, 500)
    for second in range(11, 60):
        speed.note(second, 1000, 5000)
    assert speed.note(60, 1000, 5000) == (0, 0)


@pytest.mark.parametrize("kind", ["ProviderError", "UsageError", "FingerprintError", "NotFoundError", "Unheard"])
def test_a_worker_processs_error_keeps_its_sentence_and_exit_code(kind: str) -> None:
    error = error_from(kind, "what was wrong")
    assert str(error) == "what was wrong"
    assert error.exit_code == getattr(errors, kind, errors.ProviderError).exit_code


def test_loading_a_model_is_no_part_of_the_speed() -> None:
    speed = Speed()
    for seconds in range(20):
        assert speed.note(float(seconds), 0, 0) == (0.0, 0.0)
    assert speed.note(20.0, 100, 1000) == (100.0, 1000.0)


def test_the_time_left_goes_by_tokens_first_and_by_rows_in_the_end() -> None:
    rates = {"rows_per_s": 100.0, "tokens_per_s": 1000.0}
    assert seconds_left(0, mean_tokens=50.0, seen=0.0, **rates) is None
    assert seconds_left(1000, mean_tokens=None, seen=0.0, **rates) == 10
    assert seconds_left(1000, mean_tokens=50.0, seen=0.0, **rates) == 50
    assert seconds_left(1000, mean_tokens=50.0, seen=0.5, **rates) == 30
    assert seconds_left(1000, mean_tokens=50.0, seen=1.0, **rates) == 10
    assert seconds_left(1000, rows_per_s=0.0, tokens_per_s=0.0, mean_tokens=50.0, seen=0.0) is None
