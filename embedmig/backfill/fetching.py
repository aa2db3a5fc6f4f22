"""From a claimed chunk to groups: a key range gives several, a queue bucket one."""

from collections.abc import Iterator, Sequence

from embedmig.backfill.chunks import Chunk
from embedmig.backfill.groups import Entries, Group, Lease, Marks
from embedmig.backfill.keys import raw_parameters, text_parameters
from embedmig.backfill.queue import QueuedKey, QueueView, look_at_bucket
from embedmig.backfill.reading import (
    NOTHING,
    UNRECORD,
    ReadRows,
    Source,
    list_lacking,
    read_rows,
)
from embedmig.backfill.slices import GroupSize, slice_by_length, slice_by_page
from embedmig.db import Connection
from embedmig.types import Placement


def fetch_groups(
    conn: Connection, source: Source, lease: Lease, size: GroupSize, *, queue_keys: int
) -> Iterator[Group]:
    """The groups of a claimed chunk, each read when it is asked for. ``lease.groups_left`` is set before the first."""
    if lease.chunk.bucket is not None:
        yield fetch_queued(conn, source, lease, look_at_bucket(conn, lease.chunk, keys=queue_keys))
    else:
        yield from _fetch_range(conn, source, lease, size)


def _fetch_range(conn: Connection, source: Source, lease: Lease, size: GroupSize) -> Iterator[Group]:
    chunk = lease.chunk
    assert chunk.first_key is not None
    assert chunk.last_key is not None
    lacking = list_lacking(conn, source, chunk.first_key, chunk.last_key)
    if source.slot.placement is Placement.COLUMN:
        slices = slice_by_page(lacking.bytes, lacking.pages, size)
    else:
        slices = slice_by_length(lacking.bytes, size)
    lease.groups_left = max(1, len(slices))
    if not slices:
        yield _empty_group(source, lease)
    for rows in slices:
        indices = rows.tolist()
        read = read_rows(conn, source, raw_parameters(source.key_types, lacking.keys, indices), [False] * len(indices))
        yield _group(source, lease, read, _keep_brought(read, [None] * len(indices)))


def fetch_queued(conn: Connection, source: Source, lease: Lease, view: QueueView) -> Group:
    """The group of what was seen in a queue bucket."""
    lease.groups_left = 1
    queued = view.keys
    read = (
        read_rows(
            conn,
            source,
            text_parameters([entry.key for entry in queued]),
            [entry.edited is not None for entry in queued],
        )
        if queued
        else None
    )
    entries = _entries(view)
    if read is None:
        group = _empty_group(source, lease)
        group.entries = entries
        return group
    actions = _keep_brought(read, [entry.edited for entry in queued])
    return _group(source, lease, read, actions, marks=_marks(queued), entries=entries)


def _keep_brought(read: ReadRows, edited: Sequence[int | None]) -> list[bytes]:
    """A vector that the application brought after the last edit stays; only its text is not recorded any more."""
    return [
        action if brought is None or (edit is not None and edit > brought) else UNRECORD if recorded else NOTHING
        for action, brought, edit, recorded in zip(read.actions, read.brought, edited, read.recorded, strict=True)
    ]


def _group(
    source: Source,
    lease: Lease,
    read: ReadRows,
    actions: Sequence[bytes],
    *,
    marks: Marks | None = None,
    entries: Entries | None = None,
) -> Group:
    rows = [row for row, action in enumerate(actions) if action != NOTHING]
    return Group(
        source=source,
        lease=lease,
        keys=tuple([column[row] for row in rows] for column in read.keys),
        actions=[actions[row] for row in rows],
        texts=[read.texts[row] for row in rows],
        hashes=[read.hashes[row] for row in rows],
        seen=[read.seen[row] for row in rows],
        fresh=all(read.fresh[row] for row in rows),
        marks=None if marks is None else marks.of(rows),
        entries=entries,
        places=rows,
    )


def _empty_group(source: Source, lease: Lease) -> Group:
    width = len(source.key_types)
    return Group(
        source=source,
        lease=lease,
        keys=tuple([] for _ in range(width)),
        actions=[],
        texts=[],
        hashes=[],
        seen=[],
        fresh=True,
    )


def _marks(queued: Sequence[QueuedKey]) -> Marks:
    return Marks(
        settled=[entry.settled for entry in queued],
        origin=[entry.edited or 0 for entry in queued],
        queued_us=[entry.queued_us for entry in queued],
    )


def _entries(view: QueueView) -> Entries:
    return Entries(
        keys=[entry.key for entry in view.keys],
        seqs=[seq for entry in view.keys for seq in entry.seqs] + view.truncated_seqs,
        brought_seqs=[seq for entry in view.keys for seq in entry.brought_seqs],
        truncated=bool(view.truncated_seqs),
        cut=view.cut,
        drained=not view.full,
    )


def claimed(chunk: Chunk) -> Lease:
    """A chunk just claimed, before anything of it was read."""
    return Lease(chunk=chunk, groups_left=1)
