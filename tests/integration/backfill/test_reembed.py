"""Whole runs, on tables of every kind."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from psycopg import sql

from embedmig.backfill.failures import ignore_failures, list_failures, retry_failures
from embedmig.backfill.pipeline import WorkerOptions
from embedmig.backfill.progress import ReembedProgress
from embedmig.backfill.results import ReembedResult, RunOptions
from embedmig.backfill.running import reembed
from embedmig.backfill.slices import GroupSize
from embedmig.catalog import migrations, models, slots
from embedmig.catalog.events import list_events
from embedmig.db import Connection, Database
from embedmig.embedders import Embedder, load_embedder, take_fingerprint
from embedmig.errors import FingerprintError, ProviderError, RefusedError
from embedmig.schema.handing_over import hand_over
from embedmig.types import Collection, Floats, Model, ModelState, Placement
from tests.backfill_support import check_every_row, hands
from tests.support import NEW, OLD, expand_docs, make_docs

QUICK = WorkerOptions(size=GroupSize(rows=64), rest_s=0.02, idle_s=0.02, lease_s=5)


def run(db: Database, collection: Collection, **kwargs: Any) -> ReembedResult:
    given = {name: kwargs.pop(name) for name in ("on_progress", "stop") if name in kwargs}
    return reembed(db, collection, options=RunOptions(**{"worker": QUICK, **kwargs}), **given)


def target_of(conn: Connection, collection: Collection) -> Any:
    return slots.get_slot(conn, collection, "v2")


KEYS = {
    "bigint": [("id", "bigint")],
    "uuid": [("id", "uuid")],
    "text": [("id", "text")],
    "composite": [("Tenant id", "uuid"), ("n", "integer")],
    "composite text": [("lang code", "text"), ("id", "bigint")],
    "timestamp": [("at", "timestamp with time zone")],
    "numeric": [("id", "numeric")],
    "bytea": [("id", "bytea")],
    "varchar": [("id", "character varying(40)")],
    "date": [("day", "date"), ("n", "smallint")],
}


def make(conn: Connection, rows: int, key: Sequence[tuple[str, str]], **kwargs: Any) -> Collection:
    return make_docs(conn, rows, key=key, **kwargs)


@pytest.mark.parametrize("placement", list(Placement))
@pytest.mark.parametrize("kind", [name for name in KEYS if name not in ("timestamp", "date")])
def test_keys_of_every_type_are_carried(db: Database, conn: Connection, kind: str, placement: Placement) -> None:
    docs = make(conn, 230, KEYS[kind])
    expand_docs(db, placement)
    result = run(db, docs)
    target = target_of(conn, docs)
    assert result.outcome == "done"
    assert result.rows == 230
    assert check_every_row(conn, docs, target).clean
    assert target.filled_at is not None


@pytest.mark.parametrize("placement", list(Placement))
def test_keys_that_print_by_the_sessions_settings_are_carried(
    db: Database, conn: Connection, placement: Placement
) -> None:
    conn.execute(
        "CREATE TABLE docs (at timestamptz, f double precision, title text, body text, lang text,"
        " embedding vector(16), PRIMARY KEY (at, f))"
    )
    conn.execute(
        "INSERT INTO docs SELECT timestamptz '2026-03-29 00:00:00.123456+00' + n * interval '7 h', n / 3.0,"
        " 'title ' || n, 'body ' || n FROM generate_series(1, 150) n"
    )
    docs = register(conn, [("at", "timestamp with time zone"), ("f", "double precision")])
    expand_docs(db, placement)
    assert run(db, docs).outcome == "done"
    with db.connect() as user:
        user.execute("SET datestyle = 'SQL, DMY'; SET timezone = 'Asia/Tokyo'; SET extra_float_digits = 0")
        user.execute("UPDATE docs SET body = 'edited far away' WHERE f < 20")
        user.execute("DELETE FROM docs WHERE f > 45")
    run(db, docs)
    assert check_every_row(conn, docs, target_of(conn, docs)).clean


def register(conn: Connection, key: Sequence[tuple[str, str]]) -> Collection:
    """Registers a table ``docs`` that is there already."""
    conn.execute("ALTER TABLE docs RENAME TO docs_there")
    docs = make_docs(conn, 0, key=key)
    conn.execute("DROP TABLE docs")
    conn.execute("ALTER TABLE docs_there RENAME TO docs")
    return docs


@pytest.mark.parametrize("placement", list(Placement))
def test_names_that_need_quotes_are_no_matter(db: Database, conn: Connection, placement: Placement) -> None:
    docs = make_docs(
        conn, 100, schema='My "schema"', table="Select Docs", key=[("Primary; key", "bigint"), ("Group", "text")]
    )
    expand_docs(db, placement)
    assert run(db, docs).outcome == "done"
    assert check_every_row(conn, docs, target_of(conn, docs)).clean


@pytest.mark.parametrize("placement", list(Placement))
def test_rows_outside_the_filter_get_no_vector(db: Database, conn: Connection, placement: Placement) -> None:
    docs = make_docs(conn, 100, row_filter="lang = 'en' AND title LIKE 'Title %'", filter_columns=["lang", "title"])
    expand_docs(db, placement)
    assert run(db, docs).rows == 50
    conn.execute("UPDATE docs SET lang = 'de' WHERE id = 1")
    conn.execute("UPDATE docs SET lang = 'en' WHERE id = 2")
    result = run(db, docs)
    assert check_every_row(conn, docs, target_of(conn, docs)).clean
    assert result.slots[0].census.rows == 50


@pytest.mark.parametrize("placement", list(Placement))
def test_rows_without_text_get_no_vector_and_count_apart(db: Database, conn: Connection, placement: Placement) -> None:
    docs = make_docs(conn, 20)
    conn.execute("UPDATE docs SET title = NULL, body = '' WHERE id IN (3, 4)")
    conn.execute("UPDATE docs SET title = NULL WHERE id = 5")
    expand_docs(db, placement)
    result = run(db, docs)
    census = result.slots[0].census
    assert (census.rows, census.without_text, census.true, census.missing) == (20, 2, 18, 0)
    assert check_every_row(conn, docs, target_of(conn, docs)).clean


def test_an_empty_table_is_done_at_once(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 0)
    expand_docs(db)
    assert run(db, docs).outcome == "done"
    assert target_of(conn, docs).filled_at is not None


@pytest.mark.parametrize("placement", list(Placement))
def test_halfvec_slots_are_filled(db: Database, conn: Connection, placement: Placement) -> None:
    wide = Model(name="wide", revision="1", provider="hashing", dimensions=2100, options={"dimensions": 2100})
    docs = make_docs(conn, 40, new=wide)
    expand_docs(db, placement, model=wide)
    target = target_of(conn, docs)
    assert target.vector_type == "halfvec"
    assert run(db, docs).outcome == "done"
    assert check_every_row(conn, docs, target).clean


def test_a_second_run_finds_nothing_to_do(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 50)
    expand_docs(db, Placement.COMPANION)
    run(db, docs)
    assert run(db, docs).rows == 0


def test_a_run_logs_that_it_began_ended_and_filled_the_slot(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 50)
    expand_docs(db)
    run(db, docs)
    run(db, docs)
    said = [(event.was, event.became) for event in reversed(list_events(conn, "docs")) if event.verb == "reembed"]
    assert said == [(None, "running"), ("running", "done"), (None, "v2 filled")]


def test_nothing_maintained_is_refused(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 5)
    with pytest.raises(RefusedError, match="embedmig expand docs"):
        run(db, docs)


class _Stubborn:
    """Wraps a model: some texts make it raise, or give what must not be stored."""

    def __init__(self, model: Model, spoil: Callable[[str], str | None], calls: list[int]) -> None:
        self._inner = load_embedder(model)
        self.dimensions, self.max_tokens = self._inner.dimensions, self._inner.max_tokens
        self.compute_type = self._inner.compute_type
        self._spoil, self.calls = spoil, calls

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        self.calls.append(len(texts))
        vectors = self._inner.embed_documents(texts)
        for row, text in enumerate(texts):
            kind = self._spoil(text)
            if kind == "raise":
                raise ProviderError(f"cannot take {text}")
            if kind == "nan":
                vectors[row, 3] = float("nan")
            if kind == "inf":
                vectors[row, 0] = float("inf")
            if kind == "zero":
                vectors[row] = 0
        return vectors

    def embed_queries(self, texts: Sequence[str]) -> Floats:
        return self._inner.embed_queries(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._inner.count_tokens(texts)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedmig.backfill.embedding._PAUSE_S", 0.001)


def stubborn(spoil: Callable[[str], str | None], calls: list[int] | None = None) -> Callable[[Model], Embedder]:
    return lambda model: _Stubborn(model, spoil, calls if calls is not None else [])


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("placement", list(Placement))
@pytest.mark.parametrize("kind", ["raise", "nan", "inf", "zero"])
def test_only_the_poison_rows_end_as_failures(db: Database, conn: Connection, placement: Placement, kind: str) -> None:
    docs = make_docs(conn, 300)
    conn.execute("UPDATE docs SET body = 'unspeakable secret ' || id WHERE id IN (7, 100, 101)")
    expand_docs(db, placement)
    result = run(db, docs, load=stubborn(lambda text: kind if "unspeakable" in text else None))
    target = target_of(conn, docs)
    failures = list_failures(conn, target)
    assert sorted(failure.key for failure in failures) == [("100",), ("101",), ("7",)]
    assert not any("unspeakable" in failure.reason or "secret" in failure.reason for failure in failures)
    assert result.outcome == "done"
    assert result.failures == 3
    checked = check_every_row(conn, docs, target)
    assert sorted(checked.missing) == [("100",), ("101",), ("7",)]
    assert not checked.wrong


@pytest.mark.usefixtures("no_pauses")
def test_a_failing_batch_is_tried_again_as_a_batch(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 60)
    expand_docs(db)
    calls: list[int] = []
    failed: list[int] = []

    def twice(text: str) -> str | None:
        if len(failed) < 2:
            failed.append(1)
            return "raise"
        return None

    result = run(db, docs, load=stubborn(twice, calls))
    assert result.failures == 0
    assert calls == [60, 60, 60]


@pytest.mark.usefixtures("no_pauses")
def test_a_model_that_is_down_stops_the_run_and_blames_no_row(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 60)
    expand_docs(db)
    with pytest.raises(ProviderError):
        run(db, docs, load=stubborn(lambda text: "raise"))
    assert list_failures(conn, target_of(conn, docs)) == []
    assert run(db, docs).outcome == "done"


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("placement", list(Placement))
def test_failures_are_tried_again_only_on_request(db: Database, conn: Connection, placement: Placement) -> None:
    docs = make_docs(conn, 30)
    expand_docs(db, placement)
    run(db, docs, load=stubborn(lambda text: "nan" if "Title 7\n" in text else None))
    target = target_of(conn, docs)
    assert run(db, docs).rows == 0
    assert retry_failures(conn, target) == 1
    assert run(db, docs).rows == 1
    assert list_failures(conn, target) == []
    assert check_every_row(conn, docs, target).clean


@pytest.mark.usefixtures("no_pauses")
def test_an_ignored_failure_leaves_the_slot_complete_until_the_row_is_edited(db: Database, conn: Connection) -> None:
    from embedmig.backfill.completeness import completeness
    from embedmig.settings import Settings

    docs = make_docs(conn, 30)
    expand_docs(db)
    poison = stubborn(lambda text: "nan" if "Title 7\n" in text else None)
    run(db, docs, load=poison)
    target = target_of(conn, docs)
    assert not completeness(conn, docs, target, Settings()).complete
    assert ignore_failures(conn, target, [("7",)]) == 1
    assert completeness(conn, docs, target, Settings()).complete
    conn.execute("UPDATE docs SET body = 'still poison' WHERE id = 7")
    run(db, docs, load=poison)
    assert [failure.ignored for failure in list_failures(conn, target)] == [False]
    conn.execute("UPDATE docs SET title = 'mended' WHERE id = 7")
    run(db, docs, load=poison)
    assert list_failures(conn, target) == []


def test_a_wrong_dimension_is_never_stored(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 10)
    expand_docs(db)

    def narrow(model: Model) -> Embedder:
        return load_embedder(OLD)

    result = run(db, docs, load=narrow)
    assert result.failures == 10
    assert "16 dimensions" in list_failures(conn, target_of(conn, docs))[0].reason


def test_identical_texts_are_embedded_once(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 60)
    conn.execute("UPDATE docs SET title = 'the same', body = 'everywhere' WHERE id > 10")
    expand_docs(db)
    calls: list[int] = []
    run(db, docs, load=stubborn(lambda text: None, calls))
    assert sum(calls) == 11
    assert check_every_row(conn, docs, target_of(conn, docs)).clean


def test_weights_that_changed_behind_the_name_stop_the_job(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 200)
    fingerprint = take_fingerprint(NEW, load_embedder(NEW)).to_bytes()
    conn.execute("UPDATE embedmig.model SET fingerprint = %s WHERE id = %s", [fingerprint, NEW.id])
    expand_docs(db)
    changed = Model(name="x", revision="1", provider="hashing", dimensions=24, options={"dimensions": 24, "seed": 9})
    with pytest.raises(FingerprintError, match="new@1"):
        run(db, docs, load=lambda model: load_embedder(changed))
    assert conn.execute("SELECT count(embedding_v2) AS n FROM docs").fetchone() == {"n": 0}
    assert run(db, docs).outcome == "done"


def test_weights_that_change_in_the_middle_stop_the_job(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 400)
    fingerprint = take_fingerprint(NEW, load_embedder(NEW)).to_bytes()
    conn.execute("UPDATE embedmig.model SET fingerprint = %s WHERE id = %s", [fingerprint, NEW.id])
    expand_docs(db)
    turncoat = _Turncoat(after=150)
    often = WorkerOptions(size=GroupSize(rows=50), fingerprint_every_s=0.0)
    with pytest.raises(FingerprintError):
        run(db, docs, load=lambda model: turncoat, worker=often)
    assert not check_every_row(conn, docs, target_of(conn, docs)).wrong


class _Turncoat(_Stubborn):
    """Becomes another model after so many texts."""

    def __init__(self, *, after: int) -> None:
        super().__init__(NEW, lambda text: None, [])
        self._after = after

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        if sum(count for count in self.calls if count == 50) >= self._after:
            self._inner = load_embedder(
                Model(name="y", revision="1", provider="hashing", dimensions=24, options={"dimensions": 24, "seed": 5})
            )
        return super().embed_documents(texts)


@pytest.mark.parametrize("placement", list(Placement))
def test_a_part_is_a_random_part_and_the_rest_follows(db: Database, conn: Connection, placement: Placement) -> None:
    docs = make_docs(conn, 1000)
    expand_docs(db, placement)
    result = run(db, docs, until=0.2)
    target = target_of(conn, docs)
    assert result.outcome == "part"
    assert 200 <= result.slots[0].census.true <= 232
    assert target.filled_at is None
    missing = {int(key[0]) for key in check_every_row(conn, docs, target).missing}
    halves = [sum(1 for n in range(start, start + 500) if n not in missing) for start in (1, 501)]
    assert min(halves) > 20
    assert run(db, docs, until=0.2).rows == 0
    assert run(db, docs).outcome == "done"
    assert check_every_row(conn, docs, target).clean


def test_a_run_that_is_stopped_keeps_what_is_finished_and_the_next_goes_on(db: Database, conn: Connection) -> None:
    slow = Model(
        name="slow", revision="1", provider="hashing", dimensions=24, options={"dimensions": 24, "delay_s": 0.05}
    )
    docs = make_docs(conn, 1000, new=slow)
    expand_docs(db, Placement.COMPANION, model=slow)
    stop = threading.Event()

    def after_a_while(step: ReembedProgress) -> None:
        if step.rows_written >= 100:
            stop.set()

    first = run(db, docs, on_progress=after_a_while, stop=stop)
    assert first.outcome == "interrupted"
    assert 100 <= first.rows < 1000
    assert conn.execute(
        "SELECT count(*) AS n FROM embedmig.chunk WHERE lease_until > now() AND done_at IS NULL"
    ).fetchone() == {"n": 0}
    second = run(db, docs)
    assert second.outcome == "done"
    assert first.rows + second.rows == 1000


def test_after_the_handover_a_run_embeds_for_both_slots(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 50)
    conn.execute("UPDATE docs SET embedding = NULL WHERE id <= 5")
    expand_docs(db, Placement.COMPANION)
    run(db, docs)
    hand_over(conn, docs)
    conn.execute("UPDATE docs SET body = 'for both' WHERE id = 20")
    run(db, docs)
    for name in ("v1", "v2"):
        assert check_every_row(conn, docs, slots.get_slot(conn, docs, name)).clean


def test_entries_for_a_model_that_is_gone_are_kept_and_claimed_by_nobody(db: Database, conn: Connection) -> None:
    from dataclasses import replace

    docs = make_docs(conn, 20)
    expand_docs(db)
    run(db, docs)
    models.update_model(conn, replace(OLD, state=ModelState.GONE))
    hand_over(conn, docs)
    conn.execute("UPDATE docs SET body = 'since it went' WHERE id = 3")
    assert run(db, docs).outcome == "done"
    waiting = conn.execute("SELECT slot_id, key FROM embedmig.pending").fetchall()
    migration = migrations.get_migration(conn, docs)
    assert waiting == [{"slot_id": migration.source_id, "key": ["3"]}]


def test_follow_embeds_what_is_edited_until_it_is_stopped(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 50)
    expand_docs(db, Placement.COMPANION)
    stop = threading.Event()
    steps: list[ReembedProgress] = []
    following = threading.Thread(target=lambda: run(db, docs, follow=True, stop=stop, on_progress=steps.append))
    following.start()
    try:
        target = target_of(conn, docs)
        wait_until(lambda: bool(steps) and steps[-1].phase == "following")
        conn.execute("UPDATE docs SET body = 'edited' WHERE id < 10")
        conn.execute("DELETE FROM docs WHERE id = 30")
        wait_until(lambda: check_every_row(conn, docs, target).clean)
        hand_over(conn, docs)
        conn.execute("UPDATE docs SET body = 'for both by now' WHERE id = 40")
        source = slots.get_slot(conn, docs, "v1")
        wait_until(lambda: ("40",) not in check_every_row(conn, docs, source).wrong)
        conn.execute("TRUNCATE docs")
        conn.execute("INSERT INTO docs (id, title, body) VALUES (1, 'after', 'it')")
        wait_until(lambda: check_every_row(conn, docs, target).clean)
    finally:
        stop.set()
        following.join()
    assert any(step.queued for step in steps)


def wait_until(holds: Callable[[], bool], *, seconds: float = 20) -> None:
    import time

    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


@pytest.mark.parametrize("placement", list(Placement))
def test_what_triggers_missed_is_found_by_the_sweep(db: Database, conn: Connection, placement: Placement) -> None:
    docs = make_docs(conn, 50)
    expand_docs(db, placement)
    run(db, docs)
    conn.execute("SET session_replication_role = 'replica'")
    conn.execute("UPDATE docs SET body = 'unseen' WHERE id < 5")
    conn.execute("DELETE FROM docs WHERE id = 20")
    conn.execute("INSERT INTO docs (id, title, body) VALUES (99, 'unseen', 'too')")
    conn.execute("UPDATE docs SET body = '', title = '' WHERE id = 30")
    conn.execute("RESET session_replication_role")
    target = target_of(conn, docs)
    assert not check_every_row(conn, docs, target).clean
    run(db, docs)
    assert check_every_row(conn, docs, target).clean


@pytest.mark.parametrize("placement", list(Placement))
def test_bridged_rows_are_replaced_by_true_ones(db: Database, conn: Connection, placement: Placement) -> None:
    from embedmig.db import identifiers as ident
    from tests.support import bridge_id, embed

    docs = make_docs(conn, 40)
    expand_docs(db, placement)
    target = target_of(conn, docs)
    vector = embed(NEW, ["a bridge's guess"])[0]
    if placement is Placement.COLUMN:
        conn.execute(
            sql.SQL("UPDATE docs d SET embedding_v2 = %s, embedding_v2_model = %s, embedding_v2_hash = {}").format(
                ident.text_hash(docs, "d")
            ),
            [vector, bridge_id()],
        )
        conn.execute("DELETE FROM embedmig.pending")
    else:
        conn.execute(
            sql.SQL("INSERT INTO embedmig.docs_v2 SELECT id, %s, %s, {} FROM docs d").format(
                ident.text_hash(docs, "d")
            ),
            [vector, bridge_id()],
        )
    assert run(db, docs).rows == 40
    assert check_every_row(conn, docs, target).clean


def test_texts_longer_than_the_model_takes_are_counted(db: Database, conn: Connection) -> None:
    short = Model(
        name="short", revision="1", provider="hashing", dimensions=24, max_tokens=8, options={"dimensions": 24}
    )
    docs = make_docs(conn, 30, new=short)
    conn.execute("UPDATE docs SET title = 'tiny', body = 'text' WHERE id <= 10")
    expand_docs(db, model=short)
    result = run(db, docs)
    assert result.truncated == 20


def test_constant_writes_do_not_keep_a_run_from_ending(db: Database, conn: Connection) -> None:
    docs = make_docs(conn, 300)
    expand_docs(db, Placement.COMPANION)
    stop = threading.Event()

    def write() -> None:
        with db.connect() as user:
            number = 0
            while not stop.is_set():
                number += 1
                user.execute("UPDATE docs SET body = %s WHERE id = %s", [f"edit {number}", number % 40 + 1])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        result = run(db, docs)
    finally:
        stop.set()
        writer.join()
    assert result.outcome == "done"
    assert result.slots[0].census.missing_not_queued == 0
    run(db, docs)
    assert check_every_row(conn, docs, target_of(conn, docs)).clean


@pytest.mark.parametrize("placement", list(Placement))
def test_a_row_locked_all_along_is_left_to_the_tail(db: Database, conn: Connection, placement: Placement) -> None:
    docs = make_docs(conn, 50)
    expand_docs(db, placement)
    run(db, docs)
    conn.execute("UPDATE docs SET body = 'edited' WHERE id = 1")
    with db.connect() as user:
        user.execute("BEGIN")
        user.execute("UPDATE docs SET lang = 'fr' WHERE id = 1")
        result = run(db, docs)
        assert result.outcome == "done"
        assert result.queued == (1 if placement is Placement.COLUMN else 0)
        user.execute("ROLLBACK")
    conn.execute("UPDATE embedmig.pending SET ready = now()")
    run(db, docs)
    assert check_every_row(conn, docs, target_of(conn, docs)).clean


def test_a_slot_dropped_under_a_running_worker_ends_its_work_and_no_other(db: Database, conn: Connection) -> None:
    from embedmig.schema.expanding import undo_expand

    slow = Model(
        name="slow", revision="1", provider="hashing", dimensions=24, options={"dimensions": 24, "delay_s": 0.2}
    )
    docs = make_docs(conn, 2000, new=slow)
    expand_docs(db, Placement.COMPANION, model=slow)
    begun, errors = threading.Event(), []

    def work() -> None:
        try:
            run(db, docs, on_progress=lambda step: begun.set() if step.rows_written > 100 else None)
        except RefusedError as error:
            errors.append(str(error))

    working = threading.Thread(target=work)
    working.start()
    assert begun.wait(60)
    undo_expand(conn, docs)
    working.join()
    assert errors
    assert "open a migration" in errors[0]


@pytest.mark.parametrize("name", ["place", "forced", "key", "hash", "embedding_hash", "ord"])
def test_a_key_may_be_called_anything(db: Database, conn: Connection, name: str) -> None:
    docs = make_docs(conn, 20, key=[(name, "bigint")])
    expand_docs(db, Placement.COLUMN)
    run(db, docs)
    conn.execute("UPDATE docs SET body = 'edited'")
    run(db, docs)
    assert check_every_row(conn, docs, target_of(conn, docs)).clean


def test_a_row_that_a_search_found_is_embedded_if_it_is_bridged_and_forgotten_else(
    db: Database, conn: Connection
) -> None:
    from tests.support import bridge_id

    docs = make_docs(conn, 20)
    expand_docs(db, Placement.COMPANION)
    run(db, docs)
    target = target_of(conn, docs)
    conn.execute("UPDATE embedmig.docs_v2 SET embedding_model = %s WHERE id = 1", [bridge_id()])
    for key in ("1", "2"):
        conn.execute(
            "INSERT INTO embedmig.pending (slot_id, bucket, key, kind) VALUES (%s, embedmig.bucket_v1(%s), %s, 'f')",
            [target.id, [key], [key]],
        )
    with hands(db, docs) as worker:
        written = [one for chunk in iter(worker.claim, None) for one in worker.write(worker.read(chunk))]
    assert sum(one.rows for one in written) == 1
    assert conn.execute("SELECT count(*) AS n FROM embedmig.pending").fetchone() == {"n": 0}
    assert check_every_row(conn, docs, target).clean


def test_a_partitioned_table_is_filled(db: Database, conn: Connection) -> None:
    conn.execute(
        "CREATE TABLE docs (id bigint, region text, title text, body text, lang text, embedding vector(16),"
        " PRIMARY KEY (id, region)) PARTITION BY LIST (region)"
    )
    for region in ("north", "south"):
        conn.execute(
            sql.SQL("CREATE TABLE {} PARTITION OF docs FOR VALUES IN ({})").format(
                sql.Identifier(f"docs_{region}"), sql.Literal(region)
            )
        )
    conn.execute(
        "INSERT INTO docs SELECT n, CASE WHEN n % 3 = 0 THEN 'north' ELSE 'south' END, 'title ' || n, 'body ' || n"
        " FROM generate_series(1, 300) n"
    )
    docs = register(conn, [("id", "bigint"), ("region", "text")])
    expand_docs(db, Placement.COLUMN)
    assert run(db, docs).rows == 300
    conn.execute("UPDATE docs SET region = 'north' WHERE id BETWEEN 10 AND 20")
    conn.execute("UPDATE docs SET body = 'edited' WHERE id BETWEEN 15 AND 30")
    run(db, docs)
    assert check_every_row(conn, docs, target_of(conn, docs)).clean
