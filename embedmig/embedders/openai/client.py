"""Sends one request through the ``openai`` library, whose own retries are off, and tells what came of it."""

import time
import weakref
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from embedmig.embedders.openai.answers import Answer, read_answer
from embedmig.embedders.openai.failures import Failure, Kind, judge_status, parse_retry_after
from embedmig.embedders.openai.options import OpenAIOptions
from embedmig.errors import UsageError

_NEEDED = ("openai", "tenacity")


def require_libraries() -> None:
    """Raises UsageError that names what to install."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise UsageError(f"the provider openai needs {', '.join(missing)}, not installed: pip install 'embedmig[api]'")


class EmbeddingsClient:
    """One model at one address. Several threads may ask at once."""

    def __init__(self, options: OpenAIOptions) -> None:
        """Raises UsageError when there is no key and one is needed."""
        import openai

        self._options = options
        key = options.read_key()
        self._omitted = openai.omit
        self._headers: dict[str, Any] = {}
        if key is None or options.api_key_header is not None:
            self._headers["Authorization"] = openai.omit
        if key is not None and options.api_key_header is not None:
            self._headers[options.api_key_header] = key
        self._client = openai.OpenAI(
            api_key=key or "none",
            base_url=options.base_url,
            default_query=dict(options.query),
            max_retries=0,
            # A redirect would take a key in a header of its own to wherever it leads.
            http_client=openai.DefaultHttpxClient(follow_redirects=False),
        )
        weakref.finalize(self, self._client.close)

    def ask(self, texts: Sequence[str], *, dimensions: int | None, timeout_s: float) -> Answer | Failure:
        """The vectors of ``texts``, or why there are none. ``dimensions``: what they must have; None: not known yet.

        Nothing of the library's errors is kept: they hold the request, and with it texts and key.
        """
        import openai

        options = self._options
        try:
            response = self._client.embeddings.with_raw_response.create(
                model=options.model,
                input=list(texts),
                encoding_format="base64" if options.encoding_format == "base64" else "float",
                dimensions=self._omitted if options.dimensions is None else options.dimensions,
                extra_headers=self._headers,
                timeout=timeout_s,
            ).http_response
        except openai.APIStatusError as error:
            return _judge(error)
        except openai.APITimeoutError:
            return Failure(kind=Kind.BUSY, said=f"no answer within {timeout_s:.3g} s")
        except openai.APIConnectionError as error:
            return Failure(kind=Kind.UNREACHABLE, said=f"no connection ({type(error.__cause__ or error).__name__})")
        return read_answer(response.content, texts=len(texts), answers_as=options.answers_as, dimensions=dimensions)


def _judge(error: Any) -> Failure:
    return judge_status(
        error.status_code,
        code=error.code,
        param=error.param,
        kind=error.type,
        retry_after_s=parse_retry_after(error.response.headers, now=time.time()),
    )
