"""Whatever the order of verbs, edits and crashes, what the design promises holds after each step.

A few short walks in the suite, the same each time. With ``LONG_WALKS=20`` in the environment so many long ones, and
other ones each time.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from hypothesis import Phase, note
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from psycopg import sql

from embedmig import Embedding, ModelMismatchError, Searcher, commands
from embedmig.backfill.groups import Group
from embedmig.backfill.pipeline import WorkerOptions
from embedmig.backfill.results import RunOptions
from embedmig.backfill.running import reembed
from embedmig.backfill.slices import GroupSize
from embedmig.catalog import collections, migrations, reports, routes, slots
from embedmig.catalog.serving import read_serving
from embedmig.db import Database
from embedmig.db import identifiers as ident
from embedmig.errors import DatabaseError, EmbedmigError, NotFoundError, RefusedError, UsageError
from embedmig.search.routing import routing_bucket
from embedmig.settings import Settings
from embedmig.types import Collection, Maintainer, Migration, Model, Placement, Route, Slot
from tests.adapter_support import keep_adapter
from tests.backfill_support import Hands, hands, make_ready
from tests.rollout_support import UNWATCHED
from tests.support import NEW, OLD, embed, make_docs, text_of

LONG = int(os.environ.get("LONG_WALKS", "0"))

NO_WAITING = Settings(
    hold_hours=0,
    stability_days=0,
    quiet_hours=0,
    tail_age_s=3600,
    tail_always_rows=1000,
    rollout=UNWATCHED.rollout,
)
"""What hangs on time alone does not hold a walk; nor do few rows tell rollback triggers anything."""
BRISK = WorkerOptions(rest_s=0.0, idle_s=0.01, size=GroupSize(rows=4))
ROWS = 9
KEYS = st.integers(1, ROWS + 3)
NUMBERS = st.integers(1, 60)
QUERIES = [{"query": "\n\n".join(text_of(number)), "relevant": [str(number)]} for number in (1, 2, 3, 5)]
WRITES = {
    "text": "INSERT INTO docs (id, title, body) VALUES (%(id)s, %(title)s, %(body)s)"
    " ON CONFLICT (id) DO UPDATE SET title = excluded.title, body = excluded.body",
    "text and vector": "INSERT INTO docs (id, title, body, embedding) VALUES (%(id)s, %(title)s, %(body)s, %(vector)s)"
    " ON CONFLICT (id) DO UPDATE SET title = excluded.title, body = excluded.body, embedding = excluded.embedding",
    "no text": "UPDATE docs SET title = NULL, body = NULL WHERE id = %(id)s",
    "delete": "DELETE FROM docs WHERE id = %(id)s",
    "move": "UPDATE docs SET id = %(to)s WHERE id = %(id)s AND NOT EXISTS (SELECT FROM docs WHERE id = %(to)s)",
    "truncate": "TRUNCATE docs",
}
OTHER = {OLD.key: NEW, NEW.key: OLD}


@dataclass(frozen=True, kw_only=True)
class State:
    """What of embedmig's a refused verb leaves as it was."""

    collection: Collection
    slots: list[Slot]
    migration: Migration | None
    route: Route
    columns: list[str]


class AnyOrder(RuleBasedStateMachine):
    """The user's table ``docs``, its migrations one after the other, a searcher that is opened once, and workers that
    die or wake too late."""

    placement: Placement
    server_url: str
    template: str

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.db = self.open.enter_context(_database(self.server_url, self.template))
        self.conn = self.open.enter_context(self.db.connect())
        make_docs(self.conn, ROWS)
        self.conn.execute("CREATE INDEX docs_ann ON docs USING hnsw (embedding vector_cosine_ops)")
        self.search = self.open.enter_context(Searcher.connect("docs", database_url=self.db.url, counted=False))
        self.asleep: list[tuple[ExitStack, Hands, list[Group]]] = []
        self.excused: set[tuple[str, ...]] = set()

    def teardown(self) -> None:
        for held, _, _ in self.asleep:
            held.close()
        self.open.close()

    # What users do

    @rule(
        how=st.sampled_from(["text", "text", "text and vector", "no text", "delete", "move", "truncate"]),
        key=KEYS,
        number=NUMBERS,
        of=st.integers(0, 9),
    )
    def write(self, how: str, key: int, number: int, of: int) -> None:
        """Never refused, never made to wait."""
        title, body = text_of(number)
        values = {"id": key, "to": number + 100, "title": title, "body": body}
        values["vector"] = embed(OLD, [f"{title}\n\n{body}"])[0]
        if how == "text and vector" and not self.application_may_bring_vectors():
            how = "text"
        if how != "truncate" or of == 0:
            self.conn.execute(WRITES[how], values)

    # Verbs in order, as status tells them

    @initialize(steps=st.integers(0, 8))
    def begin_somewhere(self, steps: int) -> None:
        for _ in range(steps):
            self.go_on()

    @rule()
    def go_on(self) -> None:
        """The next command of status is never refused."""
        if not self.is_registered():
            self.register()
        command = commands.status(self.db, "docs", settings=NO_WAITING)[0].next.command.split()
        verb, argument = command[1], command[3] if len(command) > 3 else ""
        note(f"next: {' '.join(command)}")
        called = {
            "expand": self.expand,
            "reembed": self.reembed,
            "index": self.index,
            "validate": self.validate_or_accept,
            "handover": self.handover,
            "rollout": lambda: self.rollout(float(argument)),
            "contract": self.contract,
        }
        refused = self.attempt(called[verb])
        assert refused is None, refused

    # Verbs in any order

    @rule(
        verb=st.sampled_from(["expand", "expand --undo", "reembed", "index", "validate", "handover", "handover --undo"])
    )
    def call(self, verb: str) -> None:
        called = {
            "expand": self.expand,
            "expand --undo": lambda: commands.expand_undo(self.db, "docs", settings=NO_WAITING),
            "reembed": self.reembed,
            "index": self.index,
            "validate": self.validate,
            "handover": self.handover,
            "handover --undo": lambda: commands.handover_undo(self.db, "docs", settings=NO_WAITING),
        }
        self.attempt(called[verb])

    @rule()
    def give_to_the_application(self) -> None:
        """With no migration open, the only slot; later it may be a source again."""
        self.attempt(lambda: commands.handover(self.db, "docs", to_app=True, settings=NO_WAITING))

    @rule(key=KEYS)
    def refresh(self, key: int) -> None:
        """A row just written is right in every slot that embedmig maintains, unless the row is left to a worker."""
        if not self.is_registered():
            return
        left = self.search.refresh([key])
        state = self.state()
        for slot in self.maintained():
            rows = [row for row in self.rows_of(state.collection, slot) if row["key"] == [str(key)]]
            wrong = [row for row in rows if row["wrong"] and tuple(row["key"]) not in self.excused]
            assert left or not wrong, (slot.name, wrong)

    @rule(part=st.sampled_from([0.2, 0.5]))
    def embed_a_part(self, part: float) -> None:
        self.attempt(lambda: self.reembed(until=part))

    @rule(percent=st.sampled_from([0, 5, 25, 50, 100]))
    def set_share(self, percent: float) -> None:
        self.attempt(lambda: self.rollout(percent))

    @rule()
    def roll_back(self) -> None:
        """Never refused from expand to retire."""
        open_way = self.state().migration if self.is_registered() else None
        refused = self.attempt(lambda: commands.rollback(self.db, "docs"))
        assert refused is None or open_way is None or open_way.retired_at is not None, refused
        if refused is None:
            assert self.state().route.share_bp == 0

    @rule()
    def walk_the_ladder(self) -> None:
        """One look of ``rollout --auto``, which takes a step where it may."""
        stop = threading.Event()
        stop.set()
        self.attempt(lambda: commands.rollout_auto(self.db, "docs", settings=NO_WAITING, stop=stop))

    @rule(how=st.sampled_from(["dry run", "retire", "contract", "rename", "keep the source", "detach"]))
    def end(self, how: str) -> None:
        if how == "detach":
            self.attempt(self.detach)
            return
        options = {
            "dry run": {"dry_run": True},
            "retire": {"only_retire": True},
            "contract": {},
            "rename": {"rename_column": True},
            "keep the source": {"keep_source": True},
        }[how]
        before = self.state() if how == "dry run" and self.is_registered() else None
        self.attempt(lambda: self.contract(**options))
        assert before is None or self.state() == before

    # What stands beside the route

    @rule(pin=st.sampled_from(["old", "new"]))
    def a_process_is_pinned(self, pin: str) -> None:
        """It is answered by the slot that it is pinned to, wherever the route leads, and by the source always."""
        if not self.is_registered():
            return
        state = self.state()
        slot = _side(state, pin)
        pinned = NO_WAITING.model_copy(update={"active_index": pin})
        search = None
        try:
            search = Searcher.connect("docs", database_url=self.db.url, settings=pinned)
        except RefusedError as refused:
            note(f"pinned to {pin}: {refused}")
        if search is None:
            assert state.migration is not None
            assert slot.id == state.migration.target_id
            return
        with search:
            assert slot.filled_at is not None or state.migration is None or slot.id == state.migration.source_id
            query = Embedding(embed(slot.model, ["word1"])[0], model=slot.model.key)
            assert {hit.slot for hit in search(query, routing_key="ann")} <= {slot.name}
            assert search.explain(query).pin == pin
        # Ten minutes later: till then verbs that would change what the pin means are refused.
        self.conn.execute("UPDATE embedmig.pin SET seen_at = now() - interval '1 hour'")

    @rule(before=st.sampled_from([OLD, NEW]), undo=st.booleans())
    def an_adapter_is_put_before_a_slot(self, before: Model, undo: bool) -> None:
        """Or taken away again."""
        if not self.is_registered():
            return
        kept = keep_adapter(self.conn, made=(OTHER[before.key], before))
        self.attempt(lambda: commands.adapter_use(self.db, "docs", kept.name))
        if undo:
            self.attempt(lambda: commands.adapter_use_undo(self.db, "docs", kept.name))

    # Crashes

    @rule(wakes=st.booleans())
    def a_worker_stops_with_a_batch_in_hand(self, wakes: bool) -> None:
        """Killed, or stopped for so long that its lease runs out; then it wakes later."""
        target = next((slot for slot in self.maintained() if slot.filled_at is None), None)
        if target is None:
            target = next(iter(self.maintained()), None)
        if target is None:
            return
        held = ExitStack()
        worker = held.enter_context(hands(self.db, self.state().collection, target.name))
        if target.filled_at is None:
            worker.plan(chunk_rows=4)
        chunk = worker.claim()
        groups = [] if chunk is None else worker.read(chunk)
        if groups and wakes:
            self.asleep.append((held, worker, groups))
        else:
            held.close()
        self.leases_run_out()

    @rule()
    def a_stopped_worker_wakes(self) -> None:
        """Its lease ran out: it writes nothing, or what is looked at again."""
        if not self.asleep:
            return
        held, worker, groups = self.asleep.pop()
        try:
            worker.write(groups)
        except (EmbedmigError, psycopg.Error) as refused:
            note(f"the worker that woke: {refused!r}")
        finally:
            held.close()

    @rule()
    def every_connection_is_cut_while_rows_are_embedded(self) -> None:
        cut = threading.Event()

        def cut_once(_: object) -> None:
            if not cut.is_set():
                cut.set()
                self.cut_connections()

        try:
            self.attempt(lambda: self.reembed(on_progress=cut_once))
        except DatabaseError as error:
            note(f"reembed: {error}")
        self.leases_run_out()

    # What holds after each step

    @invariant()
    def every_vector_is_its_model_s_and_of_its_text_or_queued(self) -> None:
        if not self.is_registered():
            return
        state = self.state()
        for slot in state.slots:
            rows = self.rows_of(state.collection, slot)
            if slot.model_column is not None:
                labels = {row["model_id"] for row in rows if row["vector"] is not None}
                assert labels <= {slot.model.id, slot.bridge_model_id}, (slot.name, labels)
            wrong = {tuple(row["key"]) for row in rows if row["wrong"]}
            if slot.maintained_by is Maintainer.APP:
                # What the application did before the handover is its own, and is told by audit.
                self.excused = {key for key in wrong if not _is_missing(rows, key)}
                continue
            if slot.hash_column is None:
                self.excused &= wrong
                wrong -= self.excused
            if slot.filled_at is None:
                wrong = {key for key in wrong if not _is_missing(rows, key)}
            assert wrong <= self.queued(slot, wrong), (slot.name, wrong, rows)

    @invariant()
    def a_share_is_served_by_a_filled_target_with_a_way_back(self) -> None:
        if not self.is_registered():
            return
        state = self.state()
        if state.route.share_bp == 0:
            return
        if state.migration is None:
            # Closed: the target is the only slot, whatever the share was.
            raise AssertionError("a share without a migration")
        by_id = {slot.id: slot for slot in state.slots}
        source, target = by_id[state.migration.source_id], by_id[state.migration.target_id]
        assert target.filled_at is not None
        assert state.migration.handover_at is not None
        assert state.migration.retired_at is not None or source.maintained_by is Maintainer.EMBEDMIG

    @invariant()
    def no_query_is_answered_by_another_slot_than_the_route_s(self) -> None:
        if not self.is_registered():
            with pytest.raises(NotFoundError):
                self.search("word1")
            return
        state = self.state()
        for user in ("ann", "bob", None) if LONG else ("ann", None):
            slot = _serving(state, user)
            query = Embedding(embed(slot.model, ["word1"])[0], model=slot.model.key)
            assert {hit.slot for hit in self.search(query, routing_key=user)} <= {slot.name}
            adapter = read_serving(self.conn, "docs").adapters.get(slot.id)
            asked = slot.model if adapter is None else adapter.model
            key = self.search.serving(user)
            assert (key.model, key.slot, key.epoch) == (asked.key, slot.name, state.route.epoch)
            rows = self.conn.execute(
                "SELECT DISTINCT slot, epoch FROM embedmig.search_v1('docs', %s, %s, routing_key => %s)",
                [query.values, slot.model.key, user],
            ).fetchall()
            assert all(row == {"slot": slot.name, "epoch": state.route.epoch} for row in rows)
            of_the_other = OTHER[slot.model.key]
            other = Embedding(embed(of_the_other, ["word1"])[0], model=of_the_other.key)
            if adapter is not None:
                assert {hit.slot for hit in self.search(other, routing_key=user)} <= {slot.name}
                continue
            with pytest.raises(ModelMismatchError):
                self.search(other, routing_key=user)
        self.find_a_row(state)

    def find_a_row(self, state: State) -> None:
        """A row whose vector is right is found by its own text."""
        slot = _serving(state, "ann")
        if slot.id in read_serving(self.conn, "docs").adapters:
            # Its text is mapped, and is only near.
            return
        right = [row for row in self.rows_of(state.collection, slot) if row["wants"] and not row["wrong"]]
        if right:
            hits = self.search(right[0]["text"], k=50, routing_key="ann", exact=True)
            assert str(right[0]["key"][0]) in {str(hit.key) for hit in hits if hit.distance < 1e-4}

    # The verbs, as a walk calls them

    def expand(self) -> None:
        source = self.state().slots[0].model
        commands.expand(self.db, "docs", OTHER[source.key].key, placement=self.placement, settings=NO_WAITING)

    def reembed(self, until: float | None = None, on_progress: Callable[[Any], None] | None = None) -> None:
        make_ready(self.conn)
        reembed(
            self.db,
            collections.get_collection(self.conn, "docs"),
            options=RunOptions(until=until, worker=BRISK),
            settings=NO_WAITING,
            on_progress=on_progress,
        )
        if until is None and on_progress is None:
            assert commands.verify(self.db, "docs").ok
            for slot in self.maintained():
                assert slot.filled_at is not None or slot.hash_column is None

    def index(self) -> None:
        commands.index(self.db, "docs", settings=NO_WAITING)

    def validate(self) -> None:
        commands.validate(self.db, "docs", queries=QUERIES, settings=NO_WAITING)

    def validate_or_accept(self) -> None:
        """Toy models pass no validation: once there is a report, a person goes on over it."""
        state = self.state()
        if state.migration is None or reports.newest_report(self.conn, state.migration) is None:
            return self.validate()
        self.handover()
        self.reembed()
        self.rollout(5)

    def handover(self) -> None:
        vectors = self.app_vectors()
        commands.handover(self.db, "docs", settings=NO_WAITING)
        assert self.app_vectors() == vectors

    def rollout(self, percent: float) -> None:
        state = self.state()
        report = None if state.migration is None else reports.newest_report(self.conn, state.migration)
        rises = percent * 100 > state.route.share_bp and report is not None and report.part == 1
        reason = "toy models" if rises and report is not None and not report.stands else None
        commands.rollout(self.db, "docs", percent, accept_report=reason, settings=NO_WAITING)

    def contract(self, **options: bool) -> None:
        commands.contract(self.db, "docs", force=True, settings=NO_WAITING, **options)

    def detach(self) -> None:
        before = self.state()
        keep = before.slots[-1].name if before.route.share_bp else None
        kept = commands.detach(self.db, "docs", keep=keep, settings=NO_WAITING).kept
        self.left = next(slot for slot in before.slots if slot.name in kept)

    def register(self) -> None:
        """Again, after the user has brought the vectors that were left under the old name."""
        model, columns = self.left.model, [name for name in self.columns() if name.startswith("embedding")]
        with self.conn.transaction():
            self.conn.execute("DROP TABLE IF EXISTS public.docs_v2, public.docs_v3, public.docs_v4")
            if self.left.vector_column in columns:
                # Where both slots' columns were left, the other one is the user's to drop.
                for other in set(columns) - {self.left.vector_column}:
                    self.conn.execute(sql.SQL("ALTER TABLE docs DROP COLUMN {}").format(sql.Identifier(other)))
                columns = [self.left.vector_column]
            if "embedding" not in columns:
                if columns:
                    self.conn.execute(
                        sql.SQL("ALTER TABLE docs RENAME {} TO embedding").format(sql.Identifier(columns[0]))
                    )
                else:
                    self.conn.execute("ALTER TABLE docs ADD COLUMN embedding vector(16)")
                    model = OLD
        commands.collection_add(
            self.db, "docs", table="public.docs", text=["title", "body"], embedding="embedding", model=model.key
        )

    # Looking

    def attempt(self, verb: Callable[[], object]) -> EmbedmigError | None:
        """Calls a verb; gives what it refused with. Refused or not, the user's texts and the application's vectors are
        as they were, and what was changed is in the log."""
        if not self.is_registered():
            self.register()
        before, texts, vectors, events = self.state(), self.texts(), self.app_vectors(), self.count_events()
        try:
            verb()
            refused = None
        except (RefusedError, UsageError) as error:
            refused = error
            note(f"refused: {error}")
        assert self.texts() == texts
        if not self.is_registered():
            assert self.count_events() > events
            return refused
        if before.slots[0].maintained_by is self.state().slots[0].maintained_by is Maintainer.APP:
            assert self.app_vectors() == (vectors if "embedding" in self.columns() else [])
        if refused is not None:
            assert self.state() == before
        if _essence(self.state()) != _essence(before):
            assert self.count_events() > events
        return refused

    def application_may_bring_vectors(self) -> bool:
        """Into the column that was there before embedmig, as long as it holds the model that the application knows."""
        if not self.is_registered():
            return False
        source = self.state().slots[0]
        return source.vector_column == "embedding" and source.hash_column is None and source.model.key == OLD.key

    def is_registered(self) -> bool:
        return any(found.name == "docs" for found in collections.list_collections(self.conn))

    def state(self) -> State:
        collection = collections.get_collection(self.conn, "docs")
        return State(
            collection=collection,
            slots=slots.list_slots(self.conn, collection),
            migration=migrations.find_migration(self.conn, collection),
            route=routes.get_route(self.conn, collection.group),
            columns=self.columns(),
        )

    def columns(self) -> list[str]:
        look = "SELECT attname FROM pg_attribute WHERE attrelid = 'docs'::regclass AND attnum > 0 AND NOT attisdropped"
        return [row["attname"] for row in self.conn.execute(look + " ORDER BY attnum")]

    def maintained(self) -> list[Slot]:
        if not self.is_registered():
            return []
        return [slot for slot in self.state().slots if slot.maintained_by is Maintainer.EMBEDMIG]

    def texts(self) -> list[dict[str, Any]]:
        return self.conn.execute("SELECT id, title, body, lang FROM docs ORDER BY id").fetchall()

    def app_vectors(self) -> list[dict[str, Any]]:
        if "embedding" not in self.columns():
            return []
        return self.conn.execute("SELECT id, embedding::text FROM docs ORDER BY id").fetchall()

    def count_events(self) -> int:
        row = self.conn.execute("SELECT count(*) AS n FROM embedmig.event").fetchone()
        assert row is not None
        return int(row["n"])

    def rows_of(self, collection: Collection, slot: Slot) -> list[dict[str, Any]]:
        """Every row with the slot's vector, and whether it is another than the model gives for the present text."""
        query = sql.SQL(
            "SELECT {} AS key, {} AS text, {} AS wants, {}::text AS vector, {} AS model_id FROM {} AS d {}"
        ).format(
            ident.key_array(collection, "d"),
            ident.text(collection, "d", slot.text_separator),
            ident.wants_vector(collection, "d"),
            ident.vector(slot),
            sql.SQL("NULL") if slot.model_column is None else ident.model_id(slot),
            ident.table(collection),
            ident.join_slot(collection, slot),
        )
        rows = self.conn.execute(query, {}).fetchall()
        for row in rows:
            row["wrong"] = _is_wrong(slot, row)
        return rows

    def queued(self, slot: Slot, keys: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
        found = self.conn.execute(
            "SELECT key FROM embedmig.pending WHERE slot_id = %s AND ready < 'infinity'", [slot.id]
        )
        entries = [row["key"] for row in found]
        return keys if None in entries else {tuple(key) for key in entries}

    def leases_run_out(self) -> None:
        self.conn.execute("UPDATE embedmig.chunk SET lease_until = '-infinity'")

    def cut_connections(self) -> None:
        self.conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'embedmig%'"
        )


def _is_wrong(slot: Slot, row: dict[str, Any]) -> bool:
    if not row["wants"]:
        # What the application left with a text it took away is its own.
        return row["vector"] is not None and slot.hash_column is not None
    if row["vector"] is None:
        return True
    stored = np.fromstring(row["vector"].strip("[]"), sep=",")
    return not np.allclose(stored, embed(slot.model, [row["text"]])[0], atol=2e-3)


def _is_missing(rows: list[dict[str, Any]], key: tuple[str, ...]) -> bool:
    return any(row["vector"] is None for row in rows if tuple(row["key"]) == key)


def _serving(state: State, user: str | None) -> Slot:
    if state.migration is None:
        return state.slots[-1]
    bucket = 9_999 if user is None else routing_bucket(user)
    wanted = state.migration.target_id if bucket < state.route.share_bp else state.migration.source_id
    return next(slot for slot in state.slots if slot.id == wanted)


def _side(state: State, pin: str) -> Slot:
    """The slot that a pin means; with no migration open there is one."""
    if state.migration is None:
        return state.slots[-1]
    wanted = state.migration.source_id if pin == "old" else state.migration.target_id
    return next(slot for slot in state.slots if slot.id == wanted)


def _essence(state: State) -> tuple[object, ...]:
    """Without what is noted as it happens: that a slot is filled, and that an index has a name."""
    route = (state.route.share_bp, state.route.epoch)
    return (
        [replace(slot, filled_at=None, index_name=None) for slot in state.slots],
        state.migration,
        route,
        state.columns,
    )


@contextmanager
def _database(server_url: str, template: str) -> Iterator[Database]:
    name = f"walk_{uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as conn:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        conn.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield Database(psycopg.conninfo.make_conninfo(server_url, dbname=name))
        finally:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize("placement", list(Placement))
def test_the_invariants_hold_after_any_order_of_verbs_edits_and_crashes(
    server_url: str, template: str, placement: Placement
) -> None:
    machine = type(
        f"Walk_{placement}", (AnyOrder,), {"placement": placement, "server_url": server_url, "template": template}
    )
    # Not shrunk: a walk can be read as it is, and each step of shrinking would cost a walk.
    steps = hypothesis_settings(
        max_examples=LONG or 3,
        stateful_step_count=40 if LONG else 10,
        derandomize=not LONG,
        phases=[Phase.generate],
        database=None,
        deadline=None,
    )
    run_state_machine_as_test(machine, settings=steps)
