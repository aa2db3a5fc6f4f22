"""A caller's condition on the user's table as SQL and parameters: SQLAlchemy expressions and plain SQL. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from embedmig.db.identifiers import escape_percent
from embedmig.errors import UsageError
from embedmig.types import Collection

if TYPE_CHECKING:
    import sqlalchemy as sa

Where: TypeAlias = "sa.ColumnElement[bool] | str | None"
"""A SQLAlchemy expression over the user's table, or SQL over its bare column names."""

OUR_NAMES = "embedmig_"
"""What parameters and columns of ours begin with."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """``text`` stands on the row ``d`` and has its values as ``%(name)s``."""

    text: str
    params: Mapping[str, Any] = field(default_factory=dict)


def compile_filter(where: Where, params: Mapping[str, Any] | None, collection: Collection) -> Filter:
    """``params`` go with plain SQL: ``where="lang = %(lang)s", params={"lang": "en"}``; as in psycopg, a lone ``%``
    is doubled where there are params, and stands for itself where there are none.

    Raises UsageError for what is neither of the two, or reads another table outside a sub-select.
    """
    if isinstance(where, str):
        found = _plain(where, params)
    elif params is not None:
        raise UsageError("params go with a filter in SQL; a SQLAlchemy expression carries its own values")
    else:
        found = _compile(where, collection)
    if taken := sorted(name for name in found.params if name.startswith(OUR_NAMES)):
        raise UsageError(f"the filter's parameter {taken[0]} has a name kept for embedmig: rename it")
    return found


def _plain(where: str, params: Mapping[str, Any] | None) -> Filter:
    if not where.strip():
        raise UsageError("the filter is empty: leave where out, or write a condition over the table's columns")
    if params is None:
        return Filter(text=escape_percent(where))
    if not isinstance(params, Mapping):
        raise UsageError('a filter\'s values go by name: where="lang = %(lang)s", params={"lang": "en"}')
    return Filter(text=where, params=dict(params))


def _compile(where: Any, collection: Collection) -> Filter:
    import sqlalchemy as sa
    from sqlalchemy.dialects.postgresql import psycopg

    if not isinstance(where, sa.ClauseElement) and not hasattr(where, "__clause_element__"):
        raise UsageError(f"a filter is a SQLAlchemy expression or SQL, not {type(where).__name__}")
    one: sa.ColumnElement[int] = sa.literal_column("1")
    dialect: sa.Dialect = psycopg.dialect()  # type: ignore[no-untyped-call]
    try:
        condition = sa.select(one).where(where).whereclause
        row, condition = _on_row(condition, collection)
        # Compiled whole and cut, so that sub-selects of the caller's correlate with the row.
        compiled = sa.select(one).select_from(row).where(condition).compile(
            dialect=dialect, compile_kwargs={"render_postcompile": True}
        )  # fmt: skip
    except sa.exc.SQLAlchemyError as exc:
        raise UsageError(f"the filter does not compile: {exc}") from exc
    head, text = "SELECT 1 \nFROM d \nWHERE ", str(compiled)
    if not text.startswith(head):
        raise UsageError(f"the filter reads more than {collection.qualified}: put other tables into an EXISTS")
    return Filter(text=text.removeprefix(head), params=_values(compiled))


def _on_row(condition: Any, collection: Collection) -> tuple[Any, Any]:
    """The row ``d``, and the condition with every column of the user's table read from it."""
    import sqlalchemy as sa
    from sqlalchemy.sql import visitors

    def is_column(element: Any) -> bool:
        table = element.table if isinstance(element, sa.ColumnClause) else None
        return (
            isinstance(table, sa.TableClause)
            and table.name == collection.table
            and getattr(table, "schema", None) in (None, collection.schema)
        )

    used: list[Any] = [element for element in visitors.iterate(condition) if is_column(element)]
    row = sa.table("d", *{column.name: sa.column(column.name, column.type) for column in used}.values())

    def read_from_row(element: Any, **_: Any) -> Any:
        return row.c[element.name] if is_column(element) else None

    return row, visitors.replacement_traverse(condition, {}, read_from_row)


def _values(compiled: Any) -> dict[str, Any]:
    """The values as the driver takes them: a type of the caller's (JSON, an enum) may convert its own."""
    kinds = {name: bind.type for bind, name in compiled.bind_names.items()}
    values = {}
    for name, value in compiled.params.items():
        # The values of an IN list are numbered behind the name of their list.
        base = name
        while base not in kinds:
            base = base.rpartition("_")[0]
        convert = kinds[base].dialect_impl(compiled.dialect).bind_processor(compiled.dialect)
        values[name] = value if convert is None else convert(value)
    return values
