"""What the rows that a report shows say today, for people who look at it."""

from collections.abc import Iterable

from psycopg import sql

from embedmig.db import Connection
from embedmig.db import identifiers as ident
from embedmig.types import Collection, Key
from embedmig.validation.pair import QUERIES, read_column
from embedmig.validation.report import QueryResult

_LONGEST = 600
_DOCUMENTS_AT_ONCE = 5_000


def read_texts(
    conn: Connection, collection: Collection, results: Iterable[QueryResult], by_document: str | None
) -> dict[Key, str]:
    """The beginnings of the texts of all rows among ``results``, blanks as one; of a document, of its first row.

    Rows that are gone by now, and those without text, are left out.
    """
    keys = list(dict.fromkeys(found.key for one in results for found in (*one.source, *one.target)))
    text = sql.SQL("left({}, {})").format(ident.text(collection, "d"), sql.Literal(_LONGEST))
    if by_document is None:
        found = read_column(conn, collection, text, keys)
    else:
        # A row without a document stands for itself, under an empty name before its key.
        alone = {key[1:]: key for key in keys if len(key) > 1}
        found = {alone[key]: value for key, value in read_column(conn, collection, text, alone).items()}
        found |= _first_of(conn, collection, text, by_document, [key[0] for key in keys if len(key) == 1])
    return {key: short for key, value in found.items() if (short := " ".join(value.split()))}


def _first_of(
    conn: Connection, collection: Collection, text: sql.Composable, by_document: str, documents: list[str]
) -> dict[Key, str]:
    query = QUERIES["read_first_of"].format(
        document=sql.SQL("{}::text").format(ident.dotted("d", by_document)),
        value=text,
        table=ident.table(collection),
        keys=ident.keys(collection, "d"),
    )
    rows = (
        row
        for start in range(0, len(documents), _DOCUMENTS_AT_ONCE)
        for row in conn.execute(query, {"given": documents[start : start + _DOCUMENTS_AT_ONCE]})
    )
    return {(row["document"],): row["value"] for row in rows}
