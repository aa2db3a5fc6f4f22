from email.utils import formatdate

import pytest

from embedmig.embedders.openai.failures import Kind, judge_status, parse_retry_after

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("status", "code", "param", "kind"),
    [
        (429, "rate_limit_exceeded", None, Kind.BUSY),
        (429, None, None, Kind.BUSY),
        (429, "insufficient_quota", None, Kind.SETUP),
        (408, None, None, Kind.BUSY),
        (500, None, None, Kind.BUSY),
        (503, None, None, Kind.BUSY),
        (529, None, None, Kind.BUSY),
        (400, None, None, Kind.INPUT),
        (400, "context_length_exceeded", "input", Kind.INPUT),
        (413, None, None, Kind.INPUT),
        (422, None, None, Kind.INPUT),
        (400, None, "dimensions", Kind.SETUP),
        (400, None, "encoding_format", Kind.SETUP),
        (400, "model_not_found", "model", Kind.SETUP),
        (401, "invalid_api_key", None, Kind.SETUP),
        (403, None, None, Kind.SETUP),
        (404, None, None, Kind.SETUP),
        (405, None, None, Kind.SETUP),
        (307, None, None, Kind.SETUP),
    ],
)
def test_a_status_says_what_is_to_be_done(status: int, code: str | None, param: str | None, kind: Kind) -> None:
    failure = judge_status(status, code=code, param=param, kind="an_error", retry_after_s=0)
    assert failure.kind is kind
    assert failure.status == status
    assert str(status) in failure.said
    assert failure.is_worth_repeating == (kind is Kind.BUSY)


@pytest.mark.parametrize("echoed", ["my private text", "sk-abc def", "a" * 49, "päss", {"a": 1}, None, True, "<html>"])
def test_what_is_no_plain_identifier_is_not_repeated(echoed: object) -> None:
    said = judge_status(400, code=echoed, param="input", kind=echoed, retry_after_s=0).said
    assert said == "HTTP 400"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "inf"}, 0),
        ({"retry-after": "nan"}, 0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "many", "retry-after": "9"}, 9),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30),
        ({"retry-after": formatdate(NOW - 30, usegmt=True)}, 0),
        ({"retry-after": "Fri, 99 Xxx 2027 08:00:00 GMT"}, 0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(headers: dict[str, str], seconds: float) -> None:
    assert parse_retry_after(headers, now=NOW) == pytest.approx(seconds)
