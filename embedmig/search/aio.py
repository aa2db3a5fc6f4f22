"""Searching, for callers with an event loop: the same steps as ``searcher``, with await, under the same names."""

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, Unpack

import psycopg

from embedmig.catalog.adapters import QUERIES as ADAPTERS
from embedmig.catalog.models import QUERIES as MODELS
from embedmig.catalog.routes import QUERIES as ROUTES
from embedmig.catalog.serving import ServedAdapter, read_serving_async
from embedmig.db.connection import translated_errors
from embedmig.errors import RefusedError, UsageError
from embedmig.search.base import ATTEMPTS, FAILURES, GONE, READ_AGAIN_S, ConnectOptions, SearcherBase
from embedmig.search.connections import AsyncLent, AsyncPool, open_async_pool
from embedmig.search.embedding import check_model, embed_query
from embedmig.search.hits import Hit
from embedmig.search.plan import Explanation, SearchPlan, View, plan
from embedmig.search.refreshing import refresh_rows
from embedmig.search.request import SearchOptions, SearchRequest, make_request
from embedmig.search.routing import require_routing_key
from embedmig.types import Embedding, Model, ServingKey

if TYPE_CHECKING:
    from embedmig.adapters import StoredAdapter


class AsyncSearcher(SearcherBase):
    """Searches one collection, from any number of tasks of one event loop. A model computes in a thread beside it."""

    _pool: AsyncPool

    @classmethod
    async def connect(cls, collection: str, **options: Unpack[ConnectOptions]) -> Self:
        """As ``Searcher.connect``: ``async with await AsyncSearcher.connect("docs") as search``."""
        searcher = cls(collection, **options)
        pool_options = searcher._pool_options()
        # One connection of its own first: it says what is wrong, where a pool tries again until its time is out.
        with translated_errors():
            async with await psycopg.AsyncConnection.connect(searcher._url, **pool_options["kwargs"]) as conn:
                searcher._begin(await read_serving_async(conn, collection))
        searcher._pool = await open_async_pool(pool_options)
        return searcher

    async def search(self, query: str | Embedding, k: int = 10, **options: Unpack[SearchOptions]) -> list[Hit]:
        """As ``Searcher.search``."""
        request = make_request(query, k, **options)
        began = monotonic()
        if began >= self._due_s:
            await self._keep_up()
            began = monotonic()
        try:
            return await self._answer(request, began)
        except FAILURES as error:
            self._failed(request, error)
            raise

    __call__ = search

    async def explain(self, query: str | Embedding, k: int = 10, **options: Unpack[SearchOptions]) -> Explanation:
        """As ``Searcher.explain``."""
        request = make_request(query, k, **options)
        await self._look_again()
        return (await self._plan(request)).explain()

    async def serving(self, routing_key: str | None = None) -> ServingKey:
        """As ``Searcher.serving``."""
        routing_key, view = require_routing_key(routing_key), self._view
        with translated_errors():
            async with self._pool.connection() as conn:
                group = {"group": view.serving.collection.group}
                route = await (await conn.execute(ROUTES["find_route"], group)).fetchone()
                if route is None or route["epoch"] != view.epoch:
                    view = self._adopt(await read_serving_async(conn, self.collection))
        return view.serving_key(routing_key)

    async def refresh(self, keys: Sequence[Any]) -> tuple[Any, ...]:
        """As ``Searcher.refresh``."""
        return await asyncio.to_thread(refresh_rows, self._url, self.collection, keys)

    async def close(self) -> None:
        """Gives the connections back. Searches after it raise DatabaseError."""
        await self._pool.close()
        await asyncio.to_thread(self._end_of_notes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _answer(self, request: SearchRequest, began: float) -> list[Hit]:
        wide, refined = request if self._refiner is None else self._widened(request), False
        search_plan = await self._plan(wide)
        for attempt in range(ATTEMPTS):
            planned = monotonic()
            hits = await self._execute(search_plan, attempt)
            took_s = monotonic() - planned
            if hits and not refined and self._refiner is not None:
                hits, refined = await self._refine(search_plan, hits, attempt), True
            if hits is not None:
                return self._answered(request, search_plan, hits, planned - began, took_s)
            began = monotonic()
            search_plan = await self._plan(wide, search_plan.embedding)
        raise self._give_up()

    async def _plan(self, request: SearchRequest, embedded: Embedding | None = None) -> SearchPlan:
        view = self._view
        try:
            return await self._plan_on(view, request, embedded)
        except (UsageError, RefusedError):
            fresh = await self._look_again()
            if fresh is view:
                raise
            return await self._plan_on(fresh, request, embedded)

    async def _plan_on(self, view: View, request: SearchRequest, embedded: Embedding | None) -> SearchPlan:
        choice, embedding = view.choose(request.routing_key), request.embedding or embedded
        if request.text is not None:
            asked = view.asked_model(choice.slot)
            if embedding is None or embedding.model != asked.key:
                embedding = await self._embed(asked, request.text)
        assert embedding is not None
        adapter = view.adapter_for(choice.slot, embedding) if view.serving.adapters else None
        return plan(embedding, view, choice, request, None if adapter is None else await self._open(adapter))

    async def _open(self, adapter: ServedAdapter) -> "StoredAdapter":
        opened = self._adapters.find(adapter)
        if opened is None:
            with translated_errors():
                async with self._pool.connection() as conn:
                    row = await (await conn.execute(ADAPTERS["find_body"], {"id": adapter.id})).fetchone()
            opened = await asyncio.to_thread(self._adapters.open, adapter, row)
        return opened

    async def _embed(self, model: Model, text: str) -> Embedding:
        while (embedding := await asyncio.to_thread(embed_query, model, text)) is None:
            with translated_errors():
                async with self._pool.connection() as conn:
                    found = await (await conn.execute(MODELS["find_fingerprint"], {"id": model.id})).fetchone()
            await asyncio.to_thread(check_model, model, None if found is None else found["fingerprint"])
        self._has_embedded()
        return embedding

    async def _execute(self, search_plan: SearchPlan, attempt: int) -> list[Hit] | None:
        async with AsyncLent(self._pool) as conn:
            rows: list[tuple[Any, ...]] = []
            gone: psycopg.Error | None = None
            try:
                statement = search_plan.statement
                await conn.searching.execute(
                    statement.sql, search_plan.params, prepare=self._prepared, binary=statement.in_binary
                )
                rows = await conn.searching.fetchall()
            except GONE as error:
                gone = error
            except psycopg.Error as error:
                if not self._may_reconnect(conn, error, attempt):
                    raise
                await conn.close()
                return None
            # On the same connection: another one may lead to a standby that is farther behind.
            if not rows:
                present = self._adopt(await read_serving_async(conn, self.collection))
                if present.epoch != search_plan.view.epoch:
                    return None
            if gone is not None:
                raise gone
        return search_plan.hits(rows)

    async def _refine(self, search_plan: SearchPlan, hits: list[Hit], attempt: int) -> list[Hit] | None:
        asked = self._ask_to_refine(search_plan, hits)
        if asked is None:
            return hits
        waiting = asyncio.wrap_future(asked)
        done, _ = await asyncio.wait([waiting], timeout=self._refinement.wait_s)
        if waiting not in done or not waiting.result():
            return hits
        return await self._execute(search_plan, attempt)

    async def _look_again(self) -> View:
        with translated_errors():
            async with self._pool.connection() as conn:
                return self._adopt(await read_serving_async(conn, self.collection))

    async def _keep_up(self) -> None:
        # First, so that one caller does it and not all who come meanwhile.
        self._due_s = monotonic() + READ_AGAIN_S
        await self._look_again()
        if (report := self._pin_report()) is None:
            return
        try:
            async with self._pool.connection() as conn:
                await conn.execute(ROUTES["report_pin"], report)
        except psycopg.Error as error:
            self._not_reported(error)
