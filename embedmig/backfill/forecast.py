"""What embedding a collection with a model would take: counted on a sample, timed on it where that costs nothing."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from embedmig.catalog.rates import RateLimits
from embedmig.db import Connection
from embedmig.db import identifiers as ident
from embedmig.embedders import Embedder
from embedmig.types import Collection, Model

_EXACT_ROWS = 100_000
_PAGES_FOR_ROWS = 20_000
_SAMPLE_TEXTS = 400
_BATCH = 32
_MEASURE_S = 3.0
_CHARACTERS_A_TOKEN = 5


@dataclass(frozen=True, kw_only=True)
class EmbeddingForecast:
    """How much there is to embed, and for how long. Of a sample, except where said."""

    rows_wanting: int
    """With text, in the row filter."""
    rows_wanting_are_exact: bool
    sample_texts: int
    tokens: int
    """Of all of them together, what the model cuts off left out."""
    truncated_share: float
    """Of texts longer than the model takes, 0 to 1."""
    longest_tokens: int
    cost: float | None
    """In the price's currency; None without a price."""
    rows_per_s: float | None
    seconds: float | None
    how: str
    """Where the time comes from, or why there is none."""


def forecast_embedding(
    conn: Connection,
    collection: Collection,
    model: Model,
    embedder: Embedder,
    limits: RateLimits,
    *,
    rows: int,
    measure: bool = True,
) -> EmbeddingForecast:
    """Reads a sample of ``rows`` (the table's, about), counts its tokens and, with ``measure``, embeds a part of it."""
    wanting, exact = count_wanting(conn, collection, rows)
    texts = sample_texts(conn, collection, rows)
    counts = embedder.count_tokens(texts) if texts else []
    limit = embedder.max_tokens
    taken = [count if limit is None else min(count, limit) for count in counts]
    tokens = round(sum(taken) / len(taken) * wanting) if taken else 0
    price = model.price_per_million_tokens
    rate, how = _rate(texts, embedder, measure=measure)
    seconds = wanting / rate if rate else None
    at_limits = _seconds_at_limits(limits, tokens, wanting)
    if at_limits is not None and at_limits > (seconds or 0):
        seconds, how = at_limits, "at the limits per minute that are set for the model"
    return EmbeddingForecast(
        rows_wanting=wanting,
        rows_wanting_are_exact=exact,
        sample_texts=len(texts),
        tokens=tokens,
        truncated_share=sum(count > limit for count in counts) / len(counts) if counts and limit is not None else 0.0,
        longest_tokens=max(counts, default=0),
        cost=None if price is None else tokens * price / 1e6,
        rows_per_s=wanting / seconds if seconds else rate,
        seconds=seconds if wanting else 0.0,
        how=how,
    )


def count_wanting(conn: Connection, collection: Collection, rows: int) -> tuple[int, bool]:
    """Rows that want a vector, and whether that is exact: counted below 100,000 rows, above by a sample of pages."""
    statement = sql.SQL("SELECT count(*) AS n, count(*) FILTER (WHERE {}) AS wanting FROM {} AS d{}")
    wants, table = ident.wants_vector(collection, "d"), ident.table(collection)
    exact = rows < _EXACT_ROWS
    row = conn.execute(statement.format(wants, table, _pages(rows, exact=exact)), {}).fetchone()
    assert row is not None
    if exact:
        return int(row["wanting"]), True
    return (round(rows * row["wanting"] / row["n"]) if row["n"] else rows), False


def sample_texts(conn: Connection, collection: Collection, rows: int, count: int = _SAMPLE_TEXTS) -> list[str]:
    """Up to ``count`` texts of rows that want a vector, at random (of random pages, where there are many)."""
    statement = sql.SQL("SELECT {} AS text FROM {} AS d{} WHERE {} ORDER BY random() LIMIT {}").format(
        ident.text(collection, "d"),
        ident.table(collection),
        _pages(rows, exact=rows < _EXACT_ROWS),
        ident.wants_vector(collection, "d"),
        sql.Literal(count),
    )
    return [row["text"] for row in conn.execute(statement, {})]


def mean_characters(conn: Connection, collection: Collection, model: Model, rows: int) -> float | None:
    """Characters of a text that the model reads, by a sample of ``rows`` (the table's, about); None without texts."""
    texts = sample_texts(conn, collection, rows)
    limit = None if model.max_tokens is None else model.max_tokens * _CHARACTERS_A_TOKEN
    lengths = [len(text) if limit is None else min(len(text), limit) for text in texts]
    return sum(lengths) / len(lengths) if lengths else None


def _pages(rows: int, *, exact: bool) -> sql.Composable:
    if exact:
        return sql.SQL("")
    return sql.SQL(" TABLESAMPLE SYSTEM ({})").format(sql.Literal(min(100.0, 100 * _PAGES_FOR_ROWS / rows)))


def _rate(texts: Sequence[str], embedder: Embedder, *, measure: bool) -> tuple[float | None, str]:
    if not texts:
        return None, "there is nothing to embed"
    if not measure:
        return None, "not measured: calls cost money, or it was asked not to"
    embedder.embed_documents(texts[:2])
    started, done = time.monotonic(), 0
    while done < len(texts) and time.monotonic() - started < _MEASURE_S:
        done += len(embedder.embed_documents(texts[done : done + _BATCH]))
    rate = done / (time.monotonic() - started)
    return rate, f"measured here on {done} texts, on {embedder.compute_type}, by one worker"


def _seconds_at_limits(limits: RateLimits, tokens: int, rows: int) -> float | None:
    minutes = []
    if limits.tokens_per_minute:
        minutes.append(tokens / limits.tokens_per_minute)
    if limits.requests_per_minute:
        minutes.append(rows / _BATCH / limits.requests_per_minute)
    return 60 * max(minutes) if minutes else None
