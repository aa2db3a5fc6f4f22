"""Writes a reviewable revision into the user's own Alembic environment, and runs it when asked."""

import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedmig.catalog.install import alembic_ini
from embedmig.db.connection import driver_errors
from embedmig.errors import LockedError, RefusedError, UsageError
from embedmig.schema.autogenerate import include_object
from embedmig.settings import Settings

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.operations import MigrateOperation
    from alembic.script import ScriptDirectory

__all__ = [
    "Revision",
    "find_environment",
    "find_revision",
    "find_waiting",
    "include_object",
    "refuse_pending",
    "run_revision",
    "write_revision",
]


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A revision file of ours."""

    id: str
    path: Path
    ini: Path

    def mentions(self, mark: str) -> bool:
        """Whether the upgrade holds the text, in whichever quotes a formatter left it."""
        upgrade, _, _ = self.path.read_text().partition("def downgrade(")
        return mark in upgrade.replace('"', "'")


def find_environment(settings: Settings, folder: Path | None = None) -> Path | None:
    """The user's alembic.ini: the one embedmig.toml names, else the one beside it; None when there is none.

    Raises UsageError when the named one is not there.
    """
    here = folder or Path.cwd()
    if settings.alembic_ini is not None:
        named = here / settings.alembic_ini
        if not named.is_file():
            raise UsageError(f"alembic_ini names {named}, which is not there: mend it in embedmig.toml, or take it out")
        return named
    beside = here / "alembic.ini"
    # In a checkout of embedmig the one beside is the control schema's own.
    return beside if beside.is_file() and beside.resolve() != alembic_ini().resolve() else None


def write_revision(
    ini: Path, message: str, upgrades: Sequence["MigrateOperation"], downgrades: Sequence["MigrateOperation"]
) -> Revision:
    """Adds a revision after the environment's head, by its own template. Nothing is run.

    Raises UsageError when the environment has several heads, or its template has no place for operations.
    """
    from alembic.util import rev_id

    config, script = _open(ini)
    head = _only_head(script, ini)
    context = _rendering()
    up, down = _render(context, upgrades), _render(context, downgrades)
    with _command_errors(ini):
        written = script.generate_revision(
            rev_id(),
            message,
            refresh=True,
            head=head or "base",
            config=config,
            upgrades=_indented(up),
            downgrades=_indented(down),
            imports="\n".join(sorted(context.imports)),
        )
    assert written is not None
    path = Path(written.path)
    if up not in path.read_text().replace("\n    ", "\n"):
        path.unlink()
        raise UsageError(
            f"the template of {ini} leaves the operations of a revision out (one for several databases?): run the"
            " verb without an alembic.ini, and write the revision by hand"
        )
    return Revision(id=written.revision, path=path, ini=ini)


def find_revision(
    ini: Path, function: str, collection: str, slot: str, *, after: Revision | None = None
) -> Revision | None:
    """The newest revision whose upgrade calls ``op.function`` for that slot, of those that come ``after`` one: an
    earlier run may have written it."""
    _, script = _open(ini)
    _only_head(script, ini)
    marks = (f"op.{function}(", f"collection={collection!r},", f"slot={slot!r},")
    for revision in script.walk_revisions():
        found = Revision(id=revision.revision, path=Path(revision.path), ini=ini)
        if after is not None and found.id == after.id:
            return None
        if all(found.mentions(mark) for mark in marks):
            return found
    return None


def find_waiting(ini: Path, function: str, collection: str, slot: str) -> Revision | None:
    """The same, if it has not been run here: after a ``detach`` a collection begins with the same slots anew."""
    found = find_revision(ini, function, collection, slot)
    if found is None:
        return None
    config, script = _open(ini)
    known = {revision.revision for revision in script.walk_revisions()}
    current = [head for head in _current_heads(config, script, ini) if head in known]
    ran = {revision.revision for head in current for revision in script.iterate_revisions(head, "base")}
    return None if found.id in ran else found


def refuse_pending(ini: Path, *, but: Revision | None = None) -> None:
    """Raises RefusedError, naming them, when other revisions than ``but`` have not been run yet: ours would take them
    along. UsageError when the environment has several heads."""
    config, script = _open(ini)
    head = _only_head(script, ini)
    current = _current_heads(config, script, ini)
    if head is None or current == (head,):
        return
    known = {revision.revision for revision in script.walk_revisions()}
    if strange := sorted(set(current) - known):
        raise RefusedError(
            f"the database is at revision {', '.join(strange)}, which {ini} does not know: mend that first"
        )
    waiting = [r for r in script.iterate_revisions(head, current or "base") if but is None or r.revision != but.id]
    if not waiting:
        return
    pending = [f"{r.revision} ({r.doc})" for r in waiting]
    raise RefusedError(
        f"other revisions of {ini} have not been run: {', '.join(reversed(pending))}."
        " Run them first, alembic upgrade head"
    )


def run_revision(revision: Revision, settings: Settings) -> None:
    """``alembic upgrade`` to the revision, again when a lock was not to be had: a revision under a transaction leaves
    nothing behind then. Raises LockedError, RefusedError or DatabaseError; the file stays."""
    from alembic import command

    config, _ = _open(revision.ini)
    for attempt in range(1, settings.lock_attempts + 1):
        try:
            with driver_errors(), _command_errors(revision.ini):
                command.upgrade(config, revision.id)
            return
        except LockedError as exc:
            if attempt == settings.lock_attempts:
                raise LockedError(
                    f"{revision.path.name} could not lock its table in {attempt} tries. Nothing was changed; run"
                    " alembic upgrade head when whoever holds it is done",
                    sqlstate=exc.sqlstate,
                ) from exc
            time.sleep(0.25 * 2**attempt)


def _open(ini: Path) -> "tuple[Config, ScriptDirectory]":
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    # Quiet: what Alembic prints would stand between the lines of --json. x: an env.py may ask for -x arguments.
    config = Config(str(ini), cmd_opts=Namespace(quiet=True, x=None))
    with _command_errors(ini):
        return config, ScriptDirectory.from_config(config)


@contextmanager
def _command_errors(ini: Path) -> Iterator[None]:
    from alembic.util import CommandError

    try:
        yield
    except CommandError as exc:
        raise UsageError(f"the Alembic environment of {ini}: {exc}") from exc


def _only_head(script: "ScriptDirectory", ini: Path) -> str | None:
    heads = script.get_heads()
    if len(heads) > 1:
        raise UsageError(f"{ini} has the heads {', '.join(heads)}: merge them first, alembic merge heads")
    return heads[0] if heads else None


def _current_heads(config: "Config", script: "ScriptDirectory", ini: Path) -> tuple[str, ...]:
    """Where the database is, by the user's own env.py: it alone knows how to connect."""
    from alembic.runtime.environment import EnvironmentContext

    found: list[tuple[str, ...]] = []

    def look(rev: Any, context: Any) -> list[Any]:
        found.append(context.get_current_heads())
        return []

    with driver_errors(), _command_errors(ini), EnvironmentContext(config, script, fn=look, dont_mutate=True):
        script.run_env()
    return found[0] if found else ()


def _rendering() -> Any:
    from alembic.autogenerate.api import AutogenContext
    from alembic.migration import MigrationContext

    opts = {"alembic_module_prefix": "op.", "sqlalchemy_module_prefix": "sa.", "user_module_prefix": None}
    return AutogenContext(MigrationContext.configure(dialect_name="postgresql", opts=opts), opts=opts)


def _render(context: Any, operations: Sequence["MigrateOperation"]) -> str:
    from alembic.autogenerate.render import render_op_text

    return "\n".join(render_op_text(context, operation) for operation in operations)


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")
