"""Rows that are written all through a switch and a rollback are found from either side."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from embedmig import Searcher, commands
from embedmig.catalog import slots
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError
from embedmig.types import Placement
from tests.rollout_support import UNWATCHED, Ready

NUMBERS = range(1_000, 100_000)


@contextmanager
def _writing(db: Database) -> Iterator[list[int]]:
    """An application that inserts rows with text alone; gives those that it committed."""
    written: list[int] = []
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(db.url, autocommit=True) as conn:
            for number in NUMBERS:
                if stop.wait(0.03):
                    return
                conn.execute(
                    "INSERT INTO public.docs (id, title, body, lang) VALUES (%s, %s, %s, 'en')",
                    [number, f"Title {number}", f"only row {number} says quux{number}"],
                )
                written.append(number)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield written
    finally:
        stop.set()
        thread.join()


@contextmanager
def _following(db: Database) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=lambda: commands.reembed(db, "docs", follow=True, stop=stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _rise(db: Database, percent: float) -> None:
    """As soon as the tail is short enough."""
    deadline = time.monotonic() + 60
    while True:
        try:
            commands.rollout(db, "docs", percent, hold_hours=0, settings=UNWATCHED)
            return
        except RefusedError as refused:
            if "queued" not in str(refused) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@pytest.mark.parametrize("placement", list(Placement))
def test_rows_written_all_through_switch_and_rollback_are_found_from_either_side(
    db: Database, conn: Connection, ready: Ready, placement: Placement
) -> None:
    collection = ready(placement)
    marks = []
    with _following(db), _writing(db) as written:
        for percent in (5, 100, 0, 50, 0):
            if percent:
                _rise(db, percent)
            else:
                commands.rollback(db, "docs")
            marks.append(len(written))
            time.sleep(0.3)
    assert marks == sorted(set(marks)), "rows were written in every phase"
    commands.reembed(db, "docs")
    for slot in slots.list_slots(conn, collection):
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("EMBEDMIG_ACTIVE_INDEX", slot.name)
            with Searcher.connect("docs", database_url=db.url, counted=False) as search:
                for number in (*written[::7], written[-1]):
                    text = f"Title {number}\n\nonly row {number} says quux{number}"
                    assert search(text, k=1, exact=True)[0].key == number, (slot.name, number)
    back = commands.rollback(db, "docs")
    assert (back.missing_rows, back.stale_rows) == (0, 0)
