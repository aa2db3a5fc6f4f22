"""Sends a request until it is answered, or until there is no sense in it any more."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from embedmig.embedders.concurrency import AdaptiveConcurrency
from embedmig.embedders.limits import RateLimiter
from embedmig.embedders.openai.answers import Answer
from embedmig.embedders.openai.client import EmbeddingsClient
from embedmig.embedders.openai.failures import Failure, Kind
from embedmig.embedders.openai.options import OpenAIOptions
from embedmig.embedders.usage import UsageMeter
from embedmig.errors import InputRejectedError, ProviderError, ProviderSetupError, ProviderUnavailableError

_TRIES_IF_GARBLED = 5
_TRIES_IF_NEVER_REACHED = 3
"""An address that never answered is more likely wrong than busy."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 20.0
_POLL_S = 0.1
_LONG_TEXT_TOKENS = 400
_IF_TOO_LONG = (
    ". If that is more than it takes: it must be cut off, by --max-tokens and a tokenizer or truncation=server"
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """The texts of one request."""

    texts: Sequence[str]
    tokens: int
    """As counted or estimated beforehand."""
    dimensions: int | None
    patience_s: float
    """For how long it is sent again; time spent waiting for the rate limit and for other requests does not count."""
    is_wanted: Callable[[], bool]
    urgent: bool = False
    """Somebody waits for this one request: it does not queue behind others."""


@dataclass(frozen=True, kw_only=True)
class Sender:
    """What all requests of one user of a model share."""

    client: EmbeddingsClient
    options: OpenAIOptions
    concurrency: AdaptiveConcurrency
    meters: Sequence[UsageMeter]
    limiter: RateLimiter | None = None
    should_stop: Callable[[], bool] = lambda: False
    answered: threading.Event = field(default_factory=threading.Event)
    """Set once the provider gave vectors."""
    booking: threading.Lock = field(default_factory=threading.Lock)

    def send(self, request: Request) -> Answer:
        """Raises InputRejectedError, ProviderSetupError or ProviderUnavailableError, as errors.py tells them apart;
        ProviderError when the answers stay garbled."""
        sending = _Sending(self, request)
        outcome = sending.run()
        if isinstance(outcome, Failure):
            raise sending.explain(outcome)
        self.answered.set()
        return outcome


class _Sending:
    """One request on its way."""

    def __init__(self, sender: Sender, request: Request) -> None:
        self._sender, self._request = sender, request
        self._started_at, self._queued_s = time.monotonic(), 0.0
        self._tries = self._garbled = 0

    def run(self) -> Answer | Failure:
        """The answer, or the last failure."""
        import tenacity

        backoff = tenacity.wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=_LONGEST_PAUSE_S)
        outcome: Answer | Failure = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda result: isinstance(result, Failure) and result.is_worth_repeating),
            wait=lambda state: _pause_s(_failure(state), backoff(state)),
            stop=lambda state: self._is_hopeless(_failure(state), state.upcoming_sleep),
            sleep=self._sleep,
            retry_error_callback=_failure,
        )(self._try_once)
        return outcome

    def explain(self, failure: Failure) -> ProviderError:
        """The error that a caller can act on."""
        place = f"openai: {self._sender.options.place}"
        if failure.kind is Kind.INPUT:
            few = len(self._request.texts)
            what = f"{few} texts" if few > 1 else f"a text of about {self._request.tokens} tokens"
            long = few == 1 and self._request.tokens >= _LONG_TEXT_TOKENS
            return InputRejectedError(
                f"{place} refuses {what}: {failure.said}{_IF_TOO_LONG if long else ''}", status=failure.status
            )
        if failure.kind is Kind.SETUP:
            return ProviderSetupError(f"{place}: {failure.said}{_advice(failure.status, self._sender.options)}")
        times = "once" if self._tries == 1 else f"{self._tries} times in {self._spent_s():.0f} s"
        if failure.kind is Kind.GARBLED:
            return ProviderError(f"{place} sent {failure.said}, {times}")
        asked = f", and asks to wait {failure.retry_after_s:.0f} s" if failure.retry_after_s else ""
        return ProviderUnavailableError(f"{place}: {failure.said}, {times}{asked}: try again later")

    def _try_once(self) -> Answer | Failure:
        sender, arrived_at = self._sender, time.monotonic()
        started_at = sender.concurrency.enter(self._require_wanted, urgent=self._request.urgent)
        outcome: Answer | Failure | None = None
        try:
            self._book()
            self._queued_s += time.monotonic() - arrived_at
            outcome = self._ask()
        finally:
            self._leave(started_at, outcome)
        return outcome

    def _leave(self, started_at: float, outcome: Answer | Failure | None) -> None:
        concurrency = self._sender.concurrency
        if isinstance(outcome, Failure):
            # A pause that this request will not sit out is no reason for others to wait.
            pause_s = outcome.retry_after_s if outcome.retry_after_s < self._left_s() else 0.0
            concurrency.leave(started_at, too_busy=outcome.kind is Kind.BUSY, pause_s=pause_s)
        else:
            concurrency.leave(started_at, went_well=outcome is not None)

    def _book(self) -> None:
        """One booking waits at a time, so that a changed limit soon holds for all."""
        if (limiter := self._sender.limiter) is not None:
            with self._sender.booking:
                self._require_wanted()
                self._sleep(limiter.acquire(1, self._request.tokens))

    def _ask(self) -> Answer | Failure:
        self._tries += 1
        for meter in self._sender.meters:
            meter.add(requests=1, retries=int(self._tries > 1))
        timeout_s = min(self._sender.options.timeout_s, max(1.0, self._left_s()))
        request = self._request
        outcome = self._sender.client.ask(request.texts, dimensions=request.dimensions, timeout_s=timeout_s)
        self._garbled += isinstance(outcome, Failure) and outcome.kind is Kind.GARBLED
        for meter in self._sender.meters:
            meter.add(tokens=request.tokens if outcome.tokens is None else outcome.tokens)
        return outcome

    def _is_hopeless(self, failure: Failure, pause_s: float) -> bool:
        if failure.kind is Kind.GARBLED and self._garbled >= _TRIES_IF_GARBLED:
            return True
        if failure.kind is Kind.UNREACHABLE and not self._sender.answered.is_set():
            return self._tries >= _TRIES_IF_NEVER_REACHED
        return pause_s >= self._left_s()

    def _spent_s(self) -> float:
        return time.monotonic() - self._started_at - self._queued_s

    def _left_s(self) -> float:
        return self._request.patience_s - self._spent_s()

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._require_wanted()
            time.sleep(min(_POLL_S, left))

    def _require_wanted(self) -> None:
        if self._sender.should_stop() or not self._request.is_wanted():
            raise ProviderUnavailableError(f"openai: {self._sender.options.place}: stopped before it was answered")


def _failure(state: Any) -> Failure:
    failure: Failure = state.outcome.result()
    return failure


def _pause_s(failure: Failure, backoff_s: float) -> float:
    """What the provider asks for, and a little more each, so that those who wait do not come back as one."""
    asked = failure.retry_after_s
    return asked + random.uniform(0, 0.1 + 0.1 * asked) if asked else backoff_s  # noqa: S311


def _advice(status: int | None, options: OpenAIOptions) -> str:
    if status in (401, 403):
        return f". Look at the key in {options.api_key_env}" + (
            "" if options.read_key() else ": it is not set, and none was sent"
        )
    if status == 404:
        return ". Look at base_url, which mostly ends in /v1, and at the model's name"
    if status is not None and 300 <= status < 400:
        return ", a redirect: give the address it leads to as base_url"
    return ""
