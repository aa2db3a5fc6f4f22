"""What tests of the share begin from."""

from functools import partial

import pytest

from embedmig.db import Connection, Database
from tests.rollout_support import Ready, make_ready


@pytest.fixture
def ready(db: Database, conn: Connection) -> Ready:
    """Makes a migration of ``docs`` that may serve: filled, indexed, reported, handed over."""
    return partial(make_ready, db, conn)
