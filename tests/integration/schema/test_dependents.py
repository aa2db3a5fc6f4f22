"""Everything that hangs on a column is found, one kind at a time; what is not the user's is not."""

import pytest
from psycopg import sql
from support import expand_docs, make_docs

from embedmig.db import Connection, Database
from embedmig.errors import NotFoundError
from embedmig.schema.dependents import list_dependents
from embedmig.types import Placement

_TRIGGER = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "


@pytest.fixture
def docs(conn: Connection) -> Connection:
    make_docs(conn, 3)
    return conn


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("CREATE VIEW v AS SELECT id, embedding FROM docs", "view public.v"),
        ("CREATE VIEW v AS SELECT * FROM docs", "view public.v"),
        ("CREATE VIEW v AS SELECT id FROM docs WHERE embedding IS NOT NULL", "view public.v"),
        ("CREATE MATERIALIZED VIEW v AS SELECT embedding FROM docs", "materialized view public.v"),
        ("CREATE RULE r AS ON UPDATE TO docs WHERE OLD.embedding IS NULL DO ALSO NOTHING", "rule r on public.docs"),
        (
            "CREATE FUNCTION g(bigint) RETURNS vector LANGUAGE sql RETURN (SELECT embedding FROM docs WHERE id = $1)",
            "function g(bigint)",
        ),
        (
            "ALTER TABLE docs ADD COLUMN width int GENERATED ALWAYS AS (vector_dims(embedding)) STORED",
            "generated column width on public.docs",
        ),
        ("CREATE INDEX i ON docs (id) WHERE embedding IS NOT NULL", "index public.i"),
        ("CREATE INDEX i ON docs ((vector_dims(embedding)))", "index public.i"),
        ("CREATE INDEX i ON docs (id) INCLUDE (embedding)", "index public.i"),
        ("ALTER TABLE docs ADD CONSTRAINT c CHECK (vector_dims(embedding) = 16)", "constraint c on public.docs"),
        ("ALTER TABLE docs ADD CONSTRAINT c UNIQUE (embedding)", "constraint c on public.docs"),
        (
            "ALTER TABLE docs ADD CONSTRAINT c UNIQUE (embedding);"
            " CREATE TABLE other (e vector(16) CONSTRAINT k REFERENCES docs (embedding));"
            " ALTER TABLE other ALTER e SET NOT NULL",
            "foreign key k on public.other",
        ),
        (
            _TRIGGER + "CREATE TRIGGER t AFTER UPDATE OF embedding ON docs FOR EACH ROW EXECUTE FUNCTION f()",
            "trigger t on public.docs",
        ),
        (
            _TRIGGER + "CREATE TRIGGER t AFTER UPDATE ON docs FOR EACH ROW"
            " WHEN (NEW.embedding IS NULL) EXECUTE FUNCTION f()",
            "trigger t on public.docs",
        ),
        ("CREATE POLICY p ON docs USING (embedding IS NOT NULL)", "policy p on public.docs"),
        ("CREATE PUBLICATION pub FOR TABLE docs (id, embedding)", "publication pub on public.docs"),
        ("CREATE STATISTICS s ON embedding, lang FROM docs", "statistics public.s"),
    ],
)
def test_each_kind_of_dependent_is_found_with_how_to_free_it(docs: Connection, statement: str, found: str) -> None:
    docs.execute(sql.SQL(statement))
    dependents = list_dependents(docs, "public", "docs", "embedding")
    assert found in [str(dependent) for dependent in dependents]
    (dependent,) = [dependent for dependent in dependents if str(dependent) == found]
    assert dependent.name in dependent.how_to_free
    if dependent.on_table:
        assert dependent.on_table in dependent.how_to_free


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW v AS SELECT id, title FROM docs",
        "CREATE INDEX i ON docs USING hnsw (embedding vector_l2_ops) WHERE lang = 'en'",
        "CREATE INDEX i ON docs (lang)",
        "ALTER TABLE docs ALTER embedding SET NOT NULL",
        "ALTER TABLE docs ALTER embedding SET DEFAULT NULL",
        _TRIGGER + "CREATE TRIGGER t AFTER UPDATE OF title ON docs FOR EACH ROW EXECUTE FUNCTION f()",
        "CREATE PUBLICATION pub FOR TABLE docs",
    ],
)
def test_what_does_not_hang_on_the_column_is_not_listed(docs: Connection, statement: str) -> None:
    docs.execute(sql.SQL(statement))
    assert list_dependents(docs, "public", "docs", "embedding") == []


@pytest.mark.parametrize("placement", [Placement.COLUMN, Placement.COMPANION])
def test_what_embedmig_made_is_not_listed(db: Database, docs: Connection, placement: Placement) -> None:
    target = expand_docs(db, placement).target
    assert list_dependents(docs, "public", "docs", "embedding") == []
    whole = None if placement is Placement.COMPANION else target.vector_column
    assert list_dependents(docs, target.schema, target.table, whole) == []


def test_what_hangs_on_a_companion_is_listed_for_the_table_as_a_whole(db: Database, docs: Connection) -> None:
    target = expand_docs(db, Placement.COMPANION).target
    docs.execute("CREATE VIEW v AS SELECT c.id FROM embedmig.docs_v2 c")
    docs.execute("CREATE TABLE other (id bigint CONSTRAINT k REFERENCES embedmig.docs_v2 (id))")
    docs.execute("CREATE FUNCTION g(embedmig.docs_v2) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    found = {str(dependent) for dependent in list_dependents(docs, target.schema, target.table)}
    assert found == {"view public.v", "foreign key k on public.other", "function g(embedmig.docs_v2)"}


def test_dependents_of_a_partition_count_for_the_parent(conn: Connection) -> None:
    conn.execute("CREATE TABLE p (id int, embedding vector(3)) PARTITION BY RANGE (id)")
    conn.execute("CREATE TABLE p1 PARTITION OF p DEFAULT")
    conn.execute("CREATE VIEW v AS SELECT embedding FROM p1")
    assert [str(dependent) for dependent in list_dependents(conn, "public", "p", "embedding")] == ["view public.v"]


def test_odd_names_are_printed_as_sql_wants_them(conn: Connection) -> None:
    conn.execute('CREATE SCHEMA "Odd Schema"')
    conn.execute('CREATE TABLE "Odd Schema"."My Table" (id int, "The Vec" vector(3))')
    conn.execute('CREATE VIEW "Odd Schema"."A View" AS SELECT "The Vec" FROM "Odd Schema"."My Table"')
    (dependent,) = list_dependents(conn, "Odd Schema", "My Table", "The Vec")
    assert dependent.how_to_free.startswith('DROP VIEW "Odd Schema"."A View"')
    conn.execute(sql.SQL(dependent.how_to_free.split(",")[0]))
    assert list_dependents(conn, "Odd Schema", "My Table", "The Vec") == []


def test_a_table_or_column_that_is_not_there_is_said_so(docs: Connection) -> None:
    with pytest.raises(NotFoundError, match=r"no table or column public\.docs\.nope"):
        list_dependents(docs, "public", "docs", "nope")
