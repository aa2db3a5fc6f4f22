"""Searching, for callers who wait."""

from collections.abc import Sequence
from concurrent.futures import wait
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, Unpack

import psycopg

from embedmig.catalog.adapters import QUERIES as ADAPTERS
from embedmig.catalog.models import get_fingerprint
from embedmig.catalog.routes import QUERIES as ROUTES
from embedmig.catalog.serving import ServedAdapter, read_serving
from embedmig.db import Database
from embedmig.db.connection import translated_errors
from embedmig.errors import RefusedError, UsageError
from embedmig.search.base import ATTEMPTS, FAILURES, GONE, READ_AGAIN_S, ConnectOptions, SearcherBase
from embedmig.search.connections import Lent, Pool, open_pool
from embedmig.search.embedding import check_model, embed_query
from embedmig.search.hits import Hit
from embedmig.search.plan import Explanation, SearchPlan, View, plan
from embedmig.search.refreshing import refresh_rows
from embedmig.search.request import SearchOptions, SearchRequest, make_request
from embedmig.search.routing import require_routing_key
from embedmig.types import Embedding, Model, ServingKey

if TYPE_CHECKING:
    from embedmig.adapters import StoredAdapter


class Searcher(SearcherBase):
    """Searches one collection, from any number of threads: the pool, the route and the models are kept here."""

    _pool: Pool

    @classmethod
    def connect(cls, collection: str, **options: Unpack[ConnectOptions]) -> Self:
        """A searcher to use as a context manager, or to ``close``.

        Raises NotFoundError, DatabaseError, and RefusedError when EMBEDMIG_ACTIVE_INDEX pins this process to a target
        that was never filled, has failures or has no valid index.
        """
        searcher = cls(collection, **options)
        # One connection of its own first: it says what is wrong, where a pool tries again until its time is out.
        with Database(searcher._url).connect() as conn:
            searcher._begin(read_serving(conn, collection))
        searcher._pool = open_pool(searcher._pool_options())
        return searcher

    def search(self, query: str | Embedding, k: int = 10, **options: Unpack[SearchOptions]) -> list[Hit]:
        """The ``k`` nearest rows, nearest first. A text is embedded by the model of the slot that answers.

        Raises UnversionedVectorError for a vector without its model, ModelMismatchError for one of another model than
        the slot's, DimensionError, UsageError, DatabaseError, ProviderError.
        """
        request = make_request(query, k, **options)
        began = monotonic()
        if began >= self._due_s:
            self._keep_up()
            began = monotonic()
        try:
            return self._answer(request, began)
        except FAILURES as error:
            self._failed(request, error)
            raise

    __call__ = search

    def explain(self, query: str | Embedding, k: int = 10, **options: Unpack[SearchOptions]) -> Explanation:
        """Which slot, which model, and why. Refuses what ``search`` refuses; nothing is searched."""
        request = make_request(query, k, **options)
        self._look_again()
        return self._plan(request).explain()

    def serving(self, routing_key: str | None = None) -> ServingKey:
        """What serves this key now, read from the database: caches of query vectors key on the model, caches of answers
        on all three. Without a key, the source below a share of 100 and the target at 100."""
        routing_key, view = require_routing_key(routing_key), self._view
        with translated_errors(), self._pool.connection() as conn:
            route = conn.execute(ROUTES["find_route"], {"group": view.serving.collection.group}).fetchone()
            if route is None or route["epoch"] != view.epoch:
                view = self._adopt(read_serving(conn, self.collection))
        return view.serving_key(routing_key)

    def refresh(self, keys: Sequence[Any]) -> tuple[Any, ...]:
        """Embeds rows just written, now, for the slots that embedmig maintains. Gives the keys that are left to a
        worker: someone holds the row, or is at its part of the queue. Raises UsageError, ProviderError."""
        return refresh_rows(self._url, self.collection, keys)

    def close(self) -> None:
        """Gives the connections back. Searches after it raise DatabaseError."""
        self._pool.close()
        self._end_of_notes()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, request: SearchRequest, began: float) -> list[Hit]:
        wide, refined = request if self._refiner is None else self._widened(request), False
        search_plan = self._plan(wide)
        for attempt in range(ATTEMPTS):
            planned = monotonic()
            hits = self._execute(search_plan, attempt)
            took_s = monotonic() - planned
            if hits and not refined and self._refiner is not None:
                hits, refined = self._refine(search_plan, hits, attempt), True
            if hits is not None:
                return self._answered(request, search_plan, hits, planned - began, took_s)
            began = monotonic()
            search_plan = self._plan(wide, search_plan.embedding)
        raise self._give_up()

    def _plan(self, request: SearchRequest, embedded: Embedding | None = None) -> SearchPlan:
        """On the present view. What is refused there is judged once more on a fresh one: the view may be behind."""
        view = self._view
        try:
            return self._plan_on(view, request, embedded)
        except (UsageError, RefusedError):
            fresh = self._look_again()
            if fresh is view:
                raise
            return self._plan_on(fresh, request, embedded)

    def _plan_on(self, view: View, request: SearchRequest, embedded: Embedding | None) -> SearchPlan:
        choice, embedding = view.choose(request.routing_key), request.embedding or embedded
        if request.text is not None:
            asked = view.asked_model(choice.slot)
            if embedding is None or embedding.model != asked.key:
                embedding = self._embed(asked, request.text)
        assert embedding is not None
        adapter = view.adapter_for(choice.slot, embedding) if view.serving.adapters else None
        return plan(embedding, view, choice, request, None if adapter is None else self._open(adapter))

    def _open(self, adapter: ServedAdapter) -> "StoredAdapter":
        opened = self._adapters.find(adapter)
        if opened is None:
            with translated_errors(), self._pool.connection() as conn:
                row = conn.execute(ADAPTERS["find_body"], {"id": adapter.id}).fetchone()
            opened = self._adapters.open(adapter, row)
        return opened

    def _embed(self, model: Model, text: str) -> Embedding:
        while (embedding := embed_query(model, text)) is None:
            with translated_errors(), self._pool.connection() as conn:
                stored = get_fingerprint(conn, model)
            check_model(model, stored)
        self._has_embedded()
        return embedding

    def _execute(self, search_plan: SearchPlan, attempt: int) -> list[Hit] | None:
        """The hits; None when the catalog or the connection is another than it was planned for."""
        with Lent(self._pool) as conn:
            rows: list[tuple[Any, ...]] = []
            gone: psycopg.Error | None = None
            try:
                statement = search_plan.statement
                conn.searching.execute(
                    statement.sql, search_plan.params, prepare=self._prepared, binary=statement.in_binary
                )
                rows = conn.searching.fetchall()
            except GONE as error:
                gone = error
            except psycopg.Error as error:
                if not self._may_reconnect(conn, error, attempt):
                    raise
                conn.close()
                return None
            # On the same connection: another one may lead to a standby that is farther behind.
            if not rows and self._adopt(read_serving(conn, self.collection)).epoch != search_plan.view.epoch:
                return None
            if gone is not None:
                raise gone
        return search_plan.hits(rows)

    def _refine(self, search_plan: SearchPlan, hits: list[Hit], attempt: int) -> list[Hit] | None:
        """The hits once the bridged ones among the first are embedded; those there are when that takes too long."""
        asked = self._ask_to_refine(search_plan, hits)
        if asked is None or asked not in wait([asked], self._refinement.wait_s).done or not asked.result():
            return hits
        return self._execute(search_plan, attempt)

    def _look_again(self) -> View:
        with translated_errors(), self._pool.connection() as conn:
            return self._adopt(read_serving(conn, self.collection))

    def _keep_up(self) -> None:
        # First, so that one caller does it and not all who come meanwhile.
        self._due_s = monotonic() + READ_AGAIN_S
        self._look_again()
        if (report := self._pin_report()) is None:
            return
        try:
            with self._pool.connection() as conn:
                conn.execute(ROUTES["report_pin"], report)
        except psycopg.Error as error:
            self._not_reported(error)
