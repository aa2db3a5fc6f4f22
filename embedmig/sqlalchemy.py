"""A column type whose vectors name their model: what goes in and what comes out is an ``Embedding``."""

import json
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import sqlalchemy as sa
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.exc import DontWrapMixin
from sqlalchemy.sql.operators import custom_op
from sqlalchemy.types import NullType, UserDefinedType

from embedmig.errors import DimensionError, ModelMismatchError, UnversionedVectorError, UsageError
from embedmig.types import Embedding, Floats, parse_model_key

VECTOR_TYPES = ("vector", "halfvec")


class _UnversionedInStatementError(DontWrapMixin, UnversionedVectorError):
    """Raised while a statement is executed, where SQLAlchemy would wrap the plain one into its own."""


class _OtherModelInStatementError(DontWrapMixin, ModelMismatchError):
    def __init__(self, *, given: str, holds: str) -> None:
        super().__init__(query_model=given, slot_model=holds, slot="of this column")
        self.args = (f"the embedding is from {given}, the column holds {holds}: embed with {holds}",)


class _DimensionInStatementError(DontWrapMixin, DimensionError):
    """The same."""


class VersionedVector(UserDefinedType[Embedding]):
    """``VersionedVector(384, model="minilm@1")``: a pgvector column of one model's vectors.

    Values and operands of the distance operators are Embeddings of that model: a bare list or array raises
    UnversionedVectorError, another model's ModelMismatchError, another length DimensionError, and nothing is sent. Rows
    that embedmig bridged read as Embeddings of the column's model too, in whose space they are.

    The type names one column and follows no route: for what serves now, ask Searcher or ``embedmig.search_v1``.
    """

    cache_ok = True

    def __init__(self, dimensions: int, model: str, vector_type: str = "vector") -> None:
        """``vector_type``: ``vector`` or ``halfvec``. Raises UsageError for what cannot be."""
        # No keyword-only ones: SQLAlchemy neither copies those nor has them in its cache keys.
        parse_model_key(model)
        if not isinstance(dimensions, int) or dimensions < 1:
            raise UsageError(f"a vector has a whole number of dimensions, 1 or more, not {dimensions!r}")
        if vector_type not in VECTOR_TYPES:
            raise UsageError(f"vector_type is {' or '.join(VECTOR_TYPES)}, not {vector_type!r}")
        self.dimensions, self.model, self.vector_type = dimensions, model, vector_type

    def __repr__(self) -> str:
        kind = "" if self.vector_type == "vector" else f", vector_type={self.vector_type!r}"
        return f"VersionedVector({self.dimensions}, model={self.model!r}{kind})"

    def get_col_spec(self, **_: Any) -> str:
        """As pgvector's own types have it, so that Alembic finds no difference."""
        return f"{self.vector_type.upper()}({self.dimensions})"

    @property
    def python_type(self) -> type[Embedding]:
        """What goes in and comes out."""
        return Embedding

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], str | None]:
        """Takes Embeddings of the column's model, and None."""
        return lambda value: None if value is None else self._to_text(value)

    def literal_processor(self, dialect: sa.Dialect) -> Callable[[Any], str]:
        """The same, for SQL that is printed."""
        return lambda value: "NULL" if value is None else f"'{self._to_text(value)}'"

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], Embedding | None]:
        """Embeddings of the column's model, whether or not the driver knows pgvector's types."""
        return lambda value: None if value is None else _stored(_to_floats(value), self.model)

    def require(self, value: object) -> Embedding:
        """The value, if it is an Embedding of the column's model."""
        if not isinstance(value, Embedding):
            raise _UnversionedInStatementError(type(value).__name__)
        if value.model != self.model:
            raise _OtherModelInStatementError(given=value.model, holds=self.model)
        if value.values.size != self.dimensions:
            raise _DimensionInStatementError(given=value.values.size, expected=self.dimensions, model=self.model)
        return value

    def _to_text(self, value: object) -> str:
        return "[" + ",".join(map(str, self.require(value).values.tolist())) + "]"

    class Comparator(VECTOR.Comparator):  # type: ignore[misc]
        """pgvector's distances, over Embeddings and columns of the same model."""

        type: "VersionedVector"

        def operate(self, op: Any, *other: Any, **options: Any) -> Any:
            """Refuses a wrong operand where the expression is written, not where it is executed."""
            if isinstance(op, custom_op):
                for operand in other:
                    self._require_operand(operand)
            return super().operate(op, *other, **options)

        def _require_operand(self, operand: Any) -> None:
            expression = operand.__clause_element__() if hasattr(operand, "__clause_element__") else operand
            if not isinstance(expression, sa.ClauseElement):
                self.type.require(operand)
                return
            kind = getattr(expression, "type", None)
            if isinstance(expression, sa.BindParameter) and isinstance(kind, NullType):
                # It takes this type, and its value is looked at when there is one.
                return
            if not isinstance(kind, VersionedVector):
                _refuse_unversioned(expression)
            if kind.model != self.type.model:
                raise _OtherModelInStatementError(given=kind.model, holds=self.type.model)

    comparator_factory = Comparator


def _refuse_unversioned(expression: sa.ClauseElement) -> NoReturn:
    raise _UnversionedInStatementError(f"expression ({expression})")


def _to_floats(value: Any) -> Floats:
    if isinstance(value, str):
        value = json.loads(value)
    elif hasattr(value, "to_numpy"):
        value = value.to_numpy()
    return np.asarray(value if isinstance(value, np.ndarray | Sequence) else list(value), dtype=np.float32)


def _stored(values: Floats, model: str) -> Embedding:
    """Without the checks of a new one: a row that holds only zeros must not keep a page from loading."""
    embedding = Embedding.__new__(Embedding)
    embedding.values, embedding.model = values, model
    return embedding
