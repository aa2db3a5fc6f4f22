"""The Alembic operations of slots: importing this folder registers ``op.add_embedding_column`` and its like."""

from embedmig.schema.operations.add_embedding_column import AddEmbeddingColumnOp
from embedmig.schema.operations.arguments import SlotArguments
from embedmig.schema.operations.create_vector_index import CreateVectorIndexOp, DropVectorIndexOp, IndexArguments
from embedmig.schema.operations.drop_embedding_column import DropEmbeddingColumnOp
from embedmig.schema.operations.rename_embedding_column import RenameEmbeddingColumnOp

__all__ = [
    "AddEmbeddingColumnOp",
    "CreateVectorIndexOp",
    "DropEmbeddingColumnOp",
    "DropVectorIndexOp",
    "IndexArguments",
    "RenameEmbeddingColumnOp",
    "SlotArguments",
]
