"""What every verb's command line shares: the settings, the database, and how results are shown."""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from embedmig.db import Database
    from embedmig.settings import Settings

T = TypeVar("T")

_UNBROKEN = 10_000
"""Columns, where nobody watches: what a program reads, or a file keeps, is broken nowhere."""


class Context:
    """Opened by ``common_options``; everything in it is made when first asked for."""

    def __init__(self, *, as_json: bool, database_url: str | None, verbose: bool) -> None:
        self.as_json = as_json
        self.verbose = verbose
        self._database_url = database_url

    @functools.cached_property
    def settings(self) -> "Settings":
        """embedmig.toml, the environment, and ``--database-url`` over both."""
        from embedmig.settings import load_settings

        overrides = {} if self._database_url is None else {"database_url": self._database_url}
        return load_settings(overrides=overrides)

    @property
    def database_url(self) -> str | None:
        """The URL that the settings name; None: the embedded server."""
        url = self.settings.database_url
        return None if url is None else url.get_secret_value()

    @functools.cached_property
    def server(self) -> "Database":
        """The user's database, or the embedded one, whatever is in it."""
        from embedmig.db import Database
        from embedmig.settings import database_url

        return Database(database_url(self.settings))

    @functools.cached_property
    def db(self) -> "Database":
        """The same, with the control schema in it, of this release. Raises ControlSchemaError."""
        from embedmig.catalog.install import require_installed

        with self.server.connect() as conn:
            require_installed(conn)
        return self.server

    @functools.cached_property
    def console(self) -> "Console":
        """For people, on standard output; as wide as what is printed where that is no terminal."""
        from rich.console import Console

        watched = sys.stdout.isatty() or "COLUMNS" in os.environ
        # emoji: a name such as a:snake:b is printed as it is.
        return Console(highlight=False, emoji=False, width=None if watched else _UNBROKEN)

    @property
    def is_terminal(self) -> bool:
        """Whether a person watches: a progress bar then, else one JSON line a step."""
        return sys.stdout.isatty() and not self.as_json

    @property
    def can_ask(self) -> bool:
        """Whether a person is there to answer."""
        return self.is_terminal and sys.stdin.isatty()

    def show(self, result: T, render: Callable[[T], "RenderableType"]) -> None:
        """Prints a verb's result: as JSON with ``--json``, else what ``render`` makes of it."""
        if self.as_json:
            from embedmig.cli.as_json import dumps

            click.echo(dumps(result))
        else:
            from rich.text import Text

            for part in _parts(render(result)):
                # What is to be copied comes as Text (verbatim.py): broken at the terminal's width it would not run.
                self.console.print(part, soft_wrap=isinstance(part, Text))

    def say(self, line: str) -> None:
        """A line for people; silent with ``--json``."""
        if not self.as_json:
            from rich.markup import escape

            self.console.print(escape(line))


def _parts(rendered: "RenderableType") -> "Iterator[RenderableType]":
    """What stands one under the other, one by one; cells of tables that are too long are broken and not cut."""
    from rich.console import Group
    from rich.table import Table

    if isinstance(rendered, Group):
        for part in rendered.renderables:
            yield from _parts(part)
        return
    if isinstance(rendered, Table):
        for column in rendered.columns:
            column.overflow = "fold"
    yield rendered


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--json``, ``--database-url`` and ``-v``, and gives the command a Context first."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
    @click.option("--database-url", metavar="URL", help="The server; wins over EMBEDMIG_DATABASE_URL.")
    @click.option("-v", "--verbose", is_flag=True, help="Tracebacks with errors.")
    @functools.wraps(function)
    def run(*args: Any, as_json: bool, database_url: str | None, verbose: bool, **kwargs: Any) -> Any:
        return function(Context(as_json=as_json, database_url=database_url, verbose=verbose), *args, **kwargs)

    return run


collection_argument = click.argument("collection")
