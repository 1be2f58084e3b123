"""``PostgresStorage``: a storage in PostgreSQL, by psycopg 3. Each engine's name has a schema and a lock of its own.

The lock belongs to the session. It lasts exactly as long as the connection that writes, so that no engine can write
without it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, Literal, TypeVar
from uuid import uuid4

import psycopg
from psycopg.conninfo import conninfo_to_dict

from haulier._engine.storage import sql
from haulier._engine.storage.database import Database, DatabaseCursor
from haulier._engine.storage.line import Connection, Line
from haulier.errors import StoreLocked, StoreUnavailable

__all__ = ["PostgresStorage"]

T = TypeVar("T")

DIALECT: Final = sql.Dialect(numbered=True, words={"seq": "BIGINT", "name": 'TEXT COLLATE "C"', "clustered": ""})

LOCK_WAIT_MS: Final = 1000
"""Milliseconds to wait for the lock, because the server needs a moment to notice that a process died."""

_CONNECTION: Final = {
    # Give up on a server that does not answer, instead of hanging in the store's thread.
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""Defaults for options that the URL does not set, in seconds; ``tcp_user_timeout`` is in milliseconds."""

_SESSION: Final = {
    # Keep-alives of the server: when an engine's machine dies, its lock is free after a minute, not after hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    # An idle engine keeps its lock, and loading may take long.
    "idle_session_timeout": "0",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    # A role or a database may have settings of its own. With these, a float comes back with all its digits, also from a
    # server older than PostgreSQL 12, and a transaction sees what others have committed.
    "extra_float_digits": "3",
    "DateStyle": "ISO, MDY",
    "default_transaction_isolation": "read committed",
}
"""Settings of a session that would change what haulier reads, writes or waits for."""

_ENCODINGS: Final = frozenset({"UTF8", "SQL_ASCII"})
"""The encodings in which a database can store every name."""

_ENGINE: Final = "CREATE TABLE engine (version INTEGER NOT NULL, opened_by TEXT NOT NULL)"
"""One row: the version of the tables, and the token of the storage that opened them last."""


class PostgresStorage(Database):
    """A storage in the schema ``haulier_<name>`` of the database at ``url``.

    ``synchronous='normal'`` does not wait for the server's disk. If the server crashes, the latest writes are lost.

    Raises ``ValueError`` if the URL cannot be read, ``StoreLocked`` if another engine holds the lock, and
    ``StoreUnavailable`` if the server or the database cannot be used. No message shows the password.
    """

    def __init__(self, url: str, name: str, synchronous: Literal["full", "normal"] = "full") -> None:
        self._options = _options(url, name)
        self._schema = f"haulier_{name}"
        super().__init__(_shown(self._options, name), DIALECT)
        self._synchronous = synchronous
        self._token = uuid4().hex
        self._former: tuple[int, int] | None = None
        """The server process of our last connection, and the time it started in microseconds."""
        self._line = Line()
        self._connection: Connection | None = self._connect(again=False)

    # ---- the connection ----------------------------------------------------------------------------------------------

    def _connect(self, *, again: bool) -> Connection:
        """Connect and take the lock. ``again``: raise ``StoreLocked`` if another engine has had the lock since."""
        try:
            connection = self._line.dial(self._dial) if again else self._dial()
        except psycopg.Error as error:
            raise self._unavailable(error) from error
        try:
            self._line.hold(connection)
            with connection.cursor() as cursor:
                self._settle(cursor)
                self._lock(connection, cursor)
                if again:
                    self._check_token(cursor)
                else:
                    with connection.transaction():
                        self._migrate(cursor)
        except BaseException as error:
            self._drop(connection)
            if isinstance(error, psycopg.Error):
                raise self._unavailable(error) from error
            raise
        return connection

    def _dial(self) -> Connection:
        return psycopg.connect(**self._options, autocommit=True, cursor_factory=psycopg.RawCursor)

    def _drop(self, connection: Connection) -> None:
        connection.close()
        self._line.let_go()

    def _settle(self, cursor: DatabaseCursor) -> None:
        [(encoding,)] = _query(cursor, "SELECT current_setting('server_encoding')")
        if encoding not in _ENCODINGS:
            raise StoreUnavailable(
                f"{self._shown}: the encoding of the database is {encoding}, which cannot store every name; "
                "create a database with ENCODING 'UTF8'"
            )
        for setting, value in _SESSION.items():  # not every version of the server has every setting
            cursor.execute("SELECT set_config(name, $1, false) FROM pg_settings WHERE name = $2", (value, setting))
        if self._synchronous == "normal":
            cursor.execute("SET synchronous_commit = off")
        elif _query(cursor, "SELECT current_setting('synchronous_commit')") == [("off",)]:
            cursor.execute("SET synchronous_commit = on")
        cursor.execute(f'SET search_path = "{self._schema}"')

    def _lock(self, connection: Connection, cursor: DatabaseCursor) -> None:
        if self._former is not None:
            # After a network failure the server may still hold our last connection open, and with it the lock.
            cursor.execute(_END_FORMER, self._former)
        key = int.from_bytes(sha256(self._schema.encode()).digest()[:8], "big", signed=True)
        try:
            with connection.transaction():
                cursor.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
                cursor.execute("SELECT pg_advisory_lock($1)", (key,))
        except psycopg.errors.LockNotAvailable:
            raise StoreLocked(
                f"{self._shown} is in use by another engine{_holder(cursor, key)}: close that one first"
            ) from None
        [self._former] = _query(cursor, _OWN_PROCESS)

    def _migrate(self, cursor: DatabaseCursor) -> None:
        """Create the tables or upgrade them to this version, and store our token."""
        tables = {name for (name,) in _query(cursor, _TABLES, (self._schema,))}
        if "engine" in tables:
            [(version,)] = _query(cursor, "SELECT version FROM engine")
            self._check_version(version)
        elif tables:
            raise StoreUnavailable(
                f"{self._shown}: the schema {self._schema} belongs to another program: it was left as it is"
            )
        else:
            version = 0
            if not _query(cursor, "SELECT 1 FROM pg_namespace WHERE nspname = $1", (self._schema,)):
                cursor.execute(f'CREATE SCHEMA "{self._schema}"')
            cursor.execute(_ENGINE)
            cursor.execute("INSERT INTO engine (version, opened_by) VALUES (0, '')")
        self._upgrade(cursor, version)
        cursor.execute("UPDATE engine SET version = $1, opened_by = $2", (len(sql.STEPS), self._token))

    def _check_token(self, cursor: DatabaseCursor) -> None:
        if _query(cursor, "SELECT opened_by FROM engine") != [(self._token,)]:
            raise StoreLocked(
                f"{self._shown} has been in use by another engine since the connection was lost: "
                "this one is out of date, make a new one"
            )

    # ---- reading and writing -----------------------------------------------------------------------------------------

    def _read(self, work: Callable[[DatabaseCursor], T]) -> T:
        return self._run(work)

    def _write(self, work: Callable[[DatabaseCursor], T]) -> T:
        return self._run(work)

    def _run(self, work: Callable[[DatabaseCursor], T]) -> T:
        """Run ``work`` in one transaction, and return its result. Without queries that is one round trip.

        A connection that was lost since the last call, e.g. because the server restarted, fails here. Then ``work``
        runs again on a new connection. This is safe, because every operation of a storage may be repeated.
        """
        self._check_open()
        kept, connection = self._connection is not None, self._connection or self._connect(again=True)
        self._connection = connection
        try:
            return _exchange(connection, work)
        except BaseException as error:
            self._take_back(connection)
            if isinstance(error, psycopg.IntegrityError):
                raise ValueError(f"not written: {_flat(error)}") from error
            if not isinstance(error, psycopg.Error):
                raise
            if not (kept and self._connection is None):
                raise self._unavailable(error) from error
        return self._run(work)

    def _take_back(self, connection: Connection) -> None:
        """Roll back, and drop the connection if it is lost or broken."""
        try:
            if not connection.closed:
                connection.rollback()
        except psycopg.Error:
            connection.close()
        if connection.closed:
            self._drop(connection)
            self._connection = None

    def _unavailable(self, error: psycopg.Error) -> StoreUnavailable:
        return StoreUnavailable(f"{self._shown}: {_flat(error) or type(error).__name__}")

    def shrink(self) -> bool:
        """Return False: the server's own autovacuum makes the room free for other tables and rows."""
        self._check_open()
        return False

    def close(self) -> None:
        """Close the connection, which releases the lock. May be called twice."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        if self._connection is not None:
            self._drop(self._connection)

    def interrupt(self) -> None:
        """Give up on a server that does not answer: what waits for it raises, and so does every later call."""
        self._line.cut()

    def _check_open(self) -> None:
        super()._check_open()
        if self._line.is_cut:
            raise StoreUnavailable(f"{self._shown} did not answer when the engine was closed: gave up on it")


def _exchange(connection: Connection, work: Callable[[DatabaseCursor], T]) -> T:
    """Run ``work`` in one transaction. Raises the first error of the server or of the connection."""
    first: psycopg.Error | None = None
    try:
        with connection.pipeline():
            try:
                cursor = connection.cursor()
                cursor.execute(b"BEGIN")
                result = work(cursor)
                cursor.execute(b"COMMIT")
            except psycopg.Error as error:
                first = error  # hidden from psycopg, which would log the errors that follow from it
    except psycopg.Error as error:
        raise first or error from None
    if first is not None:
        raise first
    return result


_TABLES: Final = "SELECT tablename FROM pg_tables WHERE schemaname = $1"

# In microseconds, which are exact whatever the time zone and the style of dates.
_OWN_PROCESS: Final = """
    SELECT pid, CAST(extract(epoch FROM backend_start) * 1000000 AS BIGINT)
    FROM pg_stat_activity WHERE pid = pg_backend_pid()
"""

_END_FORMER: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid = $1 AND CAST(extract(epoch FROM backend_start) * 1000000 AS BIGINT) = $2
"""

_HOLDER: Final = """
    SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32) | objid::bigint = $1 AND objsubid = 1
"""


def _holder(cursor: DatabaseCursor, key: int) -> str:
    """Return ``, NAME`` for the holder of the lock; an empty string if its name is unknown."""
    found = _query(cursor, _HOLDER, (key,))
    return f", {found[0][0]}" if found and found[0][0] else ""


def _flat(error: psycopg.Error) -> str:
    return " ".join(str(error).split())


def _query(cursor: DatabaseCursor, statement: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
    cursor.execute(statement, parameters)
    return cursor.fetchall()


def _options(url: str, name: str) -> dict[str, Any]:
    """The options in the URL, and defaults for the rest.

    Raises ``ValueError`` if the URL cannot be read. The message does not show it, because it may contain a password.
    """
    try:
        options = conninfo_to_dict(url)
        ports = str(options.get("port") or "").split(",")
        authority, _, path = url.partition("://")[2].partition("/")
        # If a password has an unescaped @ or /, libpq takes a part of it for a host, and shows that in its error.
        if authority.count("@") > 1 or "@" in path.partition("?")[0] or not all(p.isdigit() or not p for p in ports):
            raise ValueError
    except (ValueError, psycopg.Error):
        raise ValueError(
            "the PostgreSQL URL cannot be read: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE, "
            "and in a user's name or a password write : / @ % ? and # as %3A %2F %40 %25 %3F %23"
        ) from None
    signature = f"process {os.getpid()} on {socket.gethostname()}"
    return {
        **_CONNECTION,
        "application_name": f"haulier {name}, {signature}"[:63],
        **options,
        "client_encoding": "UTF8",
    }


def _shown(options: dict[str, Any], name: str) -> str:
    place = ", ".join(f"{options[part]}" for part in ("host", "port") if options.get(part))
    database = options.get("dbname") or options.get("user") or "the default"
    return f"the engine {name!r} in the PostgreSQL database {database}" + (f" at {place}" if place else "")
