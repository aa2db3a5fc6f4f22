"""The Alembic operations of slots: importing this folder registers ``op.add_embedding_column`` and its like.

In a user's env.py: ``from embedmig.schema.operations import include_object, render_item``, for ``context.configure``.
"""

from embedmig.schema.autogenerate import include_object, render_item
from embedmig.schema.operations.add_embedding_column import AddEmbeddingColumnOp
from embedmig.schema.operations.create_vector_index import (
    CreateVectorIndexOp,
    DropVectorIndexOp,
    IndexArguments,
    index_arguments,
)
from embedmig.schema.operations.drop_embedding_column import DropEmbeddingColumnOp
from embedmig.schema.operations.follow_embedmig import FollowEmbedmigOp, UnfollowEmbedmigOp
from embedmig.schema.operations.rename_embedding_column import RenameEmbeddingColumnOp
from embedmig.schema.slot_arguments import SlotArguments

__all__ = [
    "AddEmbeddingColumnOp",
    "CreateVectorIndexOp",
    "DropEmbeddingColumnOp",
    "DropVectorIndexOp",
    "FollowEmbedmigOp",
    "IndexArguments",
    "RenameEmbeddingColumnOp",
    "SlotArguments",
    "UnfollowEmbedmigOp",
    "include_object",
    "index_arguments",
    "render_item",
]
