"""The application that the demo migrates: its database, table, role, Alembic environment, models and questions."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from embedmig.db import Database
from embedmig.db.embedded import start_embedded
from embedmig.demo.corpus import collect_documents
from embedmig.demo.models import ensure_static_model
from embedmig.demo.queries import load_queries
from embedmig.embedders import load_embedder
from embedmig.types import Model

DATABASE = "embedmig_demo"
ROLE = "embedmig_demo_app"
OLD, NEW = "static-minilm@1", "minilm-l6@2"
"""The two models as the demo registers them."""


@dataclass(frozen=True, kw_only=True)
class Application:
    """Where the demo's application lives."""

    db: Database
    """As its owner."""
    folder: Path
    static_model: Path

    @property
    def alembic_ini(self) -> Path:
        """Of the application's own environment."""
        return self.folder / "app" / "alembic.ini"

    @property
    def queries(self) -> Path:
        """Labelled queries in the form that ``validate`` reads."""
        return self.folder / "queries.jsonl"

    @property
    def writer_url(self) -> str:
        """As a role that may write its table and has no right on schema embedmig."""
        return _url_with(self.db.url, user=ROLE)


def open_application(data_dir: Path) -> Application:
    """Starts the embedded server and makes what is not there yet: the database, the role, the old model."""
    folder = data_dir.resolve() / "demo"
    server_url = start_embedded(data_dir)
    static_model = ensure_static_model(data_dir.resolve() / "models")
    with psycopg.connect(server_url, autocommit=True) as conn:
        _create_unless_there(conn, "SELECT FROM pg_roles WHERE rolname = %s", "CREATE ROLE {} LOGIN", ROLE)
        _create_unless_there(conn, "SELECT FROM pg_database WHERE datname = %s", "CREATE DATABASE {}", DATABASE)
    db = Database(_url_with(server_url, dbname=DATABASE), application_name="embedmig demo")
    with db.connect() as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    return Application(db=db, folder=folder, static_model=static_model)


def forget_application(data_dir: Path) -> None:
    """Drops the demo's database and folder; the old model is kept, it takes seconds to make."""
    server_url = start_embedded(data_dir)
    with psycopg.connect(server_url, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(DATABASE)))
    shutil.rmtree(data_dir / "demo", ignore_errors=True)


def create_table(app: Application) -> None:
    """Copies the application's Alembic environment into its folder and runs its first revision."""
    from alembic import command
    from alembic.config import Config

    with as_file(files("embedmig.demo").joinpath("app")) as packaged:
        shutil.copytree(packaged, app.folder / "app", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    url = app.db.url
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
    config = Config(str(app.alembic_ini))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")


def load_documents(app: Application) -> int:
    """Fills the table with the standard library's docstrings and their vectors by the old model, and indexes it.

    All in one transaction: an interrupted load leaves an empty table. Gives the number of documents.
    """
    documents = collect_documents()
    old = Model(
        name="static-minilm", revision="1", provider="sentence-transformers", dimensions=256, normalised=False,
        options={"path": str(app.static_model)},
    )  # fmt: skip
    vectors = load_embedder(old).embed_documents([f"{document.name}\n\n{document.text}" for document in documents])
    with app.db.connect() as conn, conn.transaction():
        conn.execute("TRUNCATE documents RESTART IDENTITY")
        with conn.cursor().copy("COPY documents (name, kind, body, embedding) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["text", "text", "text", "vector"])
            for document, vector in zip(documents, vectors, strict=True):
                copy.write_row((document.name, document.kind, document.text, vector))
        conn.execute("CREATE INDEX documents_embedding ON documents USING hnsw (embedding vector_cosine_ops)")
        conn.execute(sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON documents TO {}").format(sql.Identifier(ROLE)))
    with app.db.connect() as conn:
        conn.execute("VACUUM ANALYZE documents")
    return len(documents)


def write_queries(app: Application) -> int:
    """Writes the labelled queries with the table's own keys; gives their number."""
    with app.db.connect() as conn:
        keys = {row["name"]: str(row["id"]) for row in conn.execute("SELECT name, id FROM documents")}
    lines = []
    for query in load_queries():
        relevant = {keys[name]: grade for name, grade in query.grades_among(keys).items()}
        lines.append(json.dumps({"query": query.text, "label": query.kind, "relevant": relevant}, ensure_ascii=False))
    app.queries.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


@contextmanager
def application_writes(app: Application) -> Iterator["Writer"]:
    """A process of the application's own edits rows for as long as the block lasts."""
    writer = Writer(app.writer_url)
    try:
        yield writer
    finally:
        writer.stop()


class Writer:
    """The writing process; ``statements`` is known once it has stopped."""

    def __init__(self, url: str) -> None:
        self.statements = 0
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "embedmig.demo.writer", url],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def stop(self) -> None:
        """Ends the process and reads what it made. Raises RuntimeError when the application suffered."""
        if self._process.poll() is None:
            self._process.terminate()
        out, complaint = self._process.communicate(timeout=30)
        if self._process.returncode == -signal.SIGTERM:
            return  # stopped before it had begun
        if self._process.returncode != 0:
            raise RuntimeError(f"the demo's writing application failed: {complaint.strip().splitlines()[-1:]}")
        self.statements = int(out)


def _url_with(url: str, *, user: str | None = None, dbname: str | None = None) -> str:
    """A URL again, and not libpq's ``key=value``, since the application's own Alembic environment takes URLs only."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    netloc = parts.netloc if user is None else f"{user}@{host}"
    return urlunsplit(parts._replace(netloc=netloc, path=parts.path if dbname is None else f"/{dbname}"))


def _create_unless_there(conn: psycopg.Connection, look: str, create: str, name: str) -> None:
    if conn.execute(look, [name]).fetchone() is None:
        conn.execute(sql.SQL(create).format(sql.Identifier(name)))
