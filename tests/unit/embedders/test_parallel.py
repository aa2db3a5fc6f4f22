import threading
import time
from collections.abc import Callable

import pytest

from embedmig.embedders.parallel import for_each


def test_every_item_is_done_once() -> None:
    done: list[int] = []
    for_each(list(range(200)), lambda item, is_wanted: done.append(item), threads=8)
    assert sorted(done) == list(range(200))


def test_one_item_is_done_by_the_caller_itself() -> None:
    names: list[str] = []
    for_each([1], lambda item, is_wanted: names.append(threading.current_thread().name), threads=8)
    assert names == [threading.current_thread().name]


def test_no_items_are_no_work() -> None:
    for_each([], lambda item, is_wanted: pytest.fail("there is nothing to do"), threads=8)


def test_the_first_error_comes_at_once_and_the_others_learn_that_they_are_not_wanted() -> None:
    ended = threading.Event()

    def work(item: int, is_wanted: Callable[[], bool]) -> None:
        if item == 1:
            raise ValueError("item 1")
        while is_wanted():
            time.sleep(0.001)
        ended.set()

    started_at = time.monotonic()
    with pytest.raises(ValueError, match="item 1"):
        for_each([0, 1, 2], work, threads=2)
    assert time.monotonic() - started_at < 5
    assert ended.wait(5)


def test_after_an_error_no_item_is_begun() -> None:
    begun: list[int] = []

    def work(item: int, is_wanted: Callable[[], bool]) -> None:
        begun.append(item)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        for_each(list(range(100)), work, threads=2)
    time.sleep(0.05)
    assert len(begun) <= 2
