"""pause, resume, cancel and jobs: from any terminal, for all processes that work on the job."""

from dataclasses import dataclass

from embedmig.backfill.job_control import JobShown, cancel_jobs, pause_jobs, resume_jobs, show_jobs
from embedmig.catalog.collections import get_collection, list_collections
from embedmig.catalog.events import log_event
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError
from embedmig.types import Collection, Slot


@dataclass(frozen=True, kw_only=True)
class JobsChanged:
    """What was asked for, and how the jobs stand now."""

    collection: str
    verb: str
    slots: tuple[str, ...]
    """Whose job it is."""
    jobs: tuple[JobShown, ...]
    """Those still open."""


def pause(db: Database, collection: str) -> JobsChanged:
    """Lets every process that works on the collection's jobs finish what it has in hand, and wait for ``resume``.

    Repeated five minutes later it takes away what a worker still holds. Raises RefusedError when no job is open.
    """
    return _change(db, collection, "pause", became="paused")


def resume(db: Database, collection: str) -> JobsChanged:
    """Lets the processes that wait go on. Raises RefusedError when no job is paused."""
    return _change(db, collection, "resume", became="running")


def cancel(db: Database, collection: str) -> JobsChanged:
    """Ends the collection's open jobs at once; vectors written stay, and ``reembed`` would embed the rest.

    A worker that still has rows in hand cannot write them any more. Raises RefusedError when no job is open.
    """
    return _change(db, collection, "cancel", became="cancelled")


def jobs(db: Database, collection: str | None = None) -> list[JobShown]:
    """The open jobs, of ``collection`` or of all: how far, how fast, at what cost, who works on them, what holds them
    back."""
    with db.connect() as conn:
        found = list_collections(conn) if collection is None else [get_collection(conn, collection)]
        return [job for one in found for job in show_jobs(conn, one)]


_DO = {"pause": pause_jobs, "resume": resume_jobs, "cancel": cancel_jobs}


def _change(db: Database, name: str, verb: str, *, became: str) -> JobsChanged:
    with db.connect() as conn, conn.transaction():
        collection = get_collection(conn, name)
        was = {job.slot: job.state for job in show_jobs(conn, collection)}
        slots = _DO[verb](conn, collection)
        if not slots:
            raise _nothing_there(verb, name)
        _log(conn, collection, verb, slots, was, became)
    with db.connect() as conn:
        left = tuple(show_jobs(conn, collection))
    return JobsChanged(collection=name, verb=verb, slots=tuple(slot.name for slot in slots), jobs=left)


def _log(
    conn: Connection, collection: Collection, verb: str, slots: list[Slot], was: dict[str, str], became: str
) -> None:
    for slot in slots:
        if became != "paused" or was.get(slot.name) not in ("paused", "pausing"):
            log_event(conn, verb, collection.name, was=was.get(slot.name), became=became, slot=slot.name)


def _nothing_there(verb: str, name: str) -> RefusedError:
    what = "is paused" if verb == "resume" else "is open"
    return RefusedError(f"no job of {name} {what}: embedmig jobs {name} lists them; embedmig reembed {name} opens one")
