"""Opens connections to the user's database and turns the driver's errors into ours, once."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg
from psycopg import errors as pg
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg.types import TypeInfo

from embedmig.errors import (
    ControlSchemaError,
    DatabaseError,
    EmbedmigError,
    LockedError,
    PrivilegeError,
    RefusedError,
    SettingsError,
    UnsupportedError,
)
from embedmig.settings import Settings

Connection: TypeAlias = psycopg.Connection[dict[str, Any]]
AsyncConnection: TypeAlias = psycopg.AsyncConnection[dict[str, Any]]

MIN_SERVER = 150000
MIN_PGVECTOR = (0, 8)
_PORT = re.compile(r"[0-9,]*")
_OF_CONTROL_SCHEMA = re.compile(r'schema "embedmig"|function embedmig\.|relation "embedmig\.(?!\w+_v\d+")')
"""How an error names what ``embedmig init`` makes; a companion (docs_v2) stands in the same schema and is not of it."""
_HELD = """
SELECT l.relation::regclass::text AS relation, a.pid,
       coalesce(nullif(a.application_name, ''), a.backend_type, 'of another role') AS name,
       coalesce(a.state, 'state unknown') AS state,
       round(extract(epoch FROM clock_timestamp() - a.xact_start))::int AS xact_s
  FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation
 WHERE l.granted AND l.mode = 'AccessExclusiveLock' AND a.pid <> pg_backend_pid() AND c.relkind IN ('r', 'p', 'm')
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
 ORDER BY a.xact_start LIMIT 3"""
"""Reading waits for this lock alone."""
_ABSENT = (pg.InvalidSchemaName, pg.UndefinedTable, pg.UndefinedFunction)
REFUSED = "EM001"
"""The SQLSTATE by which the catalog's functions say that a precondition does not hold."""


class Database:
    """One database, by its URL. Holds no connection: each ``connect`` opens one. Raises SettingsError for a URL that
    cannot be read."""

    def __init__(self, url: str, *, application_name: str = "embedmig") -> None:
        self.url = checked_url(url)
        self._application_name = application_name

    @contextmanager
    def connect(self, *, patience: Settings | None = None) -> Iterator[Connection]:
        """An autocommit connection with rows as dicts; write in ``with conn.transaction():``. With ``patience``, no
        statement waits longer for a lock than all the tries of a change would.

        Raises DatabaseError (or a child) for whatever the driver raises inside the block; LockedError, naming who
        holds it, when patience ends.
        """
        with translated_errors():
            conn: Connection = psycopg.connect(
                self.url,
                autocommit=True,
                row_factory=dict_row,
                application_name=self._application_name,
                connect_timeout=10,
            )
            with conn:
                register_vector_types(conn)
                if patience is None:
                    yield conn
                else:
                    with _giving_up(conn, patience.lock_timeout_s * patience.lock_attempts):
                        yield conn

    @property
    def safe_url(self) -> str:
        """The URL without its password, for people."""
        info = psycopg.conninfo.conninfo_to_dict(self.url)
        host, name = info.get("host", "localhost"), info.get("dbname", "")
        port = f":{info['port']}" if "port" in info else ""
        return f"postgresql://{info.get('user', '')}@{host}{port}/{name}"


@contextmanager
def _giving_up(conn: Connection, seconds: float) -> Iterator[None]:
    conn.execute("SELECT set_config('lock_timeout', %s, false)", [f"{int(seconds * 1000)}ms"])
    try:
        yield
    except pg.LockNotAvailable as exc:
        # A closed or broken connection cannot be asked any more.
        idle = conn.info.transaction_status is TransactionStatus.IDLE
        held = conn.execute(_HELD).fetchall() if idle else []
        locks = ", ".join(f"{row['relation']}, held by {describe_holder(row)}" for row in held)
        raise LockedError(
            f"gave up after {seconds:g} s behind a lock{f' on {locks}' if held else ''}: run it again when it is free",
            sqlstate=exc.sqlstate,
        ) from exc


def describe_holder(row: Mapping[str, Any]) -> str:
    """Who holds a lock: ``pid``, ``name``, ``state``, and ``xact_s``, the age of its transaction in seconds."""
    return f"pid {row['pid']} ({row['name']}, {row['state']}, in a transaction for {row['xact_s']} s)"


def checked_url(url: str) -> str:
    """The URL as it is given. Raises SettingsError for one that cannot be read; what libpq says of it is kept back,
    for it quotes the parts, and with a password that was not percent-encoded those are parts of the password."""
    if not url.strip():
        raise SettingsError("the database's URL is empty: name a server, or unset it for the embedded one")
    try:
        parts = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        parts = None
    host, port = ("", "") if parts is None else (str(parts.get(name) or "") for name in ("host", "port"))
    # A host with an @ is the rest of a password, unless it is a socket: a folder's path, or @ and an abstract name.
    if parts is None or "@" in host.lstrip("@").split("/")[0] or not _PORT.fullmatch(port):
        raise SettingsError(
            "the database's URL cannot be read (it is not shown, for it may hold a password): write"
            " postgresql://user:password@host:5432/name, with @ : / ? # % and blanks of the password percent-encoded,"
            " and no driver's name as in postgresql+psycopg://"
        )
    return url


def register_vector_types(conn: psycopg.Connection[Any]) -> None:
    """Lets numpy arrays go out as ``vector``, when the extension is there; nothing otherwise."""
    _register(conn, TypeInfo.fetch(conn, "vector"), TypeInfo.fetch(conn, "halfvec"))


async def register_vector_types_async(conn: psycopg.AsyncConnection[Any]) -> None:
    """The same for an async connection."""
    _register(conn, await TypeInfo.fetch(conn, "vector"), await TypeInfo.fetch(conn, "halfvec"))


def _register(conn: psycopg.BaseConnection[Any], vector: TypeInfo | None, halfvec: TypeInfo | None) -> None:
    # Imported here: numpy costs more than half of what `embedmig --help` may take.
    from pgvector.psycopg.halfvec import register_halfvec_info
    from pgvector.psycopg.vector import register_vector_info

    from embedmig.db.vectors import register_float_dumper

    if vector is not None:
        register_vector_info(conn, vector)
        register_float_dumper(conn, vector.oid)
    if halfvec is not None:
        register_halfvec_info(conn, halfvec)


def require_server(conn: Connection) -> None:
    """Raises UnsupportedError when Postgres is older than 15, or pgvector missing or older than 0.8."""
    if conn.info.server_version < MIN_SERVER:
        raise UnsupportedError(
            f"this server is PostgreSQL {conn.info.server_version // 10000}, embedmig needs 15 or later: upgrade it"
        )
    row = conn.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    if row is None:
        raise UnsupportedError(f"pgvector is not installed in database {conn.info.dbname}: run CREATE EXTENSION vector")
    installed = tuple(int(part) for part in row["extversion"].split(".")[:2])
    if installed < MIN_PGVECTOR:
        raise UnsupportedError(
            f"pgvector here is {row['extversion']}, embedmig needs 0.8 or later: run ALTER EXTENSION vector UPDATE"
        )


class translated_errors:  # noqa: N801  (used as one uses a function of contextlib, and cheaper: each search enters it)
    """Raises ours ``from`` the driver's. Values are left out of the message: they may be a user's text."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, psycopg.Error):
            raise translate(error) from error


def translate(exc: psycopg.Error) -> EmbedmigError:
    """Ours for one of the driver's."""
    said = _primary(exc)
    if isinstance(exc, pg.InsufficientPrivilege):
        return PrivilegeError(f"{said}: embedmig doctor prints the GRANTs that are missing", sqlstate=exc.sqlstate)
    if isinstance(exc, pg.LockNotAvailable):
        return LockedError(f"{said}: try again when it is free", sqlstate=exc.sqlstate)
    if isinstance(exc, _ABSENT) and _OF_CONTROL_SCHEMA.search(said):
        return ControlSchemaError(
            f"the control schema in this database is missing, or older than this embedmig ({said}): run embedmig init,"
            " which makes or upgrades it"
        )
    if exc.sqlstate == REFUSED:
        return RefusedError(said)
    return DatabaseError(f"the database: {said}", sqlstate=exc.sqlstate)


@contextmanager
def driver_errors() -> Iterator[None]:
    """The same for what goes through SQLAlchemy, which wraps the driver's errors."""
    from sqlalchemy.exc import DBAPIError

    with translated_errors():
        try:
            yield
        except DBAPIError as exc:
            if exc.orig is None:
                raise DatabaseError(str(exc)) from exc
            raise exc.orig from exc


def _primary(exc: psycopg.Error) -> str:
    text = exc.diag.message_primary or str(exc).strip() or type(exc).__name__
    return text.splitlines()[0]
