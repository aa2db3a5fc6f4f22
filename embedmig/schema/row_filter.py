"""What a user says of a table's rows: which of them count, and what their text is. Postgres reads it, nothing is
parsed here."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from embedmig.db import Connection, Queries
from embedmig.errors import UnsupportedError, UsageError
from embedmig.schema.inspection import Column, TableFacts

QUERIES = Queries(__package__, "row_filter.sql")


@dataclass(frozen=True, kw_only=True)
class RowFilter:
    """A condition over the columns of one row."""

    condition: str
    """As Postgres prints it, every name outside pg_catalog qualified: it means the same under any search path."""
    columns: tuple[str, ...]


def read_filter(conn: Connection, facts: TableFacts, condition: str) -> RowFilter:
    """The condition as an index's WHERE would take it: boolean, over this row alone, by immutable functions. Tried on
    an empty temporary twin of the table, in a transaction that is rolled back.

    Raises UsageError with Postgres's own reason when it is anything else.
    """
    try:
        with _twin(conn, facts) as twin:
            # The binary format asks for the extended protocol, which takes one statement and no more.
            conn.execute(
                sql.SQL("CREATE INDEX embedmig_filter ON {} ((1)) WHERE ({}\n)").format(twin, sql.SQL(condition)),
                binary=True,
            )
            columns = tuple(row["name"] for row in conn.execute(QUERIES["columns_read"]))
            conn.execute(QUERIES["qualify_all_names"])
            printed = conn.execute(QUERIES["print_condition"]).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        raise
    except (psycopg.errors.ProgrammingError, psycopg.errors.NotSupportedError, psycopg.errors.DataError) as exc:
        raise UsageError(
            f"the filter {condition!r} is no condition over one row of {facts.name}: {exc.diag.message_primary}."
            " It may read the row's own columns, with immutable functions only: who changes a row, not the time or"
            " another table, decides whether it has a vector"
        ) from exc
    if printed is None or not columns:
        raise UsageError(f"the filter {condition!r} reads no column of {facts.name}: leave it out")
    return RowFilter(condition=printed["condition"], columns=columns)


def try_filter(conn: Connection, facts: TableFacts, scope: RowFilter) -> None:
    """Evaluates the filter on every row there is. Raises UsageError when it fails on one: in a trigger, that would be
    a write of the user's that fails."""
    try:
        with conn.transaction():
            conn.execute(
                sql.SQL("SELECT count(*) FROM {} WHERE ({})").format(facts.name.identifier, sql.SQL(scope.condition))
            )
    except psycopg.errors.DataError as exc:
        raise UsageError(
            f"the filter fails on a row of {facts.name}: {exc.diag.message_primary}. Write it so that it gives true,"
            " false or NULL for every row"
        ) from exc


def require_text_column(facts: TableFacts, name: str) -> None:
    """Raises NotFoundError or UnsupportedError unless the column can be text that is embedded: its printed form must
    be the same in every session, or its hash would differ from worker to worker."""
    column = facts.column(name)
    if not _prints_the_same_everywhere(column):
        raise UnsupportedError(
            f"column {name} of {facts.name} is {column.type}, which prints by the session's settings: embed a text"
            " column, or a generated one that formats it"
        )


def _prints_the_same_everywhere(column: Column) -> bool:
    # Strings, enums, booleans; numbers but not floats or money; of the rest those known to.
    if column.category == "N":
        return column.type_name in ("int2", "int4", "int8", "numeric")
    return column.category in "SEB" or column.type_name in ("uuid", "json", "jsonb", "xml")


@contextmanager
def _twin(conn: Connection, facts: TableFacts) -> Iterator[sql.Identifier]:
    """An empty temporary table with the same columns and the same name, for the length of the block."""
    twin = sql.Identifier("pg_temp", facts.name.table)
    with conn.transaction(force_rollback=True):
        conn.execute(sql.SQL("CREATE TEMPORARY TABLE {} (LIKE {})").format(twin, facts.name.identifier))
        yield twin
