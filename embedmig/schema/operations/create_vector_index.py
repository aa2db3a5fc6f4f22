"""op.create_vector_index: an ANN index CONCURRENTLY; alone in its revision, for nothing is rolled back with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import renderers
from alembic.operations import MigrateOperation, Operations
from psycopg import sql

from embedmig.schema.index_design import IndexDesign
from embedmig.schema.inspection import AnnIndex
from embedmig.schema.operations.base import HasStatements, call, render_call, run_statements
from embedmig.types import Collection, Slot


@dataclass(frozen=True, kw_only=True)
class IndexArguments:
    """An ANN index as a revision names it."""

    name: str
    table: str
    column: str
    schema: str = "public"
    kind: str = "hnsw"
    """hnsw or ivfflat."""
    opclass: str
    """vector_cosine_ops, halfvec_l2_ops, bit_hamming_ops, ..."""
    quantised_dimensions: int | None = None
    """The length of the vectors, for an index over their binary quantisation; None: over the vectors themselves."""
    options: Mapping[str, int] = field(default_factory=dict)
    """m, ef_construction, lists."""
    predicate: str | None = None
    """The condition of a partial index."""
    vector_schema: str | None = None
    """Where pgvector is installed, when the search_path does not lead there."""
    collection: str
    slot: str

    def named(self) -> dict[str, Any]:
        """The keyword arguments that differ from their defaults, for a revision."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("name", "table", "column")}
        return {name: dict(value) if name == "options" else value for name, value in given.items() if value != {}}

    @property
    def design(self) -> IndexDesign:
        """The index as ``embedmig index`` builds it."""
        return IndexDesign(
            name=self.name,
            kind=self.kind,
            opclass=self.opclass,
            column=self.column,
            quantised_dimensions=self.quantised_dimensions,
            options=tuple(self.options.items()),
            predicate=self.predicate,
            number=0,
        )


def index_arguments(index: AnnIndex, collection: Collection, slot: Slot) -> IndexArguments:
    """An index that is there as an operation names it, for the revision that matches it."""
    return IndexArguments(
        name=index.name,
        table=index.table,
        column=slot.vector_column,
        schema=index.schema,
        kind=index.kind,
        opclass=index.opclass,
        quantised_dimensions=None if index.expression is None else slot.model.dimensions,
        options={name: int(value) for name, value in index.options.items()},
        predicate=index.predicate,
        collection=collection.name,
        slot=slot.name,
    )


class _VectorIndexOp(MigrateOperation):
    def __init__(self, index: IndexArguments) -> None:
        self.index = index

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """As Alembic prints operations."""
        return (type(self).__name__, self.index.name, self.index.table, self.index.column)


@Operations.register_operation("create_vector_index")
class CreateVectorIndexOp(_VectorIndexOp):
    """Builds the index without a lock that writers feel, unless a valid one of its name is there; an INVALID leftover
    of an interrupted build is dropped first."""

    @classmethod
    def create_vector_index(cls, operations: Operations, name: str, table: str, column: str, **arguments: Any) -> None:
        """``op.create_vector_index("docs_embedding_v2_idx", "docs", "embedding_v2", opclass=..., ...)``: the arguments
        are those of IndexArguments."""
        operations.invoke(cls(IndexArguments(name=name, table=table, column=column, **arguments)))

    def reverse(self) -> MigrateOperation:
        """Drops the index."""
        return DropVectorIndexOp(self.index)

    def statements(self) -> list[str]:
        """Each in autocommit."""
        create = self.index.design.statement(
            sql.Identifier(self.index.schema, self.index.table),
            vector_schema=self.index.vector_schema,
            if_not_exists=True,
        )
        parts = (_drop_invalid(self.index), create, _note(self.index, is_there=True))
        return [part.as_string(None) for part in parts]


@Operations.register_operation("drop_vector_index")
class DropVectorIndexOp(_VectorIndexOp):
    """Drops the index without a lock that readers feel; nothing where it is gone."""

    @classmethod
    def drop_vector_index(cls, operations: Operations, name: str, table: str, column: str, **arguments: Any) -> None:
        """The arguments are those of create_vector_index, so that each is the other's reverse."""
        operations.invoke(cls(IndexArguments(name=name, table=table, column=column, **arguments)))

    def reverse(self) -> MigrateOperation:
        """Builds the index."""
        return CreateVectorIndexOp(self.index)

    def statements(self) -> list[str]:
        """Each in autocommit."""
        drop = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(
            sql.Identifier(self.index.schema, self.index.name)
        )
        return [part.as_string(None) for part in (drop, _note(self.index, is_there=False))]


@Operations.implementation_for(CreateVectorIndexOp)
@Operations.implementation_for(DropVectorIndexOp)
def _run(operations: Operations, op: HasStatements) -> None:
    with operations.get_context().autocommit_block():
        run_statements(operations, op)


@renderers.dispatch_for(CreateVectorIndexOp)
def _render_create(context: AutogenContext, op: CreateVectorIndexOp) -> str:
    return _render(context, "create_vector_index", op.index)


@renderers.dispatch_for(DropVectorIndexOp)
def _render_drop(context: AutogenContext, op: DropVectorIndexOp) -> str:
    return _render(context, "drop_vector_index", op.index)


def _render(context: AutogenContext, function: str, index: IndexArguments) -> str:
    return render_call(context, function, (index.name, index.table, index.column), index.named())


def _note(index: IndexArguments, *, is_there: bool) -> sql.Composed:
    return call("note_index_v1", collection=index.collection, slot=index.slot, index_name=index.name, is_there=is_there)


def _drop_invalid(index: IndexArguments) -> sql.Composed:
    """IF NOT EXISTS would take the leftover of an interrupted build for the index."""
    name = sql.Identifier(index.schema, index.name)
    return sql.SQL("""DO $embedmig$ BEGIN
    IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass({}) AND NOT indisvalid) THEN
        PERFORM set_config('lock_timeout', '2s', true);
        DROP INDEX {};
    END IF;
END $embedmig$""").format(sql.Literal(name.as_string(None)), name)
