"""op.drop_embedding_column: takes a slot's columns, or its companion, away, and what the catalog knows of it."""

from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import renderers
from alembic.operations import MigrateOperation, Operations
from psycopg import sql

from embedmig.db.identifiers import comma
from embedmig.schema.naming import check_of
from embedmig.schema.operations.base import render_call, run_statements, under_short_locks
from embedmig.schema.slot_arguments import SlotArguments

_DROP = """DO $embedmig$
DECLARE may boolean := true;
BEGIN
    IF to_regclass('embedmig.slot') IS NOT NULL THEN
        may := {undo};
    END IF;
    IF may THEN
        {drop};
    END IF;
END $embedmig$"""


@Operations.register_operation("drop_embedding_column")
class DropEmbeddingColumnOp(MigrateOperation):
    """Drops a slot that serves nobody, with the label that came with it. Fails while it serves, or is a source that
    ``embedmig contract`` has not dropped; changes nothing where it is gone."""

    def __init__(self, slot: SlotArguments) -> None:
        self.slot = slot

    @classmethod
    def drop_embedding_column(cls, operations: Operations, table: str, column: str, **arguments: Any) -> None:
        """The arguments are those of add_embedding_column, so that each is the other's reverse."""
        operations.invoke(cls(SlotArguments(table=table, column=column, **arguments)))

    def reverse(self) -> MigrateOperation:
        """Adds the slot again, empty."""
        from embedmig.schema.operations.add_embedding_column import AddEmbeddingColumnOp

        return AddEmbeddingColumnOp(self.slot)

    def statements(self) -> list[str]:
        """The catalog first: it says whether the slot may go, and waits for workers before any table is locked. What it
        calls gone is left alone: after ``contract --rename-column`` its name is the new slot's."""
        undo = sql.SQL("embedmig.undo_slot_v1(collection => {}, slot => {}, keeps_label => {})").format(
            sql.Literal(self.slot.collection),
            sql.Literal(self.slot.slot),
            sql.Literal(self.slot.source_model_column is None),
        )
        drop = sql.SQL(_DROP).format(undo=undo, drop=sql.SQL(";\n        ").join(drop_slot_statements(self.slot)))
        return under_short_locks([drop])

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """As Alembic prints operations."""
        return ("drop_embedding_column", self.slot.table, self.slot.column)


@Operations.implementation_for(DropEmbeddingColumnOp)
def _run(operations: Operations, op: DropEmbeddingColumnOp) -> None:
    run_statements(operations, op)


@renderers.dispatch_for(DropEmbeddingColumnOp)
def _render(context: AutogenContext, op: DropEmbeddingColumnOp) -> str:
    return render_call(context, "drop_embedding_column", (op.slot.table, op.slot.column), op.slot.named())


def drop_slot_statements(slot: SlotArguments) -> list[sql.Composable]:
    """The DDL alone: the companion, or the columns with their checks, and the source's label if it came with them."""
    if slot.is_apart:
        return [sql.SQL("DROP TABLE IF EXISTS {}").format(slot.slot_table)]
    columns = [slot.column, slot.model_column, slot.hash_column]
    checks = [check_of(slot.column)]
    if slot.source_model_column is not None and slot.source_column is not None:
        columns.append(slot.source_model_column)
        checks.append(check_of(slot.source_column))
    gone = [("CONSTRAINT", name) for name in checks] + [("COLUMN", name) for name in columns if name is not None]
    drops = (sql.SQL("\n    DROP {} IF EXISTS {}").format(sql.SQL(kind), sql.Identifier(name)) for kind, name in gone)
    return [sql.SQL("ALTER TABLE {}{}").format(slot.user_table, comma(drops))]
