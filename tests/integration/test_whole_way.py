"""One table goes the whole way from one model to another by the command line alone, as the README tells it."""

import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from embedmig import Embedding, ModelMismatchError, Searcher, UnversionedVectorError
from embedmig.cli.main import run
from embedmig.db import Connection, Database
from embedmig.embedders.hashing import HashingEmbedder

Say = Callable[..., str]

ROWS = 60


def _text(number: int) -> str:
    return f"row {number} tells of thing{number % 9} and of matter{number % 7} in words{number}"


@pytest.fixture
def say(bare_db: Database, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Runs a command line in an empty folder; asserts its exit code and gives what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBEDMIG_DATABASE_URL", bare_db.url)
    monkeypatch.setenv("EMBEDMIG_STABILITY_DAYS", "0")

    def command(line: str, *more: str, code: int = 0) -> str:
        got = run([*line.split(), *more])
        printed = capsys.readouterr()
        assert got == code, printed.out + printed.err
        assert "Traceback" not in printed.err
        return printed.out + printed.err

    return command


@pytest.fixture
def table(bare_db: Database) -> Connection:
    """The application's own connection, and its table."""
    old = HashingEmbedder(options={"dimensions": 16, "seed": 1})
    conn = psycopg.connect(bare_db.url, autocommit=True)
    conn.execute("CREATE EXTENSION vector")
    conn.execute("CREATE TABLE docs (id bigint PRIMARY KEY, body text, lang text DEFAULT 'en', embedding vector(16))")
    texts = [_text(number) for number in range(ROWS)]
    for number, (text, vector) in enumerate(zip(texts, old.embed_documents(texts), strict=True)):
        conn.execute(
            "INSERT INTO docs (id, body, embedding) VALUES (%s, %s, %s::vector)", [number, text, vector.tolist()]
        )
    conn.execute("CREATE INDEX docs_embedding ON docs USING hnsw (embedding vector_cosine_ops)")
    yield conn  # type: ignore[misc]
    conn.close()


def _register(say: Say) -> None:
    say("init")
    say("model add old@1 --provider hashing --option dimensions=16 --option seed=1")
    say("model add new@1 --provider hashing --option dimensions=24 --option seed=2")
    say("collection add docs --table public.docs --text body --embedding embedding --model old@1")


def _queries(folder: Path) -> Path:
    lines = [json.dumps({"query": _text(number), "relevant": [str(number)]}) for number in range(0, ROWS, 2)]
    path = folder / "queries.jsonl"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("placement", ["column", "companion"])
def test_the_whole_way_there_and_to_the_end(say: Say, table: Connection, tmp_path: Path, placement: str) -> None:
    _register(say)
    say("doctor")
    assert "60" in say("audit docs")
    assert "placement" in say("plan docs --to new@1")
    say(f"expand docs --to new@1 --placement {placement}")
    say("rollout docs 100", code=1)
    table.execute("UPDATE docs SET body = body || ' edited' WHERE id < 5")
    say("reembed docs")
    say("index docs")
    say("verify docs")
    # Thirty queries cannot show that two toy models are equally good to 0.01: a person has to accept that.
    assert "investigate" in say("validate docs", "--queries", str(_queries(tmp_path)), code=1)
    say("handover docs")
    say("reembed docs")
    say("rollout docs 100", "--accept-report", "toy models of equal worth")
    assert "v2" in say("search docs", "thing3 and matter4", "--explain")
    table.execute("INSERT INTO docs (id, body) VALUES (500, 'written after the switch')")
    say("reembed docs")
    back = say("rollback docs")
    assert "v1 has a vector for every row" in back
    assert "500" in say("search docs", "written after the switch", "-k", "1")
    say("rollout docs 100")
    assert "500" in say("search docs", "written after the switch", "-k", "1")
    assert "stable" in say("status docs")
    dry = say("contract docs --dry-run")
    assert "DROP" in dry
    say("contract docs --yes")
    columns = {row[0] for row in table.execute("SELECT attname FROM pg_attribute WHERE attrelid = 'docs'::regclass")}
    assert "embedding" not in columns
    assert ("embedding_v2" in columns) == (placement == "column")
    assert "500" in say("search docs", "written after the switch", "-k", "1")
    events = json.loads(say("events docs --limit 100 --json"))
    assert {"expand", "handover", "rollout", "rollback"} <= {event["verb"] for event in events}
    say("detach docs --yes")
    assert table.execute("SELECT count(*) FROM docs WHERE body IS NOT NULL").fetchone() == (ROWS + 1,)
    table.execute("INSERT INTO docs (id, body) VALUES (501, 'written after the end')")


@pytest.mark.parametrize("placement", ["column", "companion"])
def test_expand_is_taken_back_without_a_trace(say: Say, table: Connection, placement: str) -> None:
    look = "SELECT attname, atttypid FROM pg_attribute WHERE attrelid = 'docs'::regclass AND NOT attisdropped"
    constraints = "SELECT conname FROM pg_constraint WHERE conrelid = 'docs'::regclass"
    triggers = "SELECT tgname FROM pg_trigger WHERE tgrelid = 'docs'::regclass"
    before = [sorted(table.execute(query).fetchall()) for query in (look, constraints, triggers)]
    _register(say)
    assert [sorted(table.execute(query).fetchall()) for query in (look, constraints, triggers)] == before
    say(f"expand docs --to new@1 --placement {placement}")
    say("reembed docs")
    say("expand docs --undo")
    assert [sorted(table.execute(query).fetchall()) for query in (look, constraints, triggers)] == before


def test_the_readme_s_python_is_true(say: Say, table: Connection, bare_db: Database) -> None:
    _register(say)
    vector = HashingEmbedder(options={"dimensions": 16, "seed": 1}).embed_queries([_text(7)])[0]
    with Searcher.connect("docs") as search:
        assert search(_text(7), k=10)[0].key == 7
        assert search(Embedding(vector, model="old@1"), k=3)[0].slot == "v1"
        with pytest.raises(UnversionedVectorError):
            search([0.1, 0.2])  # type: ignore[arg-type]
        with pytest.raises(ModelMismatchError):
            search(Embedding(vector, model="new@1"))


def test_a_server_without_pgvector_or_without_the_schema_is_a_sentence(say: Say, bare_db: Database) -> None:
    assert "CREATE EXTENSION vector" in say("init", code=2)
    with psycopg.connect(bare_db.url, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION vector")
    assert "embedmig init" in say("status", code=2)
