"""embedmig doctor: one finding for each thing that can be wrong, with what to do about it."""

import json
import time
from collections.abc import Callable

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from support import expand_docs, make_docs

from embedmig.catalog.collections import get_collection
from embedmig.cli.main import run
from embedmig.commands import doctor
from embedmig.db import Connection, Database
from embedmig.schema.diagnosis import Finding, Level
from embedmig.types import Placement

Verb = Callable[..., tuple[int, str]]


def _findings(db: Database, check: str) -> list[Finding]:
    return [finding for finding in doctor(db).findings if finding.check == check]


def _bad(db: Database) -> list[Finding]:
    return [finding for finding in doctor(db).findings if finding.level is not Level.OK]


@pytest.fixture
def docs(db: Database, conn: Connection) -> Connection:
    """A collection with an open migration to a companion: every trigger is there."""
    make_docs(conn, 5)
    expand_docs(db, Placement.COMPANION)
    return conn


def test_a_sound_server_has_nothing_to_mend(verb: Verb, docs: Connection) -> None:
    code, printed = verb("doctor")
    assert code == 0, printed
    assert "fail" not in printed
    assert "warn" not in printed
    assert "ok pgvector 0.8" in printed
    assert "ok collection docs public.docs, 2 slot(s)" in printed
    assert "GRANT USAGE ON SCHEMA embedmig TO app; GRANT SELECT ON embedmig.route, embedmig.slot" in printed


def test_without_pgvector_and_control_schema_it_says_so_and_what_to_do(
    bare_db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--json", "--database-url", bare_db.url]) == 1
    found = {finding["check"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert (found["pgvector"]["level"], found["pgvector"]["what_to_do"]) == ("fail", "CREATE EXTENSION vector")
    assert (found["control schema"]["level"], found["control schema"]["what_to_do"]) == ("fail", "embedmig init")


def test_a_server_that_is_down_is_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--database-url", "postgresql://nobody@127.0.0.1:1/none"]) == 3
    assert "Connection refused" in capsys.readouterr().err


def test_an_older_and_an_unknown_control_schema_are_told_apart(db: Database, conn: Connection) -> None:
    conn.execute("UPDATE embedmig.alembic_version SET version_num = '0001'")
    (finding,) = _findings(db, "control schema")
    assert (finding.level, finding.what_to_do) == (Level.FAIL, "embedmig init upgrades it")
    conn.execute("UPDATE embedmig.alembic_version SET version_num = '9999'")
    (finding,) = _findings(db, "control schema")
    assert "which this embedmig does not know" in finding.said


@pytest.mark.parametrize(
    ("statement", "level", "said", "todo"),
    [
        (
            "DROP TRIGGER embedmig_{id}_update ON docs",
            "fail",
            "trigger embedmig_{id}_update is lost",
            "replace_triggers",
        ),
        ("ALTER TABLE docs DISABLE TRIGGER embedmig_{id}_insert", "fail", "is disabled: edits", "ENABLE TRIGGER"),
        ("ALTER TABLE docs ENABLE REPLICA TRIGGER embedmig_{id}_delete", "fail", "is disabled", "ENABLE TRIGGER"),
        ("ALTER TABLE docs RENAME COLUMN title TO head", "fail", "has no column title any more", "rename it back"),
        ("ALTER TABLE docs RENAME TO papers", "fail", "table public.docs is gone", "restore or rename"),
        ("DROP TABLE embedmig.docs_v2 CASCADE", "fail", "companion embedmig.docs_v2 of slot v2 is gone", "--undo"),
        ("ALTER TABLE docs SET (autovacuum_enabled = off)", "warn", "autovacuum is off for public.docs", "RESET"),
        ("ALTER TABLE docs FORCE ROW LEVEL SECURITY", "warn", "FORCE ROW LEVEL SECURITY", "BYPASSRLS"),
        (
            "ALTER TABLE embedmig.docs_v2 ADD CONSTRAINT embedmig_x CHECK (embedding_model > -5e9) NOT VALID",
            "warn",
            "check embedmig_x is not validated",
            "embedmig index docs --slot v2",
        ),
    ],
)
def test_each_thing_wrong_with_a_collection_is_found(
    db: Database, docs: Connection, statement: str, level: str, said: str, todo: str
) -> None:
    number = str(get_collection(docs, "docs").id)
    docs.execute(sql.SQL(statement.replace("{id}", number)))
    (finding,) = _bad(db)
    assert (finding.check, finding.level) == ("collection docs", Level(level))
    assert said.replace("{id}", number) in finding.said
    assert todo in finding.what_to_do


def test_what_to_do_about_a_lost_trigger_brings_it_back(db: Database, docs: Connection) -> None:
    docs.execute(f"DROP TRIGGER embedmig_{get_collection(docs, 'docs').id}_update ON docs")
    (finding,) = _bad(db)
    docs.execute(sql.SQL(finding.what_to_do.split(";")[0]))
    assert _bad(db) == []


def test_an_invalid_index_is_found(db: Database, docs: Connection) -> None:
    docs.execute("CREATE INDEX broken ON docs USING hnsw (embedding vector_cosine_ops)")
    docs.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass")
    (finding,) = _bad(db)
    assert "index broken of slot v1 is INVALID" in finding.said
    assert 'DROP INDEX CONCURRENTLY "public"."broken"' in finding.what_to_do


def test_a_transaction_that_is_older_than_a_minute_is_named(db: Database, docs: Connection) -> None:
    from embedmig.schema import diagnosis

    with db.connect() as other, other.transaction(force_rollback=True):
        other.execute("SELECT txid_current()")
        time.sleep(0.05)
        shown = diagnosis.QUERIES["old_sessions"].as_string(docs).replace("1 minute", "10 milliseconds")
        pids = [row["pid"] for row in docs.execute(sql.SQL(shown), {})]
        assert other.info.backend_pid in pids


def test_an_inactive_replication_slot_is_named(db: Database, docs: Connection) -> None:
    docs.execute("SELECT pg_create_physical_replication_slot('t_idle', true)")
    try:
        (finding,) = _bad(db)
        assert "slot t_idle is inactive and keeps" in finding.said
    finally:
        docs.execute("SELECT pg_drop_replication_slot('t_idle')")


def test_no_parallel_workers_is_a_warning_and_no_failure(verb: Verb, db: Database, docs: Connection) -> None:
    name = sql.Identifier(docs.info.dbname)
    docs.execute(sql.SQL("ALTER DATABASE {} SET max_parallel_maintenance_workers = 0").format(name))
    (finding,) = _bad(db)
    assert (finding.check, finding.level) == ("index workers", Level.WARN)
    assert verb("doctor")[0] == 0


def test_roles_that_read_the_table_are_told_the_grants_they_lack(db: Database, docs: Connection) -> None:
    docs.execute('CREATE ROLE "t Reader"')
    try:
        docs.execute('GRANT SELECT ON docs TO "t Reader"')
        grants = doctor(db).grants
        assert grants == (
            'GRANT USAGE ON SCHEMA embedmig TO "t Reader"',
            'GRANT SELECT ON embedmig.route, embedmig.slot, "embedmig"."docs_v2" TO "t Reader"',
        )
        for grant in grants:
            docs.execute(sql.SQL(grant))
        assert doctor(db).grants == ()
    finally:
        docs.execute('DROP OWNED BY "t Reader"')
        docs.execute('DROP ROLE "t Reader"')


def test_a_role_without_rights_is_told_whom_to_connect_as(db: Database, docs: Connection) -> None:
    docs.execute("CREATE ROLE t_limited LOGIN")
    limited = Database(make_conninfo(db.url, user="t_limited"))
    try:
        (finding,) = _findings(limited, "control schema")
        assert "t_limited may not use schema embedmig" in finding.said
        assert "GRANT USAGE ON SCHEMA embedmig TO t_limited" in finding.what_to_do
        docs.execute("GRANT USAGE ON SCHEMA embedmig TO t_limited")
        docs.execute("GRANT SELECT ON embedmig.route, embedmig.slot, docs, embedmig.docs_v2 TO t_limited")
        said = [finding.said for finding in _bad(limited)]
        assert said == [
            "t_limited does not own schema embedmig",
            "this role does not own public.docs: it may search, and fill what is there",
        ]
    finally:
        docs.execute("DROP OWNED BY t_limited")
        docs.execute("DROP ROLE t_limited")


def test_a_role_that_may_not_see_into_a_schema_is_told_so(db: Database, docs: Connection) -> None:
    make_docs(docs, 5, name="odd", schema="Odd Schema")
    expand_docs(db, collection="odd")
    docs.execute("CREATE ROLE t_limited LOGIN")
    limited = Database(make_conninfo(db.url, user="t_limited"))
    try:
        docs.execute("GRANT USAGE ON SCHEMA embedmig TO t_limited")
        docs.execute("GRANT SELECT ON ALL TABLES IN SCHEMA embedmig TO t_limited")
        (finding,) = _findings(limited, "collection odd")
        assert finding.said == "this role may not read Odd Schema.docs"
        grants = (
            'GRANT USAGE ON SCHEMA "Odd Schema" TO "t_limited"',
            'GRANT SELECT ON "Odd Schema"."docs" TO "t_limited"',
        )
        assert finding.what_to_do == "; ".join(grants)
        for grant in grants:
            docs.execute(sql.SQL(grant))
        (finding,) = _findings(limited, "collection odd")
        assert finding.level is Level.WARN
    finally:
        docs.execute("DROP OWNED BY t_limited")
        docs.execute("DROP ROLE t_limited")


def test_a_role_is_told_grants_on_the_tables_that_it_reads_and_no_others(db: Database, docs: Connection) -> None:
    make_docs(docs, 5, name="payroll", table="payroll")
    docs.execute("CREATE ROLE t_reader")
    try:
        docs.execute("GRANT SELECT ON docs TO t_reader")
        assert doctor(db).grants == doctor(db, "docs").grants
        assert "payroll" not in "".join(doctor(db).grants)
        assert "payroll" in "".join(doctor(db, "payroll").grants), "nobody reads it: for a role app"
    finally:
        docs.execute("DROP OWNED BY t_reader")
        docs.execute("DROP ROLE t_reader")


def test_a_subscribed_table_wants_triggers_that_fire_always(db: Database, docs: Connection) -> None:
    docs.execute(
        "CREATE SUBSCRIPTION t_sub CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false, slot_name = NONE)"
    )
    try:
        docs.execute(
            "INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)"
            " SELECT oid, 'docs'::regclass, 'r' FROM pg_subscription WHERE subname = 't_sub'"
        )
        found = _bad(db)
        assert len(found) == 4
        assert all("is fed by a subscription" in finding.said for finding in found)
        for finding in found:
            docs.execute(sql.SQL(finding.what_to_do.split(";")[0]))
        assert _bad(db) == []
    finally:
        docs.execute("DELETE FROM pg_subscription_rel WHERE srrelid = 'docs'::regclass")
        docs.execute("DROP SUBSCRIPTION t_sub")


def test_one_collection_can_be_looked_at_alone(verb: Verb, docs: Connection) -> None:
    code, printed = verb("doctor", "dosc")
    assert (code, "no collection dosc; there are: docs" in printed) == (2, True)
    assert verb("doctor", "docs")[0] == 0
