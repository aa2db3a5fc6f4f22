"""op.add_embedding_column: a slot's columns or companion, its check, its catalog row and the open migration."""

from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import renderers
from alembic.operations import MigrateOperation, Operations
from psycopg import sql

from embedmig.db.identifiers import comma
from embedmig.schema.constraints import add_check_statement
from embedmig.schema.naming import COMMENT, SCHEMA
from embedmig.schema.operations.base import call, render_call, run_statements, under_short_locks
from embedmig.schema.operations.companion import create_companion
from embedmig.schema.slot_arguments import SlotArguments


@Operations.register_operation("add_embedding_column")
class AddEmbeddingColumnOp(MigrateOperation):
    """Adds a slot beside the one that is there. Where the collection is not registered: columns or companion, and
    checks, only. Repeating it changes nothing; it fails where the catalog knows the model under another id."""

    def __init__(self, slot: SlotArguments) -> None:
        self.slot = slot

    @classmethod
    def add_embedding_column(cls, operations: Operations, table: str, column: str, **arguments: Any) -> None:
        """``op.add_embedding_column("docs", "embedding_v2", collection="docs", slot="v2", model=..., ...)``: the
        arguments are those of SlotArguments."""
        operations.invoke(cls(SlotArguments(table=table, column=column, **arguments)))

    def reverse(self) -> MigrateOperation:
        """Drops what this adds."""
        from embedmig.schema.operations.drop_embedding_column import DropEmbeddingColumnOp

        return DropEmbeddingColumnOp(self.slot)

    def statements(self) -> list[str]:
        """DDL first, so that the user's table is locked before the catalog's rows are."""
        return under_short_locks([*add_slot_statements(self.slot), _open_slot(self.slot)])

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """As Alembic prints operations."""
        return ("add_embedding_column", self.slot.table, self.slot.column)


@Operations.implementation_for(AddEmbeddingColumnOp)
def _run(operations: Operations, op: AddEmbeddingColumnOp) -> None:
    run_statements(operations, op)


@renderers.dispatch_for(AddEmbeddingColumnOp)
def _render(context: AutogenContext, op: AddEmbeddingColumnOp) -> str:
    return render_call(context, "add_embedding_column", (op.slot.table, op.slot.column), op.slot.named())


def add_slot_statements(slot: SlotArguments) -> list[sql.Composable]:
    """The DDL alone: the companion, or the columns with their checks, and the source's label if it comes with them."""
    return [*create_companion(slot)] if slot.is_apart else _add_columns(slot)


def _add_columns(slot: SlotArguments) -> list[sql.Composable]:
    table = slot.user_table
    columns: list[tuple[str, sql.Composable, str]] = [
        (slot.column, slot.type_name, f"vectors of slot {slot.slot} by {slot.model}")
    ]
    checks = []
    # A column that goes back to what it was before embedmig has neither.
    if slot.model_column is not None:
        columns.append((slot.model_column, sql.SQL("int"), f"the model of each {slot.column}"))
        checks.append(add_check_statement(table, slot.column, slot.model_column, slot.model_ids))
    if slot.hash_column is not None:
        columns.append((slot.hash_column, sql.SQL("uuid"), f"the hash of the text of each {slot.column}"))
    if slot.source_model_column is not None:
        assert slot.source_column is not None
        # A constant default is metadata: no row is rewritten, and every row there is has it at once.
        label = sql.SQL("int DEFAULT {}").format(sql.Literal(slot.source_model_id))
        columns.append((slot.source_model_column, label, f"the model of each {slot.source_column}, as declared"))
        ids = slot.source_model_ids
        checks.append(add_check_statement(table, slot.source_column, slot.source_model_column, ids))
    adds = comma(
        sql.SQL("\n    ADD COLUMN IF NOT EXISTS {} {}").format(sql.Identifier(name), kind) for name, kind, _ in columns
    )
    comments = [
        sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(table, sql.Identifier(name), sql.Literal(COMMENT + what))
        for name, _, what in columns
    ]
    own = [name for name, _, _ in columns]
    return [_refuse_foreign(table, own), sql.SQL("ALTER TABLE {}{}").format(table, adds), *comments, *checks]


def _refuse_foreign(table: sql.Identifier, names: list[str]) -> sql.Composed:
    """Fails where the table has a column of such a name that is not ours: the next statement would take it for ours."""
    return sql.SQL("""DO $embedmig$
DECLARE foreign_column text;
BEGIN
    SELECT attname INTO foreign_column FROM pg_attribute
     WHERE attrelid = {}::regclass AND attname IN ({}) AND NOT attisdropped
       AND NOT starts_with(coalesce(col_description(attrelid, attnum), ''), {});
    IF foreign_column IS NOT NULL THEN
        RAISE EXCEPTION '% has a column % that embedmig did not make', {}, foreign_column USING ERRCODE = 'EM001';
    END IF;
END $embedmig$""").format(
        sql.Literal(table.as_string(None)),
        comma(sql.Literal(name) for name in names),
        sql.Literal(COMMENT),
        sql.Literal(table.as_string(None)),
    )


def _open_slot(slot: SlotArguments) -> sql.Composed:
    return call(
        "open_slot_v1",
        collection=slot.collection,
        slot=slot.slot,
        model=slot.model,
        model_id=slot.model_id,
        bridge_model_id=slot.bridge_model_id,
        placement=str(slot.placement),
        table_schema=SCHEMA if slot.is_apart else slot.schema,
        table_name=slot.companion or slot.table,
        vector_column=slot.column,
        model_column=slot.model_column,
        hash_column=slot.hash_column,
        vector_type=slot.vector_type,
        source=slot.source,
        source_model_column=slot.source_model_column,
    )
