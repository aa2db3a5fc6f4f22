"""op.rename_embedding_column: gives a slot's column, its model and hash columns and its check another name."""

from collections.abc import Mapping
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import renderers
from alembic.operations import MigrateOperation, Operations
from psycopg import sql
from psycopg.types.json import Jsonb

from embedmig.schema.naming import check_of
from embedmig.schema.operations.base import call, render_call, run_statements, under_short_locks


@Operations.register_operation("rename_embedding_column")
class RenameEmbeddingColumnOp(MigrateOperation):
    """Renames within the user's table, and in the catalog. Where the new name is there and the old is not, nothing is
    left to do. Views follow the column and not the name; cached plans break."""

    def __init__(
        self,
        table: str,
        column: str,
        new_name: str,
        *,
        collection: str,
        slot: str,
        schema: str,
        also: Mapping[str, str],
    ) -> None:
        self.table, self.column, self.new_name = table, column, new_name
        self.collection, self.slot, self.schema, self.also = collection, slot, schema, dict(also)

    @classmethod
    def rename_embedding_column(
        cls,
        operations: Operations,
        table: str,
        column: str,
        new_name: str,
        *,
        collection: str,
        slot: str,
        schema: str = "public",
        also: Mapping[str, str] | None = None,
    ) -> None:
        """``also``: further columns that follow, old name to new: the model and the hash column."""
        operations.invoke(
            cls(table, column, new_name, collection=collection, slot=slot, schema=schema, also=also or {})
        )

    def reverse(self) -> MigrateOperation:
        """Gives the old names back."""
        back = {new: old for old, new in self.also.items()}
        return RenameEmbeddingColumnOp(
            self.table,
            self.new_name,
            self.column,
            collection=self.collection,
            slot=self.slot,
            schema=self.schema,
            also=back,
        )

    def statements(self) -> list[str]:
        """Columns, then the check, then the catalog with the triggers, which name columns."""
        table = sql.Identifier(self.schema, self.table)
        renames = {self.column: self.new_name, **self.also}
        return under_short_locks(
            [
                *(_rename_column(table, old, new) for old, new in renames.items()),
                _rename_check(table, check_of(self.column), check_of(self.new_name)),
                call("rename_columns_v1", collection=self.collection, slot=self.slot, renames=Jsonb(renames)),
            ]
        )

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """As Alembic prints operations."""
        return ("rename_embedding_column", self.table, self.column, self.new_name)


@Operations.implementation_for(RenameEmbeddingColumnOp)
def _run(operations: Operations, op: RenameEmbeddingColumnOp) -> None:
    run_statements(operations, op)


@renderers.dispatch_for(RenameEmbeddingColumnOp)
def _render(context: AutogenContext, op: RenameEmbeddingColumnOp) -> str:
    named = {"schema": op.schema, "collection": op.collection, "slot": op.slot, "also": op.also}
    return render_call(context, "rename_embedding_column", (op.table, op.column, op.new_name), named)


def _rename_column(table: sql.Identifier, old: str, new: str) -> sql.Composed:
    """Where neither name is there it runs, and Postgres says so."""
    return sql.SQL("""DO $embedmig$
DECLARE names text[] := ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = {}::regclass AND NOT attisdropped);
BEGIN
    IF {} = ANY (names) OR {} <> ALL (names) THEN
        ALTER TABLE {} RENAME COLUMN {} TO {};
    END IF;
END $embedmig$""").format(
        sql.Literal(table.as_string(None)),
        sql.Literal(old),
        sql.Literal(new),
        table,
        sql.Identifier(old),
        sql.Identifier(new),
    )


def _rename_check(table: sql.Identifier, old: str, new: str) -> sql.Composed:
    return sql.SQL("""DO $embedmig$ BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = {}::regclass AND conname = {}) THEN
        ALTER TABLE {} RENAME CONSTRAINT {} TO {};
    END IF;
END $embedmig$""").format(
        sql.Literal(table.as_string(None)), sql.Literal(old), table, sql.Identifier(old), sql.Identifier(new)
    )
