"""The application that goes on writing while its table is migrated: ``python -m embedmig.demo.writer URL``.

It knows nothing of embedmig, and its role has no right on schema embedmig. It inserts, edits and deletes documents
and counts reads of them, about 10 statements a second, until it is terminated; then prints how many it made.
"""

import contextlib
import random
import signal
import sys
import time
from types import FrameType

import psycopg

_STATEMENTS = (
    (4, "UPDATE documents SET body = body || ' (seen again)' WHERE id = (SELECT id FROM documents OFFSET %s LIMIT 1)"),
    (4, "UPDATE documents SET read = read + 1 WHERE id = (SELECT id FROM documents OFFSET %s LIMIT 1)"),
    (2, "INSERT INTO documents (name, kind, body) VALUES ('note.' || %s::text, 'note', 'A note written in between.')"),
    (1, "DELETE FROM documents WHERE kind = 'note' AND id %% 3 = %s::bigint %% 3"),
)


def write_until_stopped(url: str, *, seed: int) -> int:
    """Gives the number of statements made. Raises what the database raises: the application must not suffer."""
    rng = random.Random(seed)  # noqa: S311
    weights = [weight for weight, _ in _STATEMENTS]
    made = 0
    with (
        contextlib.suppress(KeyboardInterrupt),
        psycopg.connect(url, autocommit=True, application_name="demo application") as conn,
    ):
        while True:
            (_, statement), *_ = rng.choices(_STATEMENTS, weights)
            conn.execute(statement, [rng.randrange(3000)])
            made += 1
            time.sleep(0.1)
    return made


def _stop(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.stdout.write(f"{write_until_stopped(sys.argv[1], seed=1)}\n")
