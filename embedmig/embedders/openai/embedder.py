"""The embedder: texts become requests, requests go out side by side, answers come back in order."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Self

import numpy as np

from embedmig.embedders.batching import split_requests
from embedmig.embedders.concurrency import AdaptiveConcurrency
from embedmig.embedders.limits import RateLimiter
from embedmig.embedders.openai.client import EmbeddingsClient, require_libraries
from embedmig.embedders.openai.options import read_openai_options
from embedmig.embedders.openai.sending import Request, Sender
from embedmig.embedders.openai.tokens import open_token_counter
from embedmig.embedders.parallel import for_each
from embedmig.embedders.usage import Usage, UsageMeter
from embedmig.errors import InputRejectedError
from embedmig.types import Floats

_PATIENCE_WITH_QUERIES_S = _PATIENCE_AT_FIRST_S = 30.0
_SAMPLE = "The ferry to the island leaves at half past seven, unless the wind is from the north."


class OpenAIEmbedder:
    """Options: ``model`` and, unless it is OpenAI's own, ``base_url``; the rest stands in docs/embedders.md. The key
    comes from the environment. Several threads may call it.

    A call may bring many texts: they are cut into requests by count and tokens, up to ``concurrency`` of which are
    under way at once, over all callers; fewer while the provider says that it is too busy. A request that fails in
    passing is sent again whole. Raises InputRejectedError, ProviderSetupError, ProviderUnavailableError.
    """

    compute_type = "remote"

    def __init__(
        self,
        *,
        options: Mapping[str, Any],
        document_prompt: str = "",
        query_prompt: str = "",
        max_tokens: int | None = None,
    ) -> None:
        """Raises UsageError for options that cannot be, or a key that is not there; and asks for one vector when
        ``dimensions`` is not among the options."""
        self._options = read_openai_options(options)
        require_libraries()
        self._prompts = document_prompt, query_prompt
        self.max_tokens = max_tokens
        self._tokens = open_token_counter(
            self._options.tokenizer, max_tokens, truncated_by_server=self._options.truncated_by_server
        )
        self._size = _RequestSize(self._options.batch_size)
        self._meter = UsageMeter()
        self._sender = Sender(
            client=EmbeddingsClient(self._options),
            options=self._options,
            concurrency=AdaptiveConcurrency(self._options.concurrency),
            meters=(self._meter,),
        )
        self.dimensions: int = self._options.dimensions or self._ask_dimensions()

    @property
    def concurrency(self) -> int:
        """Requests that may be under way at once."""
        return self._options.concurrency

    @property
    def usage(self) -> Usage:
        """What was used through this object."""
        return self._meter.read()

    def for_job(self, limiter: RateLimiter | None, should_stop: Callable[[], bool]) -> Self:
        """The same model for one job: within ``limiter``'s limits, with a ``usage`` of its own (this one's still counts
        it too), and with waits that end, in ProviderUnavailableError, once ``should_stop`` says so."""
        view = copy.copy(self)
        view._meter = UsageMeter()
        view._sender = Sender(
            client=self._sender.client,
            options=self._options,
            concurrency=self._sender.concurrency,
            answered=self._sender.answered,
            meters=(*self._sender.meters, view._meter),
            limiter=limiter,
            should_stop=should_stop,
        )
        return view

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        """(n, dimensions) float32."""
        return self._embed([self._prompts[0] + text for text in texts], self._options.give_up_after_s)

    def embed_queries(self, texts: Sequence[str]) -> Floats:
        """(n, dimensions) float32. Gives up sooner, and a query that fits one request queues behind no others."""
        patience_s = min(_PATIENCE_WITH_QUERIES_S, self._options.give_up_after_s)
        return self._embed([self._prompts[1] + text for text in texts], patience_s, hurry=True)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """By the tokenizer that the options name, else estimated by what was billed so far."""
        return self._tokens.count([self._prompts[0] + text for text in texts])

    def _embed(self, prompted: Sequence[str], patience_s: float, *, hurry: bool = False) -> Floats:
        texts, counts = self._tokens.fit(prompted)
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        ranges = split_requests(counts, max_texts=self._size.texts, max_tokens=self._options.batch_tokens)

        def embed_range(rows: range, is_wanted: Callable[[], bool]) -> None:
            part = slice(rows.start, rows.stop)
            request = Request(
                texts=texts[part],
                tokens=sum(counts[part]),
                dimensions=self.dimensions,
                patience_s=patience_s,
                is_wanted=is_wanted,
                urgent=hurry and len(ranges) == 1,
            )
            vectors[part] = self._ask(request)

        for_each(ranges, embed_range, threads=self._options.concurrency)
        return vectors

    def _ask(self, request: Request) -> Floats:
        """The vectors of one request; by halves, where the provider finds it too large."""
        try:
            answer = self._sender.send(request)
        except InputRejectedError as error:
            if error.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE or len(request.texts) == 1:
                raise
        else:
            if answer.tokens is not None:
                self._tokens.learn(request.texts, answer.tokens)
            return answer.vectors
        halves = [self._ask(half) for half in _halve(request)]
        # Only now: one text that is too large by itself must not make all later requests small.
        self._size.texts = min(self._size.texts, max(map(len, halves)))
        return np.concatenate(halves)

    def _ask_dimensions(self) -> int:
        texts, counts = self._tokens.fit([self._prompts[0] + _SAMPLE])
        request = Request(
            texts=texts,
            tokens=sum(counts),
            dimensions=None,
            patience_s=min(_PATIENCE_AT_FIRST_S, self._options.give_up_after_s),
            is_wanted=lambda: True,
            urgent=True,
        )
        dimensions: int = self._ask(request).shape[1]
        return dimensions


@dataclass
class _RequestSize:
    """Shared by an embedder and its views."""

    texts: int


def _halve(request: Request) -> tuple[Request, Request]:
    middle = len(request.texts) // 2
    tokens = max(1, request.tokens // 2)
    return (
        replace(request, texts=request.texts[:middle], tokens=tokens),
        replace(request, texts=request.texts[middle:], tokens=tokens),
    )
