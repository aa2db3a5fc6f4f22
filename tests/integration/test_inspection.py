"""What inspection reads of a user's table."""

import pytest
from psycopg.types.json import Jsonb

from embedmig.db import Connection
from embedmig.errors import NotFoundError, UnsupportedError
from embedmig.schema.inspection import (
    QUERIES,
    TableName,
    count_rows_about,
    describe_table,
    find_ann_indexes,
    find_select_star,
    find_vector_columns,
    guess_text_columns,
    placement_facts,
    require_usable,
    resolve_table,
    select_star_pattern,
)
from embedmig.types import KeyColumn


@pytest.fixture
def docs(conn: Connection) -> Connection:
    conn.execute(
        "CREATE TABLE docs (id bigint PRIMARY KEY, title text, body text NOT NULL, lang varchar(5),"
        " size int GENERATED ALWAYS AS (length(body)) STORED, embedding vector(3), small halfvec(3), bits bit(3))"
    )
    return conn


@pytest.fixture
def odd(conn: Connection) -> Connection:
    conn.execute('CREATE SCHEMA "Odd Schema"')
    conn.execute('CREATE TABLE "Odd Schema"."My ""Table"".x" (id int PRIMARY KEY)')
    conn.execute('CREATE TABLE "My Table" (id int PRIMARY KEY)')
    return conn


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("docs", ("public", "docs")),
        ("public.docs", ("public", "docs")),
        ("Public.DOCS", ("public", "docs")),
        ('"public"."docs"', ("public", "docs")),
    ],
)
def test_a_name_is_read_as_sql_reads_it(docs: Connection, text: str, found: tuple[str, str]) -> None:
    assert resolve_table(docs, text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('"Odd Schema"."My ""Table"".x"', ("Odd Schema", 'My "Table".x')),
        ('Odd Schema.My "Table".x', ("Odd Schema", 'My "Table".x')),
        ("My Table", ("public", "My Table")),
        ('"My Table"', ("public", "My Table")),
        ("public.My Table", ("public", "My Table")),
    ],
)
def test_a_name_that_needs_quotes_is_found_with_and_without_them(
    odd: Connection, text: str, found: tuple[str, str]
) -> None:
    assert resolve_table(odd, text) == found


@pytest.mark.parametrize("text", ["doc", "public.doc", "public.docs.id", "", ".", '"', "nope.docs; DROP TABLE docs"])
def test_a_name_that_is_no_table_is_refused(docs: Connection, text: str) -> None:
    with pytest.raises(NotFoundError, match="no table"):
        resolve_table(docs, text)


def test_the_refusal_names_the_tables_most_like_it(docs: Connection) -> None:
    with pytest.raises(NotFoundError) as caught:
        resolve_table(docs, "dosc")
    assert caught.value.known == ("public.docs",)


def test_resolving_inside_a_transaction_leaves_it_usable(docs: Connection) -> None:
    with docs.transaction():
        with pytest.raises(NotFoundError):
            resolve_table(docs, "not an identifier")
        assert resolve_table(docs, "docs") == ("public", "docs")


def test_a_table_is_described(docs: Connection) -> None:
    docs.execute("INSERT INTO docs (id, body) SELECT i, 'text' FROM generate_series(1, 7) i")
    facts = describe_table(docs, "public", "docs")
    assert facts.key == (KeyColumn(name="id", type="bigint"),)
    assert [(c.name, c.type, c.dimensions) for c in facts.columns if c.type_name in ("vector", "halfvec")] == [
        ("embedding", "vector(3)", 3),
        ("small", "halfvec(3)", 3),
    ]
    assert facts.column("size").generated == "s"
    assert facts.column("lang").type == "character varying(5)"
    assert not facts.column("body").nullable
    assert (facts.rows, facts.rows_are_exact, facts.kind, facts.fillfactor) == (7, True, "r", 100)
    assert facts.size_bytes >= facts.heap_bytes > 0
    assert facts.index_bytes > 0
    with pytest.raises(NotFoundError, match=r"no column titel in public\.docs; there are: title"):
        facts.column("titel")


def test_a_key_is_given_in_its_own_order_with_types_that_any_search_path_can_read(conn: Connection) -> None:
    conn.execute("CREATE SCHEMA app")
    conn.execute("CREATE TYPE app.mood AS ENUM ('good')")
    conn.execute("CREATE TABLE t (a text, b uuid, c app.mood, d varchar(9), PRIMARY KEY (d, c, b, a))")
    conn.execute("SET search_path = app, public")
    assert [(k.name, k.type) for k in describe_table(conn, "public", "t").key] == [
        ("d", "character varying(9)"),
        ("c", "app.mood"),
        ("b", "uuid"),
        ("a", "text"),
    ]


def test_rows_are_counted_below_the_limit_and_estimated_above(docs: Connection) -> None:
    docs.execute("INSERT INTO docs (id, body) SELECT i, 'text' FROM generate_series(1, 2000) i")
    name = resolve_table(docs, "docs")
    assert count_rows_about(docs, name, limit=2001) == (2000, True)
    docs.execute("ANALYZE docs")
    assert count_rows_about(docs, name, limit=1000) == (2000, False)


def test_a_partitioned_table_is_measured_through_its_leaves(conn: Connection) -> None:
    conn.execute(
        "CREATE TABLE p (id int, lang text, embedding vector(3), PRIMARY KEY (id, lang)) PARTITION BY LIST (lang)"
    )
    conn.execute("CREATE TABLE p_en PARTITION OF p FOR VALUES IN ('en')")
    conn.execute("CREATE TABLE p_rest PARTITION OF p DEFAULT PARTITION BY HASH (id)")
    conn.execute("CREATE TABLE p_rest_0 PARTITION OF p_rest FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    conn.execute("INSERT INTO p SELECT i, CASE WHEN i % 2 = 0 THEN 'en' ELSE 'de' END FROM generate_series(1, 10) i")
    facts = describe_table(conn, "public", "p")
    assert facts.kind == "p"
    assert [str(leaf) for leaf in facts.leaves] == ["public.p_en", "public.p_rest_0"]
    assert facts.rows == 10
    assert facts.heap_bytes == 2 * 8192
    require_usable(facts)
    with pytest.raises(UnsupportedError, match="is a partition of p: register that table"):
        require_usable(describe_table(conn, "public", "p_en"))


@pytest.mark.parametrize(
    ("statement", "table", "said"),
    [
        ("CREATE VIEW v AS SELECT 1 AS id", "v", "is a view"),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1 AS id", "v", "is a materialized view"),
        ("CREATE TABLE t (id int)", "t", "has no primary key: add one, ALTER TABLE public.t ADD PRIMARY KEY"),
        ("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (PRIMARY KEY (id)) INHERITS (t)", "t", "inheritance"),
        ("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (PRIMARY KEY (id)) INHERITS (t)", "u", "inheritance"),
    ],
)
def test_what_cannot_be_a_collection_is_refused_with_what_to_do(
    conn: Connection, statement: str, table: str, said: str
) -> None:
    conn.execute(statement)
    with pytest.raises(UnsupportedError, match=said):
        require_usable(describe_table(conn, "public", table))


def test_a_table_that_hides_rows_from_this_role_is_refused(docs: Connection) -> None:
    docs.execute("ALTER TABLE docs ENABLE ROW LEVEL SECURITY")
    docs.execute("ALTER TABLE docs FORCE ROW LEVEL SECURITY")
    facts = describe_table(docs, "public", "docs")
    assert facts.row_security
    assert facts.force_row_security
    require_usable(facts)
    docs.execute("CREATE ROLE t_reader")
    try:
        docs.execute("GRANT SELECT ON docs TO t_reader")
        docs.execute("SET ROLE t_reader")
        with pytest.raises(UnsupportedError, match="row-level security"):
            require_usable(describe_table(docs, "public", "docs"))
    finally:
        docs.execute("RESET ROLE")
        docs.execute("DROP OWNED BY t_reader")
        docs.execute("DROP ROLE t_reader")


def test_ann_indexes_are_found_with_what_makes_them(docs: Connection) -> None:
    docs.execute("CREATE INDEX one ON docs USING hnsw (embedding vector_cosine_ops) WITH (m = 8, ef_construction = 32)")
    docs.execute("CREATE INDEX two ON docs USING hnsw (embedding vector_l2_ops) WHERE lang = 'en'")
    docs.execute("CREATE INDEX three ON docs USING hnsw ((embedding::halfvec(3)) halfvec_cosine_ops)")
    docs.execute("CREATE INDEX four ON docs USING hnsw (small halfvec_ip_ops)")
    docs.execute("CREATE INDEX five ON docs (lang) WHERE embedding IS NOT NULL")
    by_name = {index.name: index for index in find_ann_indexes(docs, "public", "docs", "embedding")}
    assert sorted(by_name) == ["one", "three", "two"]
    one = by_name["one"]
    assert (one.kind, one.opclass, dict(one.options)) == (
        "hnsw",
        "vector_cosine_ops",
        {"m": "8", "ef_construction": "32"},
    )
    assert one.valid
    assert one.ready
    assert one.definition.startswith("CREATE INDEX one ON public.docs USING hnsw")
    assert by_name["two"].predicate == "((lang)::text = 'en'::text)"
    assert by_name["three"].expression == "((embedding)::halfvec(3))"
    assert [index.name for index in find_ann_indexes(docs, "public", "docs", "small")] == ["four"]
    assert len(find_ann_indexes(docs, "public", "docs")) == 4


def test_ann_indexes_of_leaves_are_found_unless_the_parents_covers_them(conn: Connection) -> None:
    conn.execute("CREATE TABLE p (id int, embedding vector(3), PRIMARY KEY (id)) PARTITION BY HASH (id)")
    conn.execute("CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    conn.execute("CREATE INDEX alone ON p0 USING hnsw (embedding vector_l2_ops)")
    assert [(i.name, i.table) for i in find_ann_indexes(conn, "public", "p", "embedding")] == [("alone", "p0")]
    conn.execute("CREATE INDEX whole ON p USING hnsw (embedding vector_cosine_ops)")
    found = find_ann_indexes(conn, "public", "p", "embedding")
    assert [(i.name, i.table, i.partitioned) for i in found] == [("whole", "p", True), ("alone", "p0", False)]
    assert found[0].size_bytes > 0


def test_vector_columns_are_found_in_every_schema_of_the_users(odd: Connection, docs: Connection) -> None:
    odd.execute('CREATE TABLE "Odd Schema".loose (embedding vector)')
    odd.execute("CREATE TEMP TABLE passing (embedding vector(3))")
    found = [(str(c.name), c.column, c.type, c.dimensions, c.has_key) for c in find_vector_columns(odd)]
    assert found == [
        ("Odd Schema.loose", "embedding", "vector", None, False),
        ("public.docs", "embedding", "vector(3)", 3, True),
        ("public.docs", "small", "halfvec(3)", 3, True),
    ]


def test_text_columns_are_guessed_by_their_length(docs: Connection) -> None:
    docs.execute("INSERT INTO docs (id, title, body, lang) VALUES (1, repeat('t', 60), repeat('b', 100), 'en')")
    assert guess_text_columns(docs, describe_table(docs, "public", "docs")) == ["body", "title"]


def test_triggers_tell_whether_our_updates_run_them(docs: Connection) -> None:
    docs.execute("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    docs.execute("CREATE TRIGGER all_updates BEFORE UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION f()")
    docs.execute("CREATE TRIGGER of_title BEFORE UPDATE OF title ON docs FOR EACH ROW EXECUTE FUNCTION f()")
    docs.execute("CREATE TRIGGER inserts AFTER INSERT ON docs FOR EACH ROW EXECUTE FUNCTION f()")
    docs.execute("CREATE TRIGGER off AFTER UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION f()")
    docs.execute("ALTER TABLE docs DISABLE TRIGGER off")
    triggers = describe_table(docs, "public", "docs").triggers
    assert {t.name: t.fires_on_our_updates for t in triggers} == {
        "all_updates": True,
        "inserts": False,
        "of_title": False,
        "off": False,
    }


def test_publications_tell_whether_they_would_carry_a_new_column(docs: Connection) -> None:
    docs.execute("CREATE PUBLICATION listed FOR TABLE docs (id, body)")
    assert not placement_facts(docs, "public", "docs").published
    docs.execute("CREATE PUBLICATION whole FOR TABLE docs")
    docs.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    publications = describe_table(docs, "public", "docs").publications
    assert {p.name: p.carries_new_columns for p in publications} == {"everything": True, "listed": False, "whole": True}
    assert placement_facts(docs, "public", "docs").published


def test_select_star_is_not_known_without_pg_stat_statements(docs: Connection) -> None:
    assert find_select_star(docs, describe_table(docs, "public", "docs")) is None


@pytest.mark.parametrize(
    ("statement", "meant"),
    [
        ("SELECT * FROM docs WHERE id = $1", True),
        ("select d.* from public.docs d", True),
        ('SELECT id, * FROM "docs"', True),
        ("SELECT *, embedding <=> $1 AS distance FROM docs ORDER BY 3", True),
        ("SELECT * FROM docs;", True),
        ("SELECT id FROM docs", False),
        ("SELECT count(*) FROM docs", False),
        ("SELECT id * 2 FROM docs", False),
        ("SELECT * FROM docs_archive", False),
        ("SELECT * FROM other.docs", False),
        ("INSERT INTO docs VALUES ($1)", False),
    ],
)
def test_select_star_on_the_table_is_told_from_other_statements(conn: Connection, statement: str, meant: bool) -> None:
    pattern = select_star_pattern(TableName("public", "docs"))
    row = conn.execute("SELECT %s ~* %s AS found", [statement, pattern]).fetchone()
    assert row == {"found": meant}


def test_every_named_query_is_used_and_runs(docs: Connection) -> None:
    import inspect

    from embedmig.schema import inspection

    source = inspect.getsource(inspection)
    oid = describe_table(docs, "public", "docs").oid
    values = {"oid": oid, "schema": "public", "table": "docs", "text": "docs", "name": "vector", "x": Jsonb({})}
    for name in QUERIES:
        assert f'QUERIES["{name}"]' in source, f"{name} is not used"
        if name == "find_statements":  # pg_stat_statements is not on the tests' server
            continue
        docs.execute(QUERIES[name], values)
