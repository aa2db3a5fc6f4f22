"""The column type without a database: what it refuses before anything is sent, and how it prints."""

from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from pgvector import HalfVector, Vector
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from embedmig import Embedding, VersionedVector
from embedmig.errors import DimensionError, ModelMismatchError, UnversionedVectorError, UsageError

KIND = VersionedVector(3, model="old@1")
OURS = Embedding([1, 2, 3], model="old@1")
DIALECT = psycopg.dialect()


class Base(DeclarativeBase): ...


class Doc(Base):
    __tablename__ = "docs"
    id: Mapped[int] = mapped_column(primary_key=True)
    embedding: Mapped[Embedding | None] = mapped_column(KIND)
    twin: Mapped[Embedding | None] = mapped_column(VersionedVector(3, model="old@1"))
    other: Mapped[Embedding | None] = mapped_column(VersionedVector(3, model="new@1"))
    bare: Mapped[Any] = mapped_column(VECTOR(3))


WRONG = [
    ([1, 2, 3], UnversionedVectorError),
    ((1, 2, 3), UnversionedVectorError),
    (np.ones(3, dtype=np.float32), UnversionedVectorError),
    (Vector([1, 2, 3]), UnversionedVectorError),
    ("[1,2,3]", UnversionedVectorError),
    (Embedding([1, 2, 3], model="new@1"), ModelMismatchError),
    (Embedding([1, 2, 3], model="old@2"), ModelMismatchError),
    (Embedding([1, 2], model="old@1"), DimensionError),
]
IDS = ["list", "tuple", "array", "Vector", "text", "another model", "another revision", "another length"]
DISTANCES = ["cosine_distance", "l2_distance", "max_inner_product", "l1_distance"]


@pytest.mark.parametrize(("value", "error"), WRONG, ids=IDS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_a_distance_to_a_wrong_thing_is_refused_where_it_is_written(
    value: Any, error: type[Exception], distance: str
) -> None:
    with pytest.raises(error):
        getattr(Doc.embedding, distance)(value)
    with pytest.raises(error):
        Doc.embedding.op("<=>")(value)


@pytest.mark.parametrize(("value", "error"), WRONG, ids=IDS)
def test_a_wrong_value_is_refused_where_it_is_bound(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        KIND.bind_processor(DIALECT)(value)
    with pytest.raises(error):
        KIND.literal_processor(DIALECT)(value)


def test_a_distance_to_no_vector_is_refused() -> None:
    with pytest.raises(UnversionedVectorError):
        Doc.embedding.cosine_distance(None)


@pytest.mark.parametrize(
    ("operand", "error"),
    [
        (Doc.other, ModelMismatchError),
        (sa.select(Doc.other).scalar_subquery(), ModelMismatchError),
        (Doc.bare, UnversionedVectorError),
        (sa.text("'[1,2,3]'"), UnversionedVectorError),
        (sa.literal("[1,2,3]"), UnversionedVectorError),
        (sa.cast("[1,2,3]", VECTOR(3)), UnversionedVectorError),
    ],
    ids=["column of another model", "sub-select", "bare column", "SQL", "literal", "cast"],
)
def test_an_expression_that_is_not_known_to_be_of_the_model_is_refused(operand: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Doc.embedding.cosine_distance(operand)


@pytest.mark.parametrize(
    "operand",
    [OURS, Doc.twin, sa.select(Doc.twin).scalar_subquery(), sa.bindparam("q")],
    ids=["embedding", "column", "sub-select", "parameter"],
)
@pytest.mark.parametrize(
    ("distance", "operator"), list(zip(DISTANCES, ["<=>", "<->", "<#>", "<+>"], strict=True)), ids=DISTANCES
)
def test_pgvectors_operators_compare_what_is_of_the_model(operand: Any, distance: str, operator: str) -> None:
    expression = getattr(Doc.embedding, distance)(operand)
    assert f"docs.embedding {operator} " in str(expression.compile(dialect=DIALECT))
    assert isinstance(expression.type, sa.Float)


def test_a_parameter_is_looked_at_when_it_has_a_value() -> None:
    compiled = sa.select(Doc.embedding.cosine_distance(sa.bindparam("q"))).compile(dialect=DIALECT)
    process = compiled._bind_processors["q"]
    assert process(OURS) == "[1.0,2.0,3.0]"
    with pytest.raises(UnversionedVectorError):
        process([1, 2, 3])


def test_literals_are_printed_whole() -> None:
    statement = sa.select(Doc.id).order_by(Doc.embedding.l2_distance(OURS))
    printed = str(statement.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True}))
    assert "docs.embedding <-> '[1.0,2.0,3.0]'" in printed


@pytest.mark.parametrize(
    "value", ["[1,2,3]", Vector([1, 2, 3]), HalfVector([1, 2, 3]), np.array([1, 2, 3]), [1, 2, 3]], ids=str
)
def test_whatever_the_driver_gives_is_read_as_an_embedding_of_the_model(value: Any) -> None:
    read = KIND.result_processor(DIALECT, None)(value)
    assert read == OURS
    assert read.values.dtype == np.float32


def test_null_goes_both_ways_and_zeros_are_read() -> None:
    read = KIND.result_processor(DIALECT, None)
    assert (KIND.bind_processor(DIALECT)(None), read(None)) == (None, None)
    assert read("[0,0,0]").values.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("kind", "printed", "column"),
    [
        (KIND, "VersionedVector(3, model='old@1')", "VECTOR(3)"),
        (
            VersionedVector(3072, model="big@2026-01", vector_type="halfvec"),
            "VersionedVector(3072, model='big@2026-01', vector_type='halfvec')",
            "HALFVEC(3072)",
        ),
    ],
)
def test_it_prints_as_it_was_written(kind: VersionedVector, printed: str, column: str) -> None:
    assert repr(kind) == printed
    assert repr(eval(printed)) == printed
    assert kind.compile(dialect=DIALECT) == column
    assert kind.python_type is Embedding


@pytest.mark.parametrize(
    ("dimensions", "options"),
    [
        (3, {"model": "old"}),
        (0, {"model": "old@1"}),
        ("3", {"model": "old@1"}),
        (3, {"model": "a@1", "vector_type": "bit"}),
    ],
    ids=str,
)
def test_what_cannot_be_a_column_is_refused(dimensions: Any, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        VersionedVector(dimensions, **options)


def test_statements_over_two_models_are_never_taken_for_one() -> None:
    of_old, of_new = (sa.select(sa.column("v", VersionedVector(3, model=model))) for model in ("old@1", "new@1"))
    assert of_old._generate_cache_key() != of_new._generate_cache_key()
