"""Asks the other slot what it would have answered: beside the caller's path, in a thread of its own, never raising."""

import logging
import os
import queue
import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import dict_row, tuple_row

from embedmig.catalog.adapters import QUERIES as ADAPTERS
from embedmig.catalog.models import get_fingerprint
from embedmig.catalog.routes import QUERIES as ROUTES
from embedmig.catalog.serving import Serving
from embedmig.db import Connection, Queries
from embedmig.db.connection import register_vector_types
from embedmig.errors import ProviderError
from embedmig.search.adapted import OpenAdapters
from embedmig.search.counting import minute_now
from embedmig.search.embedding import check_model, embed_query
from embedmig.search.indexes import find_index
from embedmig.search.plan import View, plan
from embedmig.search.request import SearchRequest
from embedmig.search.routing import Choice, Pin
from embedmig.search.sampling import Sampler, ShadowOptions
from embedmig.search.shadow_counts import OVERLAP_AT, Answer, ShadowCounts, ShadowKey, ShadowTexts, TextKey
from embedmig.types import Embedding, Model, ModelState, Slot

if TYPE_CHECKING:
    from embedmig.adapters import StoredAdapter

QUERIES = Queries(__package__, "shadow.sql")

_AS_SHADOW = Pin(value="shadow", variable="shadow")
"""A shadow statement names its slot, as a pinned one does."""

_log = logging.getLogger(__name__)


class Shadowed(NamedTuple):
    """A request that was answered, and is to be asked again."""

    request: SearchRequest
    view: View
    slot: Slot
    answer: Answer
    label: str
    drawn: bool


class OtherEpochError(Exception):
    """The route changed between the answer and its shadow: the two do not belong together."""


class Shadows:
    """The shadow reads of one searcher. The thread starts with the first of them, in a forked process anew."""

    def __init__(self, url: str, options: ShadowOptions, *, prepared: bool) -> None:
        self._url, self._options, self._prepared = url, options, prepared
        # Which requests are shadowed is no secret.
        self._sampler = Sampler(options, random.random)
        self._waiting: queue.Queue[Shadowed | None] = queue.Queue(maxsize=options.queue)
        self._stopped = threading.Event()
        self._running_in: int | None = None
        self._thread: threading.Thread | None = None
        self._asking: _Asking | None = None
        self.counts = ShadowCounts()
        self.texts = ShadowTexts()

    def offer(self, request: SearchRequest, view: View, slot: Slot, answer: Answer) -> None:
        """Takes a request that was answered, if it is to be shadowed. Returns at once, whatever happens."""
        serving = view.serving
        if self._stopped.is_set() or serving.target is None or slot.id not in (serving.source.id, serving.target.id):
            return
        label = self._sampler.name(request.label)
        drawn = self._sampler.draw(label)
        if drawn is None:
            return
        shadowed = Shadowed(request, view, slot, answer, label, drawn)
        try:
            self._waiting.put_nowait(shadowed)
        except queue.Full:
            self.counts.miss(_key(shadowed), "dropped_queue")
        self._ensure_running()

    def close(self) -> None:
        """Lets the shadow that is being asked end, and drops those that wait."""
        self._stopped.set()
        self._drop_waiting()
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        if self._thread is not None and self._running_in == os.getpid():
            self._thread.join(timeout=self._options.timeout_s)
        self._drop_waiting()

    def _drop_waiting(self) -> None:
        with suppress(queue.Empty):
            while True:
                shadowed = self._waiting.get_nowait()
                if shadowed is not None:
                    self.counts.miss(_key(shadowed), "dropped_queue")

    def _ensure_running(self) -> None:
        if self._running_in == os.getpid():
            return
        self._running_in = os.getpid()
        self._thread = threading.Thread(target=self._run, name="embedmig-shadow", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with _Asking(self._url, self._options.timeout_s, prepared=self._prepared) as asking:
            while (shadowed := self._waiting.get()) is not None:
                try:
                    self._shadow(asking, shadowed)
                except Exception:  # noqa: BLE001  (a shadow cannot hurt anybody, whatever is wrong with it)
                    _log.debug("a shadow read failed in an unforeseen way", exc_info=True)
                    self.counts.miss(_key(shadowed), "not_shadowed")

    def _shadow(self, asking: "_Asking", shadowed: Shadowed) -> None:
        key, serving, text = _key(shadowed), shadowed.view.serving, shadowed.request.text
        other = _other(serving, shadowed.slot)
        if text is None or other is None or not _is_fit(serving, other):
            self.counts.miss(key, "not_shadowed")
            return
        try:
            answer = asking.ask(shadowed.request, shadowed.view, other)
        except OtherEpochError:
            self.counts.miss(key, "dropped_epoch")
            return
        pair = (shadowed.answer, answer) if shadowed.slot.id == serving.source.id else (answer, shadowed.answer)
        self.counts.pair(key, *pair)
        if self._options.keep_texts:
            self.texts.keep(TextKey(serving.collection.id, text, shadowed.label))


class _Asking:
    """A connection to ask by; a lost one is opened again."""

    def __init__(self, url: str, timeout_s: float, *, prepared: bool) -> None:
        self._url, self._timeout_s, self._prepared = url, timeout_s, prepared
        self._conn: Connection | None = None
        self._adapters = OpenAdapters()

    def __enter__(self) -> "_Asking":
        return self

    def __exit__(self, *_: object) -> None:
        if self._conn is not None:
            self._conn.close()

    def ask(self, request: SearchRequest, view: View, slot: Slot) -> Answer:
        """What ``slot`` answers; an Answer without keys when the database or the model fails.

        Raises OtherEpochError when the route is not the view's any more, UsageError for what cannot be asked of it.
        """
        assert request.text is not None
        began = time.perf_counter()
        try:
            embedding = self._embed(view.asked_model(slot), request.text)
            planned = time.perf_counter()
            choice = Choice(slot=slot, pin=_AS_SHADOW, bucket=None)
            searching = plan(embedding, view, choice, request, self._open(view, slot, embedding))
            rows, statement_s = self._execute(view, searching.sql, searching.params)
        except psycopg.Error as error:
            self._require_epoch_after(view, error)
            return Answer(None)
        except ProviderError:
            return Answer(None)
        hits = searching.hits(rows)
        return Answer(tuple(hit.key for hit in hits[:OVERLAP_AT]), planned - began, statement_s)

    def _open(self, view: View, slot: Slot, embedding: Embedding) -> "StoredAdapter | None":
        adapter = view.adapter_for(slot, embedding)
        if adapter is None:
            return None
        opened = self._adapters.find(adapter)
        if opened is None:
            row = self._connection().execute(ADAPTERS["find_body"], {"id": adapter.id}).fetchone()
            opened = self._adapters.open(adapter, row)
        return opened

    def _embed(self, model: Model, text: str) -> Embedding:
        while (embedding := embed_query(model, text)) is None:
            check_model(model, get_fingerprint(self._connection(), model))
        return embedding

    def _execute(self, view: View, statement: bytes, params: Any) -> tuple[list[Any], float]:
        """The rows, and the time they took. Epoch and rows come from one snapshot."""
        conn = self._connection()
        group = view.serving.collection.group
        begin = QUERIES.fill(
            "begin", {"timeout": sql.Literal(int(self._timeout_s * 1000)), "group": sql.Literal(group)}
        )
        try:
            with conn.cursor(row_factory=tuple_row) as cursor:
                cursor.execute(begin)
                while cursor.nextset():
                    pass
                if cursor.fetchone() != (view.epoch,):
                    raise OtherEpochError
                began = time.perf_counter()
                cursor.execute(statement, params, prepare=self._prepared)
                return cursor.fetchall(), time.perf_counter() - began
        finally:
            if not conn.closed:
                conn.rollback()

    def _require_epoch(self, conn: Connection, view: View) -> None:
        route = conn.execute(ROUTES["find_route"], {"group": view.serving.collection.group}).fetchone()
        if route is None or route["epoch"] != view.epoch:
            raise OtherEpochError

    def _require_epoch_after(self, view: View, error: psycopg.Error) -> None:
        """What failed may have been removed by a step of the migration: then it is no failure of the slot's."""
        try:
            self._require_epoch(self._connection(), view)
        except psycopg.Error:
            _log.debug("a shadow read failed, and the catalog cannot be read: %s", error)

    def _connection(self) -> Connection:
        if self._conn is None or self._conn.closed:
            conn: Connection = psycopg.connect(
                self._url,
                autocommit=True,
                row_factory=dict_row,
                application_name="embedmig",
                connect_timeout=10,
                prepare_threshold=5 if self._prepared else None,
            )
            register_vector_types(conn)
            self._conn = conn
        return self._conn


def _other(serving: Serving, slot: Slot) -> Slot | None:
    return serving.target if slot.id == serving.source.id else serving.source


def _is_fit(serving: Serving, slot: Slot) -> bool:
    """Whether a shadow of the slot tells anything, and does not read the whole table for it."""
    if serving.asked_model(slot).state is ModelState.GONE:
        return False
    if serving.target is not None and slot.id == serving.target.id:
        complete = slot.filled_at is not None and slot.id not in serving.failing
        return complete and find_index(serving, slot) is not None
    return True


def _key(shadowed: Shadowed) -> ShadowKey:
    serving = shadowed.view.serving
    assert serving.target is not None
    return ShadowKey(
        minute_now(), serving.source.id, serving.target.id, shadowed.view.epoch, shadowed.label, shadowed.drawn
    )
