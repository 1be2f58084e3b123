"""A storage in one file, by the standard library's ``sqlite3``.

The file is one engine's at a time; others may read it while that one works.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Final, Literal, TypeVar
from urllib.parse import quote

from haulier._engine.storage import sql
from haulier._engine.storage.database import Database, DatabaseCursor
from haulier._engine.storage.lock import FileLock
from haulier.errors import StoreUnavailable

__all__ = ["SqliteStorage"]

T = TypeVar("T")

DIALECT: Final = sql.Dialect(numbered=False, words={"seq": "INTEGER", "name": "TEXT", "clustered": "WITHOUT ROWID"})

APPLICATION_ID: Final = int.from_bytes(b"haul", "big")
"""By which ``file`` and we tell our databases from other people's."""

SMALLEST_BYTES: Final = 512
"""Of a database that has anything in it. SQLite takes a file of one byte for an empty one."""

CHECKED_BYTES: Final = 256 << 20
"""Files up to this size are checked whole when they are opened: 0.1 s for 100,000 rows, which are 100 MB. What is
damaged in a larger one shows when it is read."""

BUSY_S: Final = 5.0
"""How long to wait for a program from outside that writes."""

_WAYS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it cannot be written to: the file or its folder is read-only",
    sqlite3.SQLITE_CANTOPEN: "the file, or one beside it, cannot be opened or made",
    sqlite3.SQLITE_BUSY: f"another program has been writing to it for {BUSY_S:g} s",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database, or is damaged",
    sqlite3.SQLITE_IOERR: "reading or writing the file failed",
}

_HARMLESS: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CONSTRAINT})
"""After these the connection is as good as before, and what is there can be read."""


class SqliteStorage(Database):
    """The file at ``path``; a missing or empty one becomes a database.

    ``synchronous``: ``'full'``: what was written survives power loss. ``'normal'``: it survives ``kill -9``, and after
    power loss what is missing is the latest.

    Raises ``StoreLocked``; ``StoreUnavailable`` for a file that cannot be used, and leaves that as it is.
    """

    def __init__(self, path: str, synchronous: Literal["full", "normal"] = "full") -> None:
        self._path = os.path.realpath(path)
        super().__init__(self._path, DIALECT)
        self._synchronous = synchronous
        folder = os.path.dirname(self._path)
        if not os.path.isdir(folder):
            raise StoreUnavailable(f"{self._path} cannot be made: there is no folder {folder}")
        self._lock = FileLock(self._path)
        self._connection: sqlite3.Connection | None = None
        try:
            if self._look() > 0:
                self._inspect()
            self._connection = self._connect("rwc")
            self._file = self._identity()
        except BaseException:
            self._lock.release()
            raise

    # ---- before a byte is written ------------------------------------------------------------------------------------

    def _look(self) -> int:
        """The size of what is there, in bytes."""
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return 0
        if not stat.S_ISREG(there.st_mode):
            raise StoreUnavailable(f"{self._path} is no file")
        if there.st_nlink > 1:  # its log and our lock go by the name: one that came by the other would break it
            raise StoreUnavailable(f"{self._path} has another name (a hard link): remove that, or copy the file")
        if not os.access(self._path, os.R_OK | os.W_OK):
            raise StoreUnavailable(f"{self._path} cannot be read and written: it is read-only, or another user's")
        if 0 < there.st_size < SMALLEST_BYTES:
            raise StoreUnavailable(f"{self._path}: {_WAYS[sqlite3.SQLITE_NOTADB]}: it was left as it is")
        return there.st_size

    def _inspect(self) -> None:
        """Raise ``StoreUnavailable`` for what is damaged, somebody else's or newer, without writing to it."""
        if os.path.exists(self._path + "-journal"):
            return  # its making was broken off, which SQLite undoes when it opens it to write
        if _size(self._path + "-wal") == 0:
            connection = self._open("ro&immutable=1")  # leaves no file beside it
        else:
            connection = self._open("ro")
        try:
            self._check(connection)
            if _size(self._path) <= CHECKED_BYTES:
                [(told,), *_] = connection.execute("PRAGMA quick_check(1)").fetchall()
                if told != "ok":
                    why = " ".join(told.split())  # it has lines
                    raise StoreUnavailable(f"{self._path} is damaged: {why}. It was left as it is")
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        finally:
            connection.close()

    def _check(self, connection: sqlite3.Connection) -> int:
        """The version; 0 where there is nothing yet. Raises ``StoreUnavailable`` for what is not of this haulier."""
        version = _number(connection, "PRAGMA user_version")
        if _number(connection, "PRAGMA application_id") != APPLICATION_ID:
            if version or _number(connection, "SELECT count(*) FROM sqlite_master"):
                raise StoreUnavailable(f"{self._path} is the database of another program: it was left as it is")
            return 0
        self._check_version(version)
        return version

    # ---- the connection ----------------------------------------------------------------------------------------------

    def _open(self, mode: str) -> sqlite3.Connection:
        place = f"file:{quote(os.fsencode(self._path))}?mode={mode}"
        try:
            return sqlite3.connect(place, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def _connect(self, mode: str) -> sqlite3.Connection:
        """A connection that can write to a database of this version."""
        connection = self._open(mode)
        try:
            # An empty one would become a new database, in which everything before is missing without a word.
            if mode == "rw" and not self._check(connection):
                raise StoreUnavailable(f"{self._path} was emptied while it was in use: put it back")
            self._settle(connection)
            self._migrate(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._unavailable(error) from error
            raise
        return connection

    def _settle(self, connection: sqlite3.Connection) -> None:
        """What each buys was measured with 100,000 rows, in batches of 1,000 and of one, on ext4."""
        # A commit is one append and one fdatasync, and readers wait for nobody. Without the log a batch of one row
        # writes 35 KB instead of 21 and takes 1.2 ms instead of 0.4.
        [(mode,)] = connection.execute("PRAGMA journal_mode = WAL").fetchall()
        if mode != "wal":
            raise StoreUnavailable(f"{self._path} is where SQLite cannot keep a write-ahead log")
        # FULL waits for the disk at each commit, NORMAL only when the log is copied into the database: a batch of one
        # row takes 0.1 ms instead of 0.4, and one of 1,000 the same 20.
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        # On macOS an fsync leaves what it was given in the drive's own memory. Nothing elsewhere.
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        # 16 MiB of pages instead of 2. New ids come to random places in their index: a third of the reads, 7 % less
        # is written.
        connection.execute("PRAGMA cache_size = -16000")
        # A reader that stays in a transaction for hours makes the log grow; afterwards it shrinks again. The log is
        # copied every 1,000 pages, as usual: every 4,000 write 17 % less in bulk, but need four times the disk and
        # four times as long in the commit that does it.
        connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Bring it to this version, in one transaction."""
        connection.execute("BEGIN IMMEDIATE")
        self._upgrade(connection.cursor(), self._check(connection))
        # Written each time, so that what cannot be written to shows now, and not when something is to be stored.
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(sql.STEPS)}")
        connection.execute("COMMIT")

    def _identity(self) -> tuple[int, int] | None:
        try:
            there = os.stat(self._path)
        except OSError:
            return None
        return there.st_dev, there.st_ino

    def _connected(self) -> sqlite3.Connection:
        self._check_open()
        self._lock.hold()
        # SQLite would go on writing to a file that has no name any more.
        if self._identity() != self._file:
            self._disconnect()
            raise StoreUnavailable(f"{self._path} was removed or replaced while it was in use: put it back")
        if self._connection is None:
            self._connection = self._connect("rw")
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    # ---- reading and writing -----------------------------------------------------------------------------------------

    # A cursor that is not closed would keep the file, with its locks, after ``_disconnect``: the traceback has it.

    def _read(self, work: Callable[[DatabaseCursor], T]) -> T:
        connection = self._connected()
        try:
            with closing(connection.cursor()) as cursor:
                return work(cursor)
        except sqlite3.Error as error:
            self._disconnect()
            raise self._unavailable(error) from None  # its text may be that of a damaged record

    def _write(self, work: Callable[[DatabaseCursor], T]) -> T:
        connection = self._connected()
        try:
            connection.execute("BEGIN IMMEDIATE")  # so that a writer from outside is waited for here, and only here
            with closing(connection.cursor()) as cursor:
                result = work(cursor)
            connection.execute("COMMIT")
        except BaseException as error:
            self._take_back(connection, error)
            if isinstance(error, sqlite3.IntegrityError):
                raise ValueError(f"not written: {error}") from error
            if isinstance(error, sqlite3.Error):
                raise self._unavailable(error) from error
            raise
        return result

    def _take_back(self, connection: sqlite3.Connection, error: BaseException) -> None:
        """Leave nothing of what was begun. Where the file itself failed, it is opened anew the next time."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()
        if isinstance(error, sqlite3.Error) and _kind(error) not in _HARMLESS:
            self._disconnect()

    def _unavailable(self, error: sqlite3.Error) -> StoreUnavailable:
        if str(error).startswith("Could not decode"):  # Python's own, and the text itself follows
            return StoreUnavailable(f"{self._path}: {_WAYS[sqlite3.SQLITE_CORRUPT]}: a text in it is not UTF-8")
        way = _WAYS.get(_kind(error))
        return StoreUnavailable(f"{self._path}: {error}" if way is None else f"{self._path}: {way} ({error})")

    def close(self) -> None:
        """Copy the log into the database, so that one file remains, and let go of it."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        if self._connection is not None:
            with suppress(sqlite3.Error):  # who reads just now keeps the log; it is copied by the next to close
                self._connection.execute("PRAGMA busy_timeout = 0")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._disconnect()
        self._lock.release()


def _number(connection: sqlite3.Connection, statement: str) -> int:
    [(number,)] = connection.execute(statement).fetchall()
    return int(number)


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _kind(error: sqlite3.Error) -> int:
    """SQLite's code without what it extends it by."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
