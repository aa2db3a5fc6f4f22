"""What went wrong with a request, in words that hold nothing of what was sent: pure."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum

_ABOUT_US = ("model", "dimensions", "encoding_format")
_SETUP_CODES = ("insufficient_quota", "model_not_found", "invalid_api_key", "billing_hard_limit_reached")


class Kind(Enum):
    """What is to be done about a failure."""

    BUSY = "send it again, more slowly"
    UNREACHABLE = "send it again"
    GARBLED = "send it again, a few times"
    INPUT = "other texts may pass"
    SETUP = "nothing will pass"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A request that gave no vectors."""

    kind: Kind
    said: str
    """For people: a status, a code, the name of an error; never a body."""
    status: int | None = None
    retry_after_s: float = 0.0
    tokens: int | None = 0
    """Billed all the same; None when the provider does not say."""

    @property
    def is_worth_repeating(self) -> bool:
        """Whether the same request may pass later."""
        return self.kind in (Kind.BUSY, Kind.UNREACHABLE, Kind.GARBLED)


def judge_status(status: int, *, code: object, param: object, kind: object, retry_after_s: float) -> Failure:
    """The failure behind an HTTP status; ``code``, ``param`` and ``kind`` as the body's error names them."""
    names = [name for name in map(_identifier, (code, kind)) if name]
    said = f"HTTP {status}" + (f" ({', '.join(dict.fromkeys(names))})" if names else "")
    if code in _SETUP_CODES or (status in (400, 422) and param in _ABOUT_US):
        about = _identifier(param)
        return Failure(kind=Kind.SETUP, said=said + (f" about {about}" if about else ""), status=status)
    if status in (408, 409, 425, 429) or status >= 500:
        return Failure(kind=Kind.BUSY, said=said, status=status, retry_after_s=retry_after_s)
    return Failure(kind=Kind.INPUT if status in (400, 413, 422) else Kind.SETUP, said=said, status=status)


def parse_retry_after(headers: Mapping[str, str], *, now: float) -> float:
    """Seconds that the provider asks to wait, 0 when it does not say: ``retry-after-ms``, or ``retry-after`` as seconds
    or as a date, of which ``now`` (epoch seconds) is taken off."""
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _seconds(text)
    if seconds is not None or text is None:
        return seconds or 0.0
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return 0.0


def _seconds(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None


def _identifier(value: object) -> str:
    """What names an error, if it is one word: providers put anything there, the text itself included."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if re.fullmatch(r"[A-Za-z0-9_.\-]{1,48}", text) else ""
