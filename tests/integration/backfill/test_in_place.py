"""Writing in place: how many updates leave the indexes alone, and what is said when none does."""

from embedmig.backfill.pipeline import WorkerOptions
from embedmig.backfill.progress import ReembedProgress
from embedmig.backfill.results import ReembedResult, RunOptions
from embedmig.backfill.running import reembed
from embedmig.backfill.slices import GroupSize
from embedmig.db import Connection, Database
from embedmig.types import Collection, Placement
from tests.support import expand_docs, make_docs

ROWS = 5000


def fill(db: Database, docs: Collection, steps: list[ReembedProgress]) -> ReembedResult:
    options = RunOptions(worker=WorkerOptions(size=GroupSize(rows=100)))
    return reembed(db, docs, options=options, on_progress=steps.append)


def table_with_ann_index(db: Database, conn: Connection) -> Collection:
    docs = make_docs(conn, ROWS)
    conn.execute("CREATE INDEX ON docs USING hnsw (embedding vector_cosine_ops) WITH (m = 4, ef_construction = 8)")
    conn.execute("VACUUM ANALYZE docs")
    expand_docs(db, Placement.COLUMN)
    return docs


def test_most_updates_leave_the_serving_index_alone(db: Database, conn: Connection) -> None:
    docs = table_with_ann_index(db, conn)
    steps: list[ReembedProgress] = []
    result = fill(db, docs, steps)
    assert result.hot_share is not None
    assert result.hot_share > 0.5
    assert not any(step.held_back for step in steps)


def test_a_transaction_held_open_elsewhere_collapses_that_and_the_run_says_so(db: Database, conn: Connection) -> None:
    docs = table_with_ann_index(db, conn)
    steps: list[ReembedProgress] = []
    with db.connect() as holder:
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT count(*) FROM docs")
        result = fill(db, docs, steps)
        holder.execute("ROLLBACK")
    assert result.outcome == "done"
    assert result.hot_share is not None
    assert result.hot_share < 0.1
    assert any("transaction held open" in (step.held_back or "") for step in steps)
