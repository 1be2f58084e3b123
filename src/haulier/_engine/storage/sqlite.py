"""``SqliteStorage``: a storage in one file, by the standard library's ``sqlite3``.

One engine at a time uses the file. Other programs may read it meanwhile.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Final, Literal, TypeVar
from urllib.parse import quote

from haulier._engine.storage import files, sql
from haulier._engine.storage.database import Database, DatabaseCursor
from haulier._engine.storage.lock import FileLock
from haulier.errors import StoreUnavailable

__all__ = ["SqliteStorage"]

logger = logging.getLogger("haulier.store")

T = TypeVar("T")

DIALECT: Final = sql.Dialect(numbered=False, words={"seq": "INTEGER", "name": "TEXT", "clustered": "WITHOUT ROWID"})

APPLICATION_ID: Final = int.from_bytes(b"haul", "big")
"""Marks our databases, for ``file`` and for ``SqliteStorage``."""

SMALLEST_BYTES: Final = 512
"""The smallest size of a database that is not empty. SQLite takes a file of one byte for an empty one."""

CHECKED_BYTES: Final = 256 << 20
"""Files up to this size are checked completely when they are opened: 0.1 s for 100,000 rows (100 MB). In a larger file
damage is found when it is read."""

BUSY_S: Final = 5.0
"""Seconds to wait for another program that writes to the file."""

VACUUMED_BYTES: Final = 64 << 20
"""A file of an older haulier is rewritten once, so that it can shrink, unless more than this is in use: 0.6 s."""

SHRINK_PAGES: Final = 200
"""How many pages of 4 KiB one call of ``shrink`` gives back: 1 ms, and 10 if all of them have to be moved."""

SPARE_PAGES: Final = 16
"""A file with fewer free pages than this does not shrink."""

_INCREMENTAL: Final = 2
"""The value of ``PRAGMA auto_vacuum`` for a file that can shrink."""

_WAYS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it cannot be written to: the file or its folder is read-only",
    sqlite3.SQLITE_CANTOPEN: "the file, or one beside it, cannot be opened or created",
    sqlite3.SQLITE_BUSY: f"another program has been writing to it for {BUSY_S:g} s",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database, or is damaged",
    sqlite3.SQLITE_IOERR: "reading or writing the file failed",
}

_HARMLESS: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CONSTRAINT})
"""After these errors the connection still works, and existing rows can be read."""


class SqliteStorage(Database):
    """A storage in the file at ``path``. A missing or empty file becomes a database.

    With ``synchronous='full'`` every write survives power loss. With ``'normal'`` every write survives ``kill -9``, but
    power loss may lose the latest ones.

    Raises ``StoreLocked`` if another engine uses the file, and ``StoreUnavailable`` if the file cannot be used, which
    is then left unchanged.
    """

    def __init__(self, path: str, synchronous: Literal["full", "normal"] = "full") -> None:
        self._path = files.resolved(path)
        super().__init__(self._path, DIALECT)
        self._synchronous = synchronous
        self._lock = FileLock(self._path)
        self._connection: sqlite3.Connection | None = None
        try:
            size = files.look(self._path)
            if 0 < size < SMALLEST_BYTES:
                raise StoreUnavailable(f"{self._path}: {_WAYS[sqlite3.SQLITE_NOTADB]}: it was left as it is")
            if size > 0:
                self._inspect()
            self._connection = self._connect("rwc")
            self._make_shrinkable(self._connection)
            self._file, self._logs = files.identity(self._path), files.log_identities(self._path)
        except BaseException:
            self._lock.release()
            raise

    # ---- before a byte is written ------------------------------------------------------------------------------------

    def _inspect(self) -> None:
        """Raise ``StoreUnavailable`` if the file is damaged, another program's or newer. Writes nothing to it."""
        if os.path.exists(self._path + "-journal"):
            return  # its creation was interrupted; SQLite undoes that when it opens the file to write
        if files.size_of(self._path + "-wal") == 0:
            connection = self._open("ro&immutable=1")  # creates no file beside it
        else:
            connection = self._open("ro")
        try:
            self._check(connection)
            if files.size_of(self._path) <= CHECKED_BYTES:
                [(verdict,), *_] = connection.execute("PRAGMA quick_check(1)").fetchall()
                if verdict != "ok":
                    why = " ".join(verdict.split())  # it has several lines
                    raise StoreUnavailable(f"{self._path} is damaged: {why}. It was left as it is")
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        finally:
            connection.close()

    def _check(self, connection: sqlite3.Connection) -> int:
        """Return the version, 0 for an empty database.

        Raises ``StoreUnavailable`` if another program or a newer haulier made the database.
        """
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
        """Open a connection that can write, and upgrade the database to this version."""
        connection = self._open(mode)
        try:
            # An emptied file would silently become a new database, without any of the records.
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
        """Set the pragmas. Their effects were measured with 100,000 rows, in batches of 1,000 and of one, on ext4."""
        # Lets ``shrink`` give free pages back. Set first: it counts only for a file without any page.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        # With a log a commit is one append and one fdatasync, and readers never wait. Without it a batch of one row
        # writes 35 KB instead of 21 and takes 1.2 ms instead of 0.4.
        [(mode,)] = connection.execute("PRAGMA journal_mode = WAL").fetchall()
        if mode != "wal":
            raise StoreUnavailable(f"SQLite cannot keep a write-ahead log beside {self._path}: use a local disk")
        # FULL waits for the disk at each commit, NORMAL only when the log is copied into the database: a batch of one
        # row takes 0.1 ms instead of 0.4, and one of 1,000 the same 20.
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        # On macOS a plain fsync leaves the data in the drive's cache. Elsewhere this has no effect.
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
        """Upgrade the database to this version, in one transaction."""
        connection.execute("BEGIN IMMEDIATE")
        self._upgrade(connection.cursor(), self._check(connection))
        # Written each time, so that a file that cannot be written to fails now and not at the first dispatch.
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(sql.STEPS)}")
        connection.execute("COMMIT")

    def _make_shrinkable(self, connection: sqlite3.Connection) -> None:
        """Rewrite a file of an older haulier, which cannot shrink, unless it is large. Failing is harmless."""
        if _number(connection, "PRAGMA auto_vacuum") == _INCREMENTAL:
            return
        used = _number(connection, "PRAGMA page_count") - _number(connection, "PRAGMA freelist_count")
        if used * _number(connection, "PRAGMA page_size") > VACUUMED_BYTES:
            return
        try:
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("VACUUM")
        except sqlite3.Error as error:
            logger.warning("%s keeps its free room: %s", self._path, self._unavailable(error))
        finally:
            connection.execute(f"PRAGMA busy_timeout = {round(BUSY_S * 1000)}")

    def _connected(self) -> sqlite3.Connection:
        self._check_open()
        self._lock.hold()
        # SQLite would continue to write to a file that was deleted.
        if files.identity(self._path) != self._file:
            self._disconnect()
            raise StoreUnavailable(f"{self._path} was removed or replaced while it was in use: put it back")
        if self._connection is None:
            self._connection = self._connect("rw")
            self._logs = files.log_identities(self._path)
        elif (logs := files.log_identities(self._path)) != self._logs:
            self._save_log(self._connection)
            gone = next(path for path in logs if logs[path] != self._logs[path])
            raise StoreUnavailable(
                f"{gone} was removed or replaced while it was in use. Nothing is lost: what it held is in {self._path} "
                "now, and the next call makes a new one. Leave the files beside a database alone while an engine has it"
            )
        return self._connection

    def _save_log(self, connection: sqlite3.Connection) -> None:
        """Copy a log that has lost its name into the database, and disconnect.

        Only this connection still has the log, so it stays open if that fails. Then ``StoreUnavailable`` is raised.
        """
        try:
            [(busy, frames, copied)] = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        if busy or frames != copied:
            raise StoreUnavailable(
                f"{self._path}-wal was removed or replaced while it was in use, and what it holds cannot be saved "
                "while another program reads the database: end that program"
            )
        self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    # ---- reading and writing -----------------------------------------------------------------------------------------

    # Close each cursor: a traceback may refer to it, and it would keep the file and its locks after ``_disconnect``.

    def _read(self, work: Callable[[DatabaseCursor], T]) -> T:
        connection = self._connected()
        try:
            with closing(connection.cursor()) as cursor:
                return work(cursor)
        except sqlite3.Error as error:
            self._disconnect()
            raise self._unavailable(error) from None  # the text may contain a damaged record

    def _write(self, work: Callable[[DatabaseCursor], T]) -> T:
        connection = self._connected()
        try:
            connection.execute("BEGIN IMMEDIATE")  # waits for other programs' writes here, and only here
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
        """Roll back. If the file itself failed, close the connection; the next call opens a new one."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()
        if isinstance(error, sqlite3.Error) and _kind(error) not in _HARMLESS:
            self._disconnect()

    def _unavailable(self, error: sqlite3.Error) -> StoreUnavailable:
        if str(error).startswith("Could not decode"):  # an error of Python's, which would show the text
            return StoreUnavailable(f"{self._path}: {_WAYS[sqlite3.SQLITE_CORRUPT]}: a text in it is not UTF-8")
        way = _WAYS.get(_kind(error))
        return StoreUnavailable(f"{self._path}: {error}" if way is None else f"{self._path}: {way} ({error})")

    def shrink(self) -> bool:
        """Cut free pages off the end of the file, moving pages that are in use to its front."""
        connection = self._connected()
        try:
            if _number(connection, "PRAGMA auto_vacuum") != _INCREMENTAL:
                return False
            free, pages = (_number(connection, f"PRAGMA {which}") for which in ("freelist_count", "page_count"))
            surplus = (4 * free - pages) // 3  # without these, a quarter of the pages is free
            if surplus <= 0 or free <= SPARE_PAGES:
                return False
            # Not ``execute``: it would take one step of the statement, which frees a single page.
            connection.executescript(f"PRAGMA incremental_vacuum({min(surplus, SHRINK_PAGES)})")
        except sqlite3.Error as error:
            self._take_back(connection, error)
            raise self._unavailable(error) from error
        return surplus > SHRINK_PAGES

    def interrupt(self) -> None:
        """Do nothing: a call waits for the disk, and for other programs no longer than ``BUSY_S``."""

    def close(self) -> None:
        """Copy the log into the database, so that one file remains, and release the lock. May be called twice."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        if self._connection is not None:
            with suppress(sqlite3.Error):  # a reader keeps the log in use; then a later close copies it
                self._connection.execute("PRAGMA busy_timeout = 0")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._disconnect()
        self._lock.release()


def _number(connection: sqlite3.Connection, statement: str) -> int:
    [(number,)] = connection.execute(statement).fetchall()
    return int(number)


def _kind(error: sqlite3.Error) -> int:
    """SQLite's primary result code, without the extension."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
