"""What the slot operations share: statements from identifiers and values, and running them under Alembic."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from psycopg import sql

LOCK_TIMEOUT = "2s"

# A revision shares its transaction with the user's own DDL, so the time-out that was there comes back at the end.
_SHORT_LOCKS = sql.SQL("""SELECT set_config('embedmig.lock_timeout_was', current_setting('lock_timeout'), true),
       set_config('lock_timeout', coalesce(nullif(current_setting('lock_timeout'), '0'), {}), true)""").format(
    sql.Literal(LOCK_TIMEOUT)
)
_LOCKS_AS_BEFORE = sql.SQL("SELECT set_config('lock_timeout', current_setting('embedmig.lock_timeout_was'), true)")


class HasStatements(Protocol):
    """An operation: the same statements whether it runs online, is rendered to a file, or goes over a connection."""

    def statements(self) -> list[str]:
        """In order; each is one statement, all of them one transaction."""
        ...


def under_short_locks(statements: Iterable[sql.Composable]) -> list[str]:
    """The statements as text, between those that shorten lock_timeout where none is set and put it back."""
    return [part.as_string(None).strip() for part in (_SHORT_LOCKS, *statements, _LOCKS_AS_BEFORE)]


def call(function: str, **arguments: object) -> sql.Composed:
    """Calls a catalog function by named arguments where there is a control schema; elsewhere says there is none."""
    named = sql.SQL(",\n            ").join(
        sql.SQL("{} => {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in arguments.items()
    )
    return sql.SQL("""DO $embedmig$ BEGIN
    IF to_regclass('embedmig.slot') IS NULL THEN
        RAISE NOTICE 'no control schema here: columns and checks only (embedmig collection add adopts them)';
    ELSE
        PERFORM {}(
            {});
    END IF;
END $embedmig$""").format(sql.Identifier("embedmig", function), named)


def run_statements(operations: Any, op: HasStatements) -> None:
    """Runs an operation's statements through Alembic, online or into the file of ``--sql``."""
    context = operations.get_context()
    for statement in op.statements():
        # Not as text(): it would read :name as a parameter, and double every percent sign of the printed form.
        if context.as_sql:
            context.impl.static_output(statement + context.impl.command_terminator)
        else:
            operations.get_bind().exec_driver_sql(statement, execution_options={"no_parameters": True})


def _as_typed(value: object) -> str:
    """A list of statements has one a line."""
    if not isinstance(value, list) or not value:
        return repr(value)
    return "[\n        " + ",\n        ".join(map(repr, value)) + ",\n    ]"


def render_call(context: Any, function: str, positional: Sequence[object], named: Mapping[str, object]) -> str:
    """``op.function(...)`` as a person would type it, one argument a line; those that are None stay out."""
    context.imports.add("import embedmig.schema.operations  # registers op.add_embedding_column and its like")
    lines = [", ".join(repr(value) for value in positional)]
    lines += [f"{name}={_as_typed(value)}" for name, value in named.items() if value is not None]
    prefix = context.opts["alembic_module_prefix"]
    return f"{prefix}{function}(\n    " + ",\n    ".join(lines) + ",\n)"
