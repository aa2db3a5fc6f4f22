"""What hangs on a column or a table: everything that would break with it, or go with it unasked."""

from dataclasses import dataclass

from embedmig.db import Connection, Queries
from embedmig.errors import NotFoundError

QUERIES = Queries(__package__, "dependents.sql")


@dataclass(frozen=True, kw_only=True)
class Dependent:
    """One object of the user's that needs the column."""

    kind: str
    """view, materialized view, rule, function, generated column, default, index, constraint, foreign key, trigger,
    policy, publication, statistics; object for what has no line of its own here."""
    name: str
    """As typed in SQL."""
    on_table: str | None
    """The table it stands on, for those that have no name of their own outside it."""
    how_to_free: str
    """A statement or two, in words where only a person can say what is right."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" on {self.on_table}" if self.on_table else "")


def list_dependents(conn: Connection, schema: str, table: str, column: str | None = None) -> list[Dependent]:
    """Everything of the user's that depends on a column, or on a whole table, of those exact names, on its partitions
    too. Indexes for nearest neighbours are left out, as is what embedmig made: they go with the vectors. Functions
    whose bodies are strings are not seen: Postgres itself does not know what they read.

    Raises NotFoundError when there is no such table or column.
    """
    names = {"schema": schema, "table": table, "column": column}
    if conn.execute(QUERIES["is_there"], names).fetchone() is None:
        raise NotFoundError("table or column", f"{schema}.{table}" + (f".{column}" if column else ""))
    return [
        Dependent(**row, how_to_free=_how_to_free(row["kind"], row["name"], row["on_table"]))
        for row in conn.execute(QUERIES["list_dependents"], names)
    ]


def _how_to_free(kind: str, name: str, on_table: str | None) -> str:
    match kind:
        case "view" | "materialized view":
            return f"DROP {kind.upper()} {name}, and create it again over the new slot"
        case "rule" | "trigger" | "policy":
            return f"DROP {kind.upper()} {name} ON {on_table}, and create it again without the column"
        case "generated column":
            return (
                f"ALTER TABLE {on_table} DROP COLUMN {name}, or ALTER COLUMN {name} DROP EXPRESSION to keep its values"
            )
        case "default":
            return f"ALTER TABLE {on_table} ALTER COLUMN {name} DROP DEFAULT"
        case "index":
            return f"DROP INDEX CONCURRENTLY {name}; it would go with the column unasked"
        case "constraint" | "foreign key":
            return f"ALTER TABLE {on_table} DROP CONSTRAINT {name}"
        case "statistics":
            return f"DROP STATISTICS {name}; it would go with the column unasked"
        case "publication":
            return f"ALTER PUBLICATION {name} SET TABLE {on_table} (...), with the columns that stay"
        case "object":
            return f"drop or change {name}"
        case _:
            return f"DROP FUNCTION {name}, or CREATE OR REPLACE it without the column"
