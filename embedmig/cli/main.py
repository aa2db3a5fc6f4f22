"""Finds the verb's file, runs it, and turns errors into one sentence and an exit code."""

import importlib
import json
import signal
import sys
import traceback
from types import FrameType

import click

from embedmig.errors import EmbedmigError

INTERRUPTED = 130

VERBS = (
    "demo",
    "init",
    "doctor",
    "model",
    "collection",
    "audit",
    "compare",
    "plan",
    "expand",
    "adapter",
    "bridge",
    "reembed",
    "failures",
    "jobs",
    "pause",
    "resume",
    "cancel",
    "index",
    "verify",
    "validate",
    "judge",
    "report",
    "handover",
    "rollout",
    "rollback",
    "guard",
    "search",
    "status",
    "events",
    "contract",
    "detach",
)
"""In the order of a migration; each is a module beside this one with a command of the same name."""


class Verbs(click.Group):
    """Imports a verb's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = getattr(importlib.import_module(f"embedmig.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="embedmig")
def embedmig() -> None:
    """Change the embedding model under a live Postgres + pgvector table.

    EMBEDMIG_DATABASE_URL names the server; unset, an embedded one in .embedmig/ is started.
    Every verb can be interrupted and repeated. Exit codes: 0 done, 1 the check said no, 2 wrong usage,
    3 the database or a model failed, 130 interrupted with progress kept.
    """


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command line and gives its exit code; never raises."""
    as_json = "--json" in arguments
    verbose = "-v" in arguments or "--verbose" in arguments
    try:
        _refuse_strange_bytes(arguments)
        result = embedmig.main(arguments, prog_name="embedmig", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.format_message())
        return EmbedmigExit.USAGE
    except click.ClickException as exc:
        if as_json:
            _complain(exc.format_message(), "UsageError", EmbedmigExit.USAGE, True)
        else:
            exc.show()
        return EmbedmigExit.USAGE
    except (KeyboardInterrupt, click.Abort):
        _complain("interrupted; what was finished is kept, run it again to go on", "Interrupted", INTERRUPTED, as_json)
        return INTERRUPTED
    except EmbedmigError as exc:
        if verbose:
            traceback.print_exc()
        _complain(str(exc), type(exc).__name__, exc.exit_code, as_json)
        return exc.exit_code
    except SystemExit:
        # How click ends when the reader of our output goes away, as head does. Its exit code 1 would read as a check
        # that said no; a job like reembed was cut short by it.
        return INTERRUPTED
    except Exception as exc:  # noqa: BLE001 the last resort: a sentence, not a traceback
        if verbose:
            traceback.print_exc()
        said = f"unexpected {type(exc).__name__}: {exc} (run it with -v for the traceback)"
        _complain(said, type(exc).__name__, EmbedmigExit.FAILED, as_json)
        return EmbedmigExit.FAILED
    return result if isinstance(result, int) else 0


def _refuse_strange_bytes(arguments: list[str]) -> None:
    """Bytes of a command line that are no text arrive as lone surrogates, which no database takes."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"the argument {argument!a} is not written in UTF-8") from None


class EmbedmigExit:
    """Exit codes that no error of ours carries."""

    USAGE = 2
    FAILED = 3


def _complain(message: str, kind: str, code: int, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"error": kind, "message": message, "exit_code": code}))
    else:
        click.echo(f"embedmig: {message}", err=True)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    # A service manager's stop is as clean as Ctrl-C.
    raise KeyboardInterrupt
