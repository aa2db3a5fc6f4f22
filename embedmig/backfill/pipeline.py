"""One worker at work: a thread reads, one or more embed, the caller writes; queues between them keep memory flat.

Nothing here knows who runs it, or whether others work beside it: all that workers share is in the database.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from embedmig.backfill.batch_size import BatchSizer
from embedmig.backfill.chunks import Claimant, claim_chunk, end_stuck_writers, release_chunks, renew_leases
from embedmig.backfill.embedding import SlotEmbedder, embed_group
from embedmig.backfill.fetching import claimed, fetch_groups
from embedmig.backfill.gate import Gate
from embedmig.backfill.groups import Group, Lease, join_groups, may_join
from embedmig.backfill.reading import Source
from embedmig.backfill.slices import GroupSize
from embedmig.backfill.targets import Target
from embedmig.backfill.writing import Written, write_group
from embedmig.db import Connection
from embedmig.errors import LeaseLostError, ProviderUnavailableError
from embedmig.types import Placement

T = TypeVar("T")

_POLL_S = 0.1
_BETWEEN = 2
"""Groups that may wait to be embedded."""
_JOINED = 4
"""Groups that may wait to be written, and are then written together."""


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """How a worker works; the same for all its slots."""

    size: GroupSize = field(default_factory=GroupSize)
    lease_s: float = 30.0
    rest_s: float = 0.5
    """How long a drained queue bucket is left in peace."""
    idle_s: float = 0.25
    """How long to wait when there is nothing to claim."""
    queue_keys: int = 512
    embed_threads: int | None = None
    """Calls of a model at once; None: as many as it says keep it busy, more than one for those behind a network."""
    aim_s: float | None = None
    """How long writing a batch is to take: its size follows; None: the size stays."""
    longest_hold_s: float = 600.0
    """After so long behind a closed gate one batch is let through."""
    fingerprint_every_s: float = 600.0
    join: bool = True
    """Whether batches of a companion that wait for the writer go in one transaction."""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """What the stages of one worker work with."""

    claimant: Claimant
    sources: Mapping[int, Source]
    """By slot id."""
    targets: Mapping[int, Target]
    embedder_of: Callable[[Source], SlotEmbedder]
    """Loads a slot's model when its first group comes."""
    reader: Connection
    writer: Connection
    pulse: Connection
    """For the heartbeat, which must not wait for the others."""
    options: WorkerOptions
    on_written: Callable[[Group, Written, float], None]
    """Told of every group, with the seconds that its transaction took."""
    gate: Gate = field(default_factory=Gate)
    """Closed while the database suffers."""
    halted: threading.Event = field(default_factory=threading.Event)
    """Set when a stage failed."""


class HaltedError(Exception):
    """Another stage failed: this one has nothing more to do."""


class _State:
    """What the stages tell each other: that one failed, and which leases are held."""

    def __init__(self, stop: threading.Event, failed: threading.Event) -> None:
        self.stop = stop
        self.failed = failed
        self.error: BaseException | None = None
        self._leases: dict[int, Lease] = {}
        self._lock = threading.Lock()

    def fail(self, error: BaseException) -> None:
        with self._lock:
            if self.error is None:
                self.error = error
        self.failed.set()

    def hold(self, lease: Lease) -> None:
        with self._lock:
            self._leases[lease.chunk.id] = lease

    def let_go(self, lease: Lease) -> None:
        with self._lock:
            self._leases.pop(lease.chunk.id, None)

    def held(self) -> list[Lease]:
        with self._lock:
            return list(self._leases.values())


class _Channel(Generic[T]):
    """A bounded queue that lets both ends leave when a stage failed."""

    def __init__(self, state: _State, size: int) -> None:
        self._state, self._queue = state, queue.Queue[T | None](size)

    def put(self, item: T | None) -> None:
        while True:
            if self._state.failed.is_set():
                raise HaltedError
            try:
                return self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue

    def get(self) -> T | None:
        """The next item; None when the other end is done."""
        while True:
            if self._state.failed.is_set():
                raise HaltedError
            try:
                return self._queue.get(timeout=_POLL_S)
            except queue.Empty:
                continue

    def peek(self) -> T | None:
        """The next item if it is there; for a single taker."""
        with self._queue.mutex:
            return self._queue.queue[0] if self._queue.queue else None


def run_pipeline(crew: Crew, stop: threading.Event) -> None:
    """Works until ``stop`` is set: then what is embedded is written, the rest of each chunk is given back.

    Raises what a stage raised, after all of them ended; chunks then wait for their leases to run out, unless the
    connection still allows giving them back.
    """
    state = _State(stop, crew.halted)
    sizer = BatchSizer(crew.options.size, crew.options.aim_s)
    to_embed: _Channel[Group] = _Channel(state, _BETWEEN)
    to_write: _Channel[Group] = _Channel(state, _JOINED if _may_be_joined(crew) else _BETWEEN)
    pulse_stop = threading.Event()
    embedders = _Embedders(crew, state, to_embed, to_write)
    threads = [
        _start(state, "reader", lambda: _read(crew, state, to_embed, sizer)),
        _start(state, "heartbeat", lambda: _beat(crew, state, pulse_stop)),
    ]
    embedders.grow_to(1)
    try:
        _write(crew, state, to_write, sizer)
    except HaltedError:
        pass
    except BaseException as error:  # noqa: BLE001
        state.fail(error)
    pulse_stop.set()
    for thread in (*threads, *embedders.threads):
        thread.join()
    _give_back(crew, state)
    if state.error is not None:
        raise state.error


def _may_be_joined(crew: Crew) -> bool:
    """Else more groups that wait would only be more to write before a stop."""
    return crew.options.join and any(target.slot.placement is Placement.COMPANION for target in crew.targets.values())


def _start(state: _State, name: str, work: Callable[[], None]) -> threading.Thread:
    def guarded() -> None:
        try:
            work()
        except HaltedError:
            pass
        except BaseException as error:  # noqa: BLE001
            state.fail(error)

    thread = threading.Thread(target=guarded, name=f"embedmig {name}", daemon=True)
    thread.start()
    return thread


def _read(crew: Crew, state: _State, out: _Channel[Group], sizer: BatchSizer) -> None:
    idle = 0
    while not state.stop.is_set():
        crew.gate.wait(state.stop, state.failed)
        chunk = claim_chunk(crew.reader, list(crew.sources), crew.claimant)
        if chunk is None:
            if state.failed.is_set():
                raise HaltedError
            idle += 1
            if idle % 20 == 0:
                end_stuck_writers(crew.reader, list(crew.sources), crew.options.lease_s)
            state.stop.wait(crew.options.idle_s)
            continue
        idle = 0
        lease = claimed(chunk)
        state.hold(lease)
        source = crew.sources[chunk.slot_id]
        options = crew.options
        for group in fetch_groups(crew.reader, source, lease, sizer.size, queue_keys=options.queue_keys):
            out.put(group)
            if state.stop.is_set() or lease.lost:
                break
    out.put(None)


class _Embedders:
    """The threads that embed: one, and more once a model is loaded that wants more calls at once."""

    def __init__(self, crew: Crew, state: _State, inbox: _Channel[Group], out: _Channel[Group]) -> None:
        self.threads: list[threading.Thread] = []
        self._crew, self._state, self._inbox, self._out = crew, state, inbox, out
        self._lock, self._running = threading.Lock(), 0

    def grow_to(self, count: int) -> None:
        with self._lock:
            while self._running < count:
                self._running += 1
                self.threads.append(_start(self._state, f"embedder {self._running}", self._work))

    def _work(self) -> None:
        while (group := self._inbox.get()) is not None:
            if group.lease.lost or self._is_late(group):
                continue
            work = self._crew.embedder_of(group.source)
            self.grow_to(self._crew.options.embed_threads or work.threads)
            try:
                embed_group(group, work)
            except ProviderUnavailableError:
                # Its waits end when the worker is to stop: then nothing is wrong, and the row is the next run's.
                if not self._state.stop.is_set():
                    raise
                continue
            self._out.put(group)
        self._leave()

    def _is_late(self, group: Group) -> bool:
        return self._state.stop.is_set() and bool(group.to_embed)

    def _leave(self) -> None:
        with self._lock:
            self._running -= 1
            last = self._running == 0
        # The reader says once that it is done: each passes that on to the next, the last to the writer.
        (self._out if last else self._inbox).put(None)


def _write(crew: Crew, state: _State, inbox: _Channel[Group], sizer: BatchSizer) -> None:
    for group in _groups_to_write(inbox, crew.options):
        if not group.lease.lost:
            crew.gate.wait(state.stop, state.failed)
            _write_held(crew, state, group, sizer)


def _groups_to_write(inbox: _Channel[Group], options: WorkerOptions) -> Iterator[Group]:
    """Where embedding is faster than writing, groups wait: those of one chunk are joined, which saves the round trips
    and the commit of each."""
    while (group := inbox.get()) is not None:
        groups = [group]
        while options.join and len(groups) < _JOINED and (more := inbox.peek()) is not None:
            if not may_join(groups, more, most_bytes=options.size.memory_bytes):
                break
            groups.append(more)
            inbox.get()
        yield join_groups(groups)


def _write_held(crew: Crew, state: _State, group: Group, sizer: BatchSizer) -> None:
    target, began = crew.targets[group.source.slot.id], time.monotonic()
    try:
        written = write_group(crew.writer, target, group, lease_s=crew.options.lease_s, rest_s=crew.options.rest_s)
    except LeaseLostError:
        group.lease.lost = True
        state.let_go(group.lease)
        return
    if group.lease.count_written(group.count):
        state.let_go(group.lease)
    seconds = time.monotonic() - began
    if group.entries is None:
        sizer.note(len(group.actions), seconds)
    crew.on_written(group, written, seconds)


def _beat(crew: Crew, state: _State, stop: threading.Event) -> None:
    while not stop.wait(crew.options.lease_s / 3):
        chunks = [lease.chunk for lease in state.held() if not lease.lost]
        if chunks:
            renew_leases(crew.pulse, chunks, crew.options.lease_s)


def _give_back(crew: Crew, state: _State) -> None:
    """Frees what is still held; on a broken connection the leases simply run out."""
    chunks = [lease.chunk for lease in state.held() if not lease.lost]
    if chunks and not crew.pulse.broken and not crew.pulse.closed:
        try:
            release_chunks(crew.pulse, chunks)
        except Exception as error:  # noqa: BLE001
            state.fail(error)
