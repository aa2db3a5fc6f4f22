"""The column type on Postgres: rows, the ORM, what SQLAlchemy makes of its errors, and Alembic's autogenerate."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

from embedmig import Embedding, VersionedVector
from embedmig.db import Connection, Database, register_vector_types
from embedmig.errors import DimensionError, ModelMismatchError, UnversionedVectorError
from embedmig.types import Placement
from tests.alembic_environment import make_environment, sqlalchemy_url, upgrade
from tests.integration.search.conftest import fill, set_share
from tests.support import NEW, OLD, embed, expand_docs, make_docs, text_of


class Base(DeclarativeBase): ...


class Doc(Base):
    __tablename__ = "docs"
    id: Mapped[int] = mapped_column(primary_key=True)
    lang: Mapped[str | None]
    embedding: Mapped[Embedding | None] = mapped_column(VersionedVector(16, model="old@1"))


def query(number: int = 3, model: Any = OLD) -> Embedding:
    return Embedding(embed(model, ["\n\n".join(text_of(number))])[0], model=model.key)


@pytest.fixture(params=["text", "registered"])
def engine(request: pytest.FixtureRequest, db: Database, conn: Connection) -> Iterator[sa.Engine]:
    """Over the user's table; with connections that know pgvector's types, or not."""
    make_docs(conn)
    engine = sa.create_engine(sqlalchemy_url(db), poolclass=NullPool)
    if request.param == "registered":
        sa.event.listen(engine, "connect", lambda raw, _: register_vector_types(raw))
    yield engine
    engine.dispose()


def test_vectors_are_written_found_and_read(engine: sa.Engine) -> None:
    with Session(engine) as session:
        session.add_all([Doc(id=n, lang="fr", embedding=query(n)) for n in (101, 102, 103)])
        session.add(Doc(id=104, lang="fr", embedding=None))
        session.commit()
        assert session.get_one(Doc, 102).embedding == query(102)
        assert session.get_one(Doc, 104).embedding is None
        nearest = sa.select(Doc.id).where(Doc.lang == "fr").order_by(Doc.embedding.cosine_distance(query(103)))
        assert session.scalars(nearest.limit(1)).one() == 103
        near = sa.select(sa.func.count()).where(Doc.embedding.cosine_distance(query(103)) < 1e-6)
        assert session.scalar(near) == 1
        alike = sa.select(Doc.embedding).where(Doc.id == 5).scalar_subquery()
        assert session.scalars(sa.select(Doc.id).order_by(Doc.embedding.cosine_distance(alike)).limit(1)).one() == 5
        assert session.scalars(sa.select(Doc.id).where(Doc.embedding == query(102))).one() == 102
        session.get_one(Doc, 102).embedding = query(7)
        session.commit()
        assert session.get_one(Doc, 102).embedding == query(7)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([0.5] * 16, UnversionedVectorError),
        (query().values, UnversionedVectorError),
        (query(model=NEW), ModelMismatchError),
        (Embedding([1.0] * 16, model="old@2"), ModelMismatchError),
        (Embedding([1.0] * 15, model="old@1"), DimensionError),
    ],
    ids=["list", "array", "another model", "another revision", "another length"],
)
def test_a_wrong_value_is_refused_with_our_error_whole_and_nothing_is_written(
    engine: sa.Engine, value: Any, error: type[Exception]
) -> None:
    with Session(engine) as session:
        for write in (
            lambda: session.execute(sa.insert(Doc).values(id=500, embedding=value)),
            lambda: session.execute(sa.insert(Doc), [{"id": 500, "embedding": value}]),
            lambda: session.execute(sa.update(Doc).values(embedding=value)),
            lambda: session.execute(sa.select(Doc).where(Doc.embedding == value)),
            lambda: session.execute(sa.select(Doc).where(Doc.embedding.in_([value]))),
            lambda: session.execute(sa.select(Doc.embedding.l2_distance(sa.bindparam("q"))), {"q": value}),
            lambda: (session.add(Doc(id=500, embedding=value)), session.flush()),
        ):
            with pytest.raises(error):
                write()
            session.rollback()
        assert session.get(Doc, 500) is None
        assert session.get_one(Doc, 3).embedding == query(3)


def test_the_search_by_route_takes_an_embedding_too(engine: sa.Engine, db: Database, conn: Connection) -> None:
    fill(conn, expand_docs(db, Placement.COMPANION).target)
    asked = sa.cast(query(3, NEW), VersionedVector(24, model="new@1"))
    found = sa.func.embedmig.search_v1("docs", asked, "new@1", 3).table_valued(
        sa.column("key", sa.ARRAY(sa.Text)), "distance", "slot", name="h"
    )
    keys = sa.select(found.c.key[1], found.c.slot).order_by(found.c.distance)
    with engine.connect() as connection:
        with pytest.raises(sa.exc.DBAPIError) as caught:
            connection.execute(keys)
        assert caught.value.orig.sqlstate == "EM002"
        connection.rollback()
        set_share(conn, 100)
        assert connection.execute(keys).first() == ("3", "v2")


MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, mapped_column
from embedmig import VersionedVector
from pgvector.sqlalchemy import Vector

class Base(DeclarativeBase):
    pass

class Notes(Base):
    __tablename__ = "notes"
    id = mapped_column(sa.BigInteger, primary_key=True)
    embedding = mapped_column({kind})
"""
METADATA = """
import sys
sys.path.insert(0, {folder!r})
from noted_models import Base
from embedmig.schema.autogenerate import include_object, render_item
target_metadata = Base.metadata
"""


@pytest.fixture
def environment(tmp_path: Path, db: Database) -> Path:
    return make_environment(
        tmp_path,
        db,
        metadata=METADATA.format(folder=str(tmp_path)),
        configure=", include_object=include_object, render_item=render_item",
    )


def generate(ini: Path, message: str, kind: str) -> str:
    """The revision that autogenerate writes for a model with a column of that kind."""
    sys.modules.pop("noted_models", None)
    (ini.parent / "noted_models.py").write_text(MODELS.format(kind=kind))
    sys.path_importer_cache.pop(str(ini.parent), None)
    script = command.revision(Config(str(ini)), message, autogenerate=True)
    assert script is not None
    assert not isinstance(script, list)
    return Path(script.path).read_text()


@pytest.mark.parametrize("vector_type", ["vector", "halfvec"])
def test_autogenerate_writes_the_type_with_its_import_and_then_sees_no_difference(
    environment: Path, conn: Connection, vector_type: str
) -> None:
    kind = "VersionedVector(24, model='new@1'" + (")" if vector_type == "vector" else ", vector_type='halfvec')")
    written = generate(environment, "first", kind)
    assert f"sa.Column('embedding', {kind}, nullable=True)" in written
    assert "from embedmig import VersionedVector" in written
    upgrade(environment)
    row = conn.execute(
        "SELECT format_type(atttypid, atttypmod) AS t FROM pg_attribute"
        " WHERE attrelid = 'notes'::regclass AND attname = 'embedding'"
    ).fetchone()
    assert row == {"t": f"{vector_type}(24)"}
    again = generate(environment, "second", kind)
    assert "op." not in again.split("def upgrade():")[1]


def test_a_column_that_was_declared_as_pgvectors_own_is_no_difference(environment: Path, conn: Connection) -> None:
    conn.execute("CREATE TABLE notes (id bigint PRIMARY KEY, embedding vector(24))")
    written = generate(environment, "adopted", "VersionedVector(24, model='new@1')")
    assert "notes" not in written.split("def upgrade():")[1]
    upgrade(environment)
    longer = generate(environment, "longer", "VersionedVector(25, model='new@1')")
    assert "type_=VersionedVector(25, model='new@1')" in longer
