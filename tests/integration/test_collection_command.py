"""embedmig collection add|list|show: what it registers, what it refuses, and that the user's table stays as it was."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from embedmig.catalog.collections import get_collection, list_collections
from embedmig.catalog.events import list_events
from embedmig.catalog.migrations import find_migration
from embedmig.catalog.models import add_model
from embedmig.catalog.routes import ensure_route, set_share
from embedmig.catalog.slots import list_slots
from embedmig.cli.main import run
from embedmig.db import Connection, Database
from embedmig.schema.naming import COMMENT
from embedmig.schema.operations.add_embedding_column import AddEmbeddingColumnOp
from embedmig.schema.slot_arguments import SlotArguments
from embedmig.types import Distance, Maintainer, Model, Placement, bridge_model_id

Verb = Callable[..., tuple[int, str]]

TINY = Model(name="tiny", revision="1", provider="hashing", dimensions=3)
NEXT = Model(name="next", revision="1", provider="hashing", dimensions=4)
FLAT = Model(name="flat", revision="1", provider="hashing", dimensions=3, distance=Distance.L2)

_STATE = """
SELECT (SELECT array_agg((oid, relname, relfilenode, relhastriggers, relchecks, reltuples, xmin) ORDER BY oid)
          FROM pg_class WHERE relnamespace = 'public'::regnamespace)::text AS relations,
       (SELECT array_agg((attrelid, attname, atttypid, attnum, xmin) ORDER BY attrelid, attnum)
          FROM pg_attribute WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
       )::text AS columns,
       (SELECT array_agg((oid, conname, xmin) ORDER BY oid) FROM pg_constraint
         WHERE connamespace = 'public'::regnamespace)::text AS constraints,
       (SELECT array_agg((oid, tgname, xmin) ORDER BY oid) FROM pg_trigger)::text AS triggers,
       (SELECT array_agg((indexrelid, indisvalid, xmin) ORDER BY indexrelid) FROM pg_index)::text AS indexes,
       (SELECT array_agg((id, xmin) ORDER BY id) FROM docs)::text AS rows"""


@pytest.fixture
def docs(conn: Connection) -> Connection:
    conn.execute(
        "CREATE TABLE docs (id int PRIMARY KEY, title text, body text, lang text, seen timestamptz, weight float8,"
        " extra json, embedding vector(3), flags bit(3), loose vector)"
    )
    conn.execute("INSERT INTO docs SELECT i, 'title', 'body ' || i, 'en' FROM generate_series(1, 4) i")
    conn.execute("UPDATE docs SET embedding = '[1,2,3]'")
    for model in (TINY, NEXT, FLAT):
        add_model(conn, model, None)
    return conn


def _add(verb: Verb, *more: str, **changes: str) -> tuple[int, str]:
    given = {"table": "docs", "text": "title,body", "embedding": "embedding", "model": "tiny@1"} | changes
    name = [given.pop("name")] if "name" in given else []
    return verb("collection", "add", *name, *(part for k, v in given.items() for part in (f"--{k}", v)), *more)


def _state(conn: Connection) -> Any:
    return conn.execute(_STATE).fetchone()


def test_a_table_is_registered_and_nothing_on_it_changes(verb: Verb, docs: Connection) -> None:
    docs.execute("CREATE INDEX docs_ann ON docs USING hnsw (embedding vector_cosine_ops)")
    before = _state(docs)
    code, printed = _add(verb, where="docs.lang = 'en' AND title <> '%' -- a comment")
    assert code == 0, printed
    assert _state(docs) == before
    assert "docs registered: public.docs, 4 rows, text title, body" in printed

    collection = get_collection(docs, "docs")
    assert (collection.schema, collection.table, collection.text_columns) == ("public", "docs", ("title", "body"))
    assert [(column.name, column.type) for column in collection.key] == [("id", "integer")]
    assert collection.row_filter == "((lang = 'en'::text) AND (title <> '%'::text))"
    assert collection.filter_columns == ("title", "lang")
    (slot,) = list_slots(docs, collection)
    assert (slot.name, slot.placement, slot.maintained_by) == ("v1", Placement.COLUMN, Maintainer.APP)
    assert (slot.vector_column, slot.model_column, slot.hash_column) == ("embedding", None, None)
    assert (slot.vector_type, slot.model.key, slot.index_name) == ("vector", "tiny@1", "docs_ann")
    assert slot.filled_at is not None
    assert [(event.verb, event.collection) for event in list_events(docs)] == [("collection add", "docs")]


def test_registering_again_changes_nothing_and_another_definition_is_refused(verb: Verb, docs: Connection) -> None:
    assert _add(verb)[0] == 0
    code, printed = _add(verb)
    assert (code, "was registered already" in printed) == (0, True)
    assert len(list_events(docs)) == 1
    code, printed = _add(verb, text="body")
    assert (code, "exists, for public.docs, with another definition" in printed) == (2, True)
    code, printed = _add(verb, name="again")
    assert (code, "public.docs.embedding is registered as docs" in printed) == (2, True)


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"table": "dosc"}, 2, "no table dosc; there are: public.docs"),
        ({"table": "nowhere.docs"}, 2, "no table nowhere.docs"),
        ({"text": "titel"}, 2, "no column titel in public.docs; there are: title"),
        ({"text": "title,title"}, 2, "each once"),
        ({"text": " , "}, 2, "name the text columns"),
        ({"text": "title,seen"}, 2, "column seen of public.docs is timestamp with time zone, which prints by"),
        ({"text": "weight"}, 2, "double precision, which prints by the session's settings"),
        ({"embedding": "embeding"}, 2, "no column embeding in public.docs; there are: embedding"),
        ({"embedding": "body"}, 2, "column body of public.docs is text: embeddings stand in vector or halfvec"),
        ({"embedding": "flags"}, 2, "is bit(3): embeddings stand in vector or halfvec"),
        ({"embedding": "loose"}, 2, "is vector without dimensions"),
        ({"model": "huge@1"}, 2, "no model huge@1; there are: flat@1, next@1, tiny@1"),
        ({"model": "tiny"}, 2, "'tiny' is not a model: write name@revision"),
        ({"model": "next@1"}, 2, "column embedding of public.docs is vector(3), and next@1 has 4 dimensions"),
        ({"where": "lang = "}, 2, "syntax error"),
        ({"where": "lang"}, 2, "must be type boolean"),
        ({"where": "language = 'en'"}, 2, 'column "language" does not exist'),
        ({"where": "true"}, 2, "reads no column"),
        ({"where": "seen > now()"}, 2, "IMMUTABLE"),
        ({"where": "id IN (SELECT 1)"}, 2, "cannot use subquery"),
        ({"where": "embedding IS NOT NULL"}, 2, "would never get one"),
        ({"where": "lang = 'en'); DROP TABLE docs; --"}, 2, "syntax error"),
        ({"where": "lang = 'en'); DROP TABLE docs; SELECT (true"}, 2, "multiple commands"),
        ({"where": "1 / (id - 1) > 0"}, 2, "the filter fails on a row of public.docs: division by zero"),
        ({"name": "Docs"}, 2, "'Docs' cannot be a collection's name: lower-case"),
        ({"name": "a" * 32}, 2, "31 characters at most"),
        ({"name": "1docs"}, 2, "not a digit first"),
        ({"on-edit": "drop"}, 2, "is not one of"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_and_nothing_is_changed(
    verb: Verb, docs: Connection, changes: dict[str, str], code: int, said: str
) -> None:
    before = _state(docs)
    given, printed = _add(verb, **changes)
    assert given == code, printed
    assert said in printed
    assert printed.count("embedmig:") <= 1
    assert "Traceback" not in printed
    assert list_collections(docs) == []
    assert list_events(docs) == []
    assert _state(docs) == before


@pytest.mark.parametrize(
    ("statement", "table", "said"),
    [
        ("CREATE TABLE t (id int, body text, embedding vector(3))", "t", "public.t has no primary key: add one"),
        ("CREATE VIEW t AS SELECT * FROM docs", "t", "public.t is a view"),
        (
            "CREATE TABLE t (embedding_hash int PRIMARY KEY, body text, embedding vector(3))",
            "t",
            "column embedding_hash",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, body text, embedding vector(3), embedding_v2 text)",
            "t",
            "public.t has a column embedding_v2 of your own",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, body text, embedding vector(3), embedding_v2_model text)",
            "t",
            "public.t has a column embedding_v2_model of your own",
        ),
        ('CREATE TABLE "100%" (id int PRIMARY KEY, body text, embedding vector(3))', "100%", "holds a %"),
        ('CREATE TABLE t (id int PRIMARY KEY, body text, "a%b" int, embedding vector(3))', "t", "'a%b' holds a %"),
        ("CREATE TABLE t (id int PRIMARY KEY, body text, embedding vector(3)[])", "t", "is vector(3)[]"),
        (
            "CREATE TABLE embedmig.t_v2 (id int); CREATE TABLE t (id int PRIMARY KEY, body text, embedding vector(3))",
            "t",
            "embedmig.t_v2 exists and embedmig did not make it",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, body text, embedding vector(3)"
            " GENERATED ALWAYS AS ('[1,2,3]'::vector) STORED)",
            "t",
            "is generated",
        ),
    ],
)
def test_a_table_that_cannot_be_a_collection_is_refused(
    verb: Verb, docs: Connection, statement: str, table: str, said: str
) -> None:
    docs.execute(statement)
    code, printed = _add(verb, name="t", table=table, text="body")
    assert (code, said in printed) == (2, True), printed
    assert list_collections(docs) == []


def test_names_that_postgres_would_cut_are_refused(verb: Verb, docs: Connection) -> None:
    column = "e" * 50
    docs.execute(f"CREATE TABLE t (id int PRIMARY KEY, body text, {column} vector(3))")
    code, printed = _add(verb, name="t", table="t", text="body", embedding=column)
    assert (code, "longer than the 63 bytes" in printed) == (2, True), printed


def test_a_role_without_select_is_told_so(docs: Connection, db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    docs.execute("CREATE ROLE t_nobody LOGIN")
    try:
        docs.execute("GRANT USAGE ON SCHEMA embedmig TO t_nobody")
        docs.execute("GRANT SELECT ON ALL TABLES IN SCHEMA embedmig TO t_nobody")
        url = make_conninfo(db.url, user="t_nobody")
        command = ["collection", "add", "--table", "docs", "--text", "body", "--embedding", "embedding"]
        assert run([*command, "--model", "tiny@1", "--database-url", url]) == 3
        assert "permission denied for table docs: embedmig doctor prints the GRANTs" in capsys.readouterr().err
    finally:
        docs.execute("DROP OWNED BY t_nobody")
        docs.execute("DROP ROLE t_nobody")


def test_odd_names_composite_keys_and_halfvec_are_registered(verb: Verb, docs: Connection) -> None:
    docs.execute('CREATE SCHEMA "Odd Schema"')
    docs.execute(
        'CREATE TABLE "Odd Schema"."My Table" ("Key, 1" uuid, tenant text, "The ""Text""" varchar(20),'
        ' "Vec" halfvec(3), PRIMARY KEY (tenant, "Key, 1"))'
    )
    code, printed = _add(
        verb, name="odd", table='"Odd Schema"."My Table"', text='"The ""Text"""', embedding="Vec", model="flat@1"
    )
    assert code == 0, printed
    collection = get_collection(docs, "odd")
    assert (collection.schema, collection.table) == ("Odd Schema", "My Table")
    assert [column.name for column in collection.key] == ["tenant", "Key, 1"]
    assert collection.text_columns == ('The "Text"',)
    assert list_slots(docs, collection)[0].vector_type == "halfvec"
    code, printed = _add(verb, table='"Odd Schema"."My Table"', text='"The ""Text"""', embedding="Vec")
    assert (code, "'My Table' cannot be the table's name" in printed or "Name it" in printed) == (2, True)


def test_an_empty_table_counts_as_filled(verb: Verb, docs: Connection) -> None:
    docs.execute("TRUNCATE docs")
    code, printed = _add(verb)
    assert (code, "public.docs is empty" in printed) == (0, True), printed
    assert list_slots(docs, get_collection(docs, "docs"))[0].filled_at is not None


@pytest.mark.parametrize(
    ("row", "filled"),
    [
        ("(9, NULL, NULL, 'en', NULL)", True),
        ("(9, '', '', 'en', NULL)", True),
        ("(9, 'text', NULL, 'de', NULL)", True),
        ("(9, 'text', NULL, 'en', NULL)", False),
    ],
)
def test_filled_means_that_every_row_in_scope_with_text_has_a_vector(
    verb: Verb, docs: Connection, row: str, filled: bool
) -> None:
    docs.execute(f"INSERT INTO docs (id, title, body, lang, embedding) VALUES {row}")
    code, printed = _add(verb, where="lang = 'en'")
    assert code == 0
    assert (list_slots(docs, get_collection(docs, "docs"))[0].filled_at is not None) is filled
    assert ("some rows have text and no vector yet" in printed) is not filled


def test_an_index_of_another_distance_is_not_taken_for_the_slots(verb: Verb, docs: Connection) -> None:
    docs.execute("CREATE INDEX by_cosine ON docs USING hnsw (embedding vector_cosine_ops)")
    code, printed = _add(verb, model="flat@1")
    assert (code, "no valid index on embedding is for l2 distance (by_cosine: vector_cosine_ops)" in printed) == (
        0,
        True,
    )
    assert list_slots(docs, get_collection(docs, "docs"))[0].index_name is None


def test_a_partitioned_table_is_registered_with_its_filter_and_indexes(verb: Verb, docs: Connection) -> None:
    docs.execute(
        "CREATE TABLE parts (id int, lang text, body text, embedding vector(3), PRIMARY KEY (id, lang))"
        " PARTITION BY LIST (lang)"
    )
    docs.execute("CREATE TABLE parts_en PARTITION OF parts FOR VALUES IN ('en')")
    docs.execute("INSERT INTO parts VALUES (1, 'en', 'text', '[1,2,3]')")
    docs.execute("CREATE INDEX alone ON parts_en USING hnsw (embedding vector_cosine_ops)")
    code, printed = _add(verb, table="parts", text="body", where="lang = 'en'")
    assert code == 0, printed
    assert "the ANN indexes of embedding stand on partitions: alone: vector_cosine_ops" in printed
    collection = get_collection(docs, "parts")
    assert [column.name for column in collection.key] == ["id", "lang"]
    assert list_slots(docs, collection)[0].filled_at is not None
    code, printed = _add(verb, name="other", table="parts_en", text="body")
    assert (code, "public.parts_en is a partition of parts: register that table" in printed) == (2, True)


def test_members_of_a_group_share_the_model_and_join_at_share_0(verb: Verb, docs: Connection) -> None:
    docs.execute("CREATE TABLE other (id int PRIMARY KEY, body text, embedding vector(3))")
    assert _add(verb, group="both")[0] == 0
    code, printed = _add(verb, table="other", text="body", model="flat@1", group="both")
    assert (code, "group both answers one query with the vectors of one model: docs has tiny@1" in printed) == (2, True)
    set_share(docs, "both", 10_000)
    code, printed = _add(verb, table="other", text="body", group="both")
    assert (code, "the route of group both is at 100 %" in printed) == (1, True)
    set_share(docs, "both", 0)
    assert _add(verb, table="other", text="body", group="both")[0] == 0
    assert {collection.group for collection in list_collections(docs)} == {"both"}


def test_list_and_show_tell_what_is_registered(verb: Verb, docs: Connection) -> None:
    assert "no collection is registered" in verb("collection", "list")[1]
    _add(verb)
    assert "docs public.docs 4 v1 tiny@1 0 % docs" in verb("collection", "list")[1]
    shown = json.loads(verb("collection", "show", "docs", "--json")[1])
    assert shown["rows"] == 4
    assert shown["slots"][0]["model"]["name"] == "tiny"
    assert "id integer text title, body joined by" in verb("collection", "show", "docs")[1]
    code, printed = verb("collection", "show", "dosc")
    assert (code, "no collection dosc; there are: docs" in printed) == (2, True)
    docs.execute("DROP TABLE docs")
    assert "table is gone" in verb("collection", "show", "docs")[1]


def _label(conn: Connection, model: Model) -> None:
    """As expand labels a source, in a database where the collection was not registered."""
    conn.execute(f"ALTER TABLE docs ADD COLUMN embedding_model int DEFAULT {model.id}")
    conn.execute(f"COMMENT ON COLUMN docs.embedding_model IS '{COMMENT}the model of each embedding, as declared'")


def test_a_label_that_embedmig_made_is_adopted_unless_it_names_another_model(verb: Verb, docs: Connection) -> None:
    docs.execute("ALTER TABLE docs ADD COLUMN embedding_hash text")
    _label(docs, FLAT)
    code, printed = _add(verb)
    assert (code, f"labelled with model id {FLAT.id}" in printed) == (2, True)
    assert _add(verb, model="flat@1")[0] == 0
    (slot,) = list_slots(docs, get_collection(docs, "docs"))
    assert (slot.model_column, slot.hash_column) == ("embedding_model", None)


def test_a_label_column_of_the_users_own_is_left_alone(verb: Verb, docs: Connection) -> None:
    docs.execute("ALTER TABLE docs ADD COLUMN embedding_model text DEFAULT 'my own'")
    assert _add(verb)[0] == 0
    assert list_slots(docs, get_collection(docs, "docs"))[0].model_column is None


@pytest.mark.parametrize("placement", ["column", "companion"])
def test_a_slot_that_a_revision_made_before_is_adopted_as_the_target(
    verb: Verb, docs: Connection, placement: str
) -> None:
    apart = placement == "companion"
    vector = "embedding" if apart else "embedding_v2"
    operation = AddEmbeddingColumnOp(
        SlotArguments(
            table="docs",
            column=vector,
            collection="docs",
            slot="v2",
            model="next@1",
            model_id=NEXT.id,
            bridge_model_id=bridge_model_id(TINY, NEXT),
            dimensions=4,
            placement=placement,
            model_column=f"{vector}_model",
            hash_column=f"{vector}_hash",
            companion="docs_v2" if apart else None,
            key=("id",) if apart else (),
            source="v1",
            source_column=None if apart else "embedding",
            source_model_column=None if apart else "embedding_model",
            source_model_id=TINY.id,
        )
    )
    with docs.transaction():
        for statement in operation.statements():
            docs.execute(statement)
    code, printed = _add(verb)
    assert (code, "slot v2 by next@1 was there from a revision: adopted" in printed) == (0, True), printed
    collection = get_collection(docs, "docs")
    source, target = list_slots(docs, collection)
    assert (target.name, target.placement, target.model.key) == ("v2", Placement(placement), "next@1")
    assert (target.vector_column, target.hash_column) == (vector, f"{vector}_hash")
    assert source.model_column == (None if apart else "embedding_model")
    migration = find_migration(docs, collection)
    assert migration is not None
    assert (migration.source_id, migration.target_id) == (source.id, target.id)


def test_a_group_route_is_made_once(verb: Verb, docs: Connection) -> None:
    ensure_route(docs, "docs")
    assert _add(verb)[0] == 0


def test_a_database_without_pgvector_is_told_so(bare_db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["collection", "add", "--table", "docs", "--text", "body", "--embedding", "embedding", "--model", "t@1"]
    assert run([*command, "--database-url", bare_db.url]) == 2
    assert "pgvector is not installed" in capsys.readouterr().err
