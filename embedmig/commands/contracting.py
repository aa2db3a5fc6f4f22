"""contract and detach: the end of a migration, and the end of embedmig on a table."""

from dataclasses import dataclass, replace
from pathlib import Path

from embedmig.catalog import migrations, slots
from embedmig.catalog.collections import get_collection
from embedmig.db import Connection, Database
from embedmig.errors import RefusedError
from embedmig.schema import contracting, detaching, matching, revisions
from embedmig.schema.contract_gates import drop_gates, guard_gates, retire_gates, scans_noticed, traffic_gates
from embedmig.schema.contracting import Ending
from embedmig.settings import Settings, load_settings
from embedmig.types import Collection, Slot


@dataclass(frozen=True, kw_only=True)
class Contracted:
    """What contract did, or would do."""

    collection: str
    source: str | None
    """None: no migration was open, and there was nothing to do."""
    target: str
    done: tuple[str, ...]
    """retire, drop: the steps that were taken now."""
    refusals: tuple[str, ...]
    """What stands in the way; of a dry run only, or the steps would not have been taken."""
    forced: tuple[str, ...]
    """The gates of time that ``force`` opened."""
    noticed: tuple[str, ...]
    """What refuses nothing and is worth a look first: someone may still read the source."""
    retire_sql: tuple[str, ...]
    drop_sql: tuple[str, ...]
    save_command: str | None
    rebuild_commands: tuple[str, ...]
    rebuild_seconds_about: float | None
    """As long as the newest index of the collection took."""
    breaks: tuple[str, ...]
    """What a renamed column breaks."""
    revision: Path | None
    """The matching revision in the user's Alembic environment."""
    closed: bool


@dataclass(frozen=True, kw_only=True)
class Detached:
    """What detach left, or would leave."""

    collection: str
    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    moved_to: str | None
    sql: tuple[str, ...]
    revision: Path | None
    """The matching revision in the user's Alembic environment."""
    done: bool


def contract(
    db: Database,
    collection: str,
    *,
    only_retire: bool = False,
    keep_source: bool = False,
    rename_column: bool = False,
    stability_days: float | None = None,
    force: bool = False,
    dry_run: bool = False,
    why: str | None = None,
    settings: Settings | None = None,
) -> Contracted:
    """Ends the open migration: ``retire`` drops the source's index, ``drop`` the source (``keep_source`` leaves it as
    an ordinary column) and closes the migration; each is one short transaction, and what was done is not done again.
    ``force`` opens the gates of time, and the log says so. ``rename_column`` gives the new column the old one's name.

    Raises RefusedError with everything that stands in the way and nothing changed; LockedError.
    """
    chosen = settings or load_settings()
    days = chosen.stability_days if stability_days is None else stability_days
    with db.connect(patience=chosen) as conn:
        found = get_collection(conn, collection)
        migration = migrations.find_migration(conn, found)
        if migration is None:
            return _nothing_to_do(conn, found)
        ending = contracting.plan_ending(conn, found, migration, keep_source=keep_source, rename_column=rename_column)
        gates = retire_gates(conn, found, migration, ending.source, stability_days=days)
        gates += traffic_gates(conn, found, ending.source, chosen.quiet_hours) + guard_gates(conn, found)
        if not only_retire:
            gates += drop_gates(conn, found, ending.source, ending.target, keep_source=keep_source)
        # Both steps want the same pins gone.
        gates = list(dict.fromkeys(gates))
        refusals = [gate.why for gate in gates if not (force and gate.of_time)]
        forced = tuple(gate.name for gate in gates if force and gate.of_time)
        noticed = tuple(scans_noticed(conn, found, ending.source, chosen.quiet_hours))
        if dry_run:
            return _contracted(conn, ending, refusals=tuple(refusals), forced=forced, noticed=noticed)
        if refusals:
            raise RefusedError(f"{found.name} cannot be contracted: " + "; ".join(refusals))
        ended = _end(conn, ending, only_retire=only_retire, forced=forced, why=why, settings=chosen)
        return replace(ended, noticed=noticed)


def detach(
    db: Database,
    collection: str,
    *,
    keep: str | None = None,
    dry_run: bool = False,
    why: str | None = None,
    settings: Settings | None = None,
) -> Detached:
    """Takes embedmig off a table at any stage: the target (above share 0: the slot that is not ``keep``), triggers,
    labels and catalog rows go; a column that was there before embedmig always stays.

    Raises RefusedError, NotFoundError, ConflictError, LockedError with nothing changed.
    """
    chosen = settings or load_settings()
    with db.connect(patience=chosen) as conn:
        found = get_collection(conn, collection)
        leaving = detaching.plan_leaving(conn, found, keep=keep)
        revision = None
        if not dry_run:
            ini = matching.environment_of_any(chosen, found, [*leaving.kept, *leaving.dropped])
            operations = ([], []) if ini is None else matching.detach_operations(conn, found, leaving)
            detaching.detach(conn, found, leaving, why=why, settings=chosen)
            revision = _write(ini, f"detach {found.name}", operations)
    return Detached(
        collection=found.name,
        kept=tuple(slot.name for slot in leaving.kept),
        dropped=tuple(slot.name for slot in leaving.dropped),
        moved_to=leaving.moved_to,
        sql=leaving.sql,
        revision=revision,
        done=not dry_run,
    )


def detach_sql(db: Database, collection: str) -> list[str]:
    """What frees the user's writes of our triggers, to run by hand where the schema embedmig is gone or broken. Changes
    nothing, and touches no catalog."""
    with db.connect() as conn:
        return detaching.freeing_sql(conn, collection)


def _end(
    conn: Connection, ending: Ending, *, only_retire: bool, forced: tuple[str, ...], why: str | None, settings: Settings
) -> Contracted:
    done = []
    # Asked before anything is done: the revision is written after it, and must not fail then.
    ini = matching.environment_of(settings, ending.collection, ending.target)
    operations = ([], []) if ini is None else _operations(conn, ending, only_retire=only_retire)
    if ending.migration.retired_at is None:
        contracting.retire(conn, ending, why=why, forced=forced, settings=settings)
        done.append("retire")
    if not only_retire:
        contracting.drop_source(conn, ending, why=why, forced=forced, settings=settings)
        done.append("drop")
    verb = f"retire {ending.source.name} of" if only_retire else "contract"
    message = f"{verb} {ending.collection.name}" + ("" if only_retire else f" to {ending.target.name}")
    written = _write(ini, message, operations)
    return _contracted(conn, ending, done=tuple(done), forced=forced, revision=written)


def _operations(conn: Connection, ending: Ending, *, only_retire: bool) -> matching.Operations:
    if only_retire:
        return matching.retire_operations(ending)
    return matching.keep_operations(conn, ending) if ending.keep_source else matching.contract_operations(conn, ending)


def _write(ini: Path | None, message: str, operations: matching.Operations) -> Path | None:
    """The matching revision; None without an environment, or where there is nothing to say."""
    return None if ini is None or not operations[0] else revisions.write_revision(ini, message, *operations).path


def _contracted(
    conn: Connection,
    ending: Ending,
    *,
    done: tuple[str, ...] = (),
    refusals: tuple[str, ...] = (),
    forced: tuple[str, ...] = (),
    noticed: tuple[str, ...] = (),
    revision: Path | None = None,
) -> Contracted:
    return Contracted(
        collection=ending.collection.name,
        source=ending.source.name,
        target=ending.target.name,
        done=done,
        refusals=refusals,
        forced=forced,
        noticed=noticed,
        retire_sql=ending.retire_sql,
        drop_sql=ending.drop_sql,
        save_command=None if ending.keep_source else ending.save_command,
        rebuild_commands=ending.rebuild_commands,
        rebuild_seconds_about=contracting.build_seconds(conn, ending.collection),
        breaks=_what_a_rename_breaks(ending.source, ending.target) if ending.renamed is not None else (),
        revision=revision,
        closed="drop" in done,
    )


def _nothing_to_do(conn: Connection, collection: Collection) -> Contracted:
    return Contracted(
        collection=collection.name,
        source=None,
        target=slots.list_slots(conn, collection)[-1].name,
        done=(),
        refusals=(),
        forced=(),
        noticed=(),
        retire_sql=(),
        drop_sql=(),
        save_command=None,
        rebuild_commands=(),
        rebuild_seconds_about=None,
        breaks=(),
        revision=None,
        closed=True,
    )


def _what_a_rename_breaks(source: Slot, target: Slot) -> tuple[str, ...]:
    old, new = target.vector_column, source.vector_column
    said = [
        f"statements that name {old} fail",
        f"views and functions made on {old} go on reading it, under its new name",
        "prepared statements and cached plans of connected clients fail once, until they prepare again",
    ]
    if source.model.dimensions == target.model.dimensions:
        said.append(
            f"a client that still embeds with {source.model.key} finds {new} with as many dimensions, and compares its"
            f" vectors with {target.model.key}'s in silence"
        )
    return tuple(said)
