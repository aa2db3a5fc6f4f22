"""search: what a question finds, and which slot and model answer it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from embedmig.catalog.collections import get_collection
from embedmig.db import Database, identifiers
from embedmig.search.plan import Explanation
from embedmig.search.searcher import Searcher
from embedmig.settings import Settings, load_settings
from embedmig.types import Embedding

SNIPPET_CHARS = 120


@dataclass(frozen=True, kw_only=True)
class Found:
    """A row that was found, with the beginning of its text on one line."""

    key: Any
    distance: float
    slot: str
    model: str
    stale: bool
    snippet: str
    notes: tuple[str, ...] = ()
    """What is to be said of the search that found it."""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """Nearest first."""

    collection: str
    hits: list[Found]
    explanation: Explanation | None
    """Which slot, which model, and why; None unless asked for."""


def search(
    db: Database,
    collection: str,
    query: str | Embedding,
    *,
    k: int = 10,
    where: str | None = None,
    routing_key: str | None = None,
    exact: bool = False,
    explain: bool = False,
    settings: Settings | None = None,
) -> SearchResult:
    """The ``k`` rows nearest to ``query``. ``where``: a condition in SQL over the table's columns. ``routing_key``:
    whose request it is; without one the text routes by itself. Raises what ``Searcher.connect`` and its search raise.
    """
    with db.connect(patience=settings or load_settings()) as conn:
        known = get_collection(conn, collection)
        columns = known.text_columns
        # A person is told of a lock that an application would wait for.
        conn.execute(sql.SQL("SELECT FROM {} LIMIT 0").format(identifiers.table(known)))
    look = Searcher.connect(collection, database_url=db.url, settings=settings, max_connections=1, counted=False)
    with look as searcher:
        hits = searcher.search(query, k, where=where, routing_key=routing_key, exact=exact, columns=columns)
        explanation = None
        if explain:
            explanation = searcher.explain(query, k, where=where, routing_key=routing_key, exact=exact)
    found = [
        Found(
            key=hit.key,
            distance=hit.distance,
            slot=hit.slot,
            model=hit.model,
            stale=hit.stale,
            snippet=make_snippet(hit.columns),
            notes=hit.notes,
        )
        for hit in hits
    ]
    return SearchResult(collection=collection, hits=found, explanation=explanation)


def make_snippet(columns: Mapping[str, Any], length: int = SNIPPET_CHARS) -> str:
    """The beginning of the row's text on one line, safe for a terminal."""
    line = " ".join(" ".join(str(value) for value in columns.values() if value is not None).split())
    printable = "".join(char for char in line if char.isprintable())
    return printable if len(printable) <= length else printable[: length - 1].rstrip() + "…"
