"""What tests on Postgres share."""

from collections.abc import Callable

import pytest

from embedmig.cli.main import run
from embedmig.db import Database


@pytest.fixture
def verb(db: Database, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs ``embedmig ...`` on this test's database, in this process; gives the exit code and all that was printed,
    runs of blanks as one."""

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = run([*arguments, "--database-url", db.url])
        captured = capsys.readouterr()
        return code, " ".join((captured.out + captured.err).split())

    return call
