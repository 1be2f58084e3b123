"""``FileLock``: a lock on a path, which the system releases when the process ends, however it ends.

The lock is on a separate file beside the path. If it were on the database, closing any descriptor of that file would
release SQLite's own locks, and our lock would keep readers out. It is a record lock and not a ``flock``, because a
forked child does not inherit it. So the child does not keep a dead parent's database locked.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import Final

from haulier.errors import StoreLocked, StoreUnavailable

if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> None:
        os.lseek(fd, 1 << 30, os.SEEK_SET)  # far behind the pid, because locked bytes cannot be read
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
else:
    from fcntl import LOCK_EX, LOCK_NB, lockf

    def _lock(fd: int) -> None:
        lockf(fd, LOCK_EX | LOCK_NB)


__all__ = ["FileLock"]

SUFFIX: Final = "-lock"

_TAKEN: Final = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})

_held: Final[dict[tuple[int, str], FileLock]] = {}
"""The locks of this process, by pid and path. The system would grant a process the same lock twice, and release both
at the first close."""


class FileLock:
    """Locks ``path``, which must contain no symbolic link, until ``release``.

    Raises ``StoreLocked`` if this process or another one holds the lock, and ``StoreUnavailable`` if the lock's file
    cannot be created.
    """

    def __init__(self, path: str) -> None:
        self._path = path + SUFFIX
        self._key = (os.getpid(), path)
        self._is_lost = False
        if _held.setdefault(self._key, self) is not self:
            raise StoreLocked(f"{path} is in use by another engine of this process: close that one first")
        try:
            self._fd = self._take(path)
        except BaseException:
            del _held[self._key]
            raise

    def _take(self, path: str) -> int:
        while True:
            try:
                fd = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            except OSError as error:
                raise StoreUnavailable(f"{path} cannot be locked: {error.strerror}: {self._path}") from error
            try:
                _lock(fd)
                if self._is_named(fd):
                    self._sign(fd)
                    return fd
            except OSError as error:
                pid = _signature(fd)
                os.close(fd)
                if error.errno not in _TAKEN:
                    raise StoreUnavailable(f"{path} cannot be locked: {error.strerror}") from error
                raise StoreLocked(f"{path} is in use by another engine{pid}: close that one first") from None
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # its holder removed the file between open and lock: try again

    def _is_named(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _sign(self, fd: int) -> None:
        with suppress(OSError):  # e.g. the disk is full; the pid is only for the error message
            os.ftruncate(fd, 0)
            os.write(fd, f"{os.getpid()}\n".encode())

    def hold(self) -> None:
        """Take the lock again if somebody removed its file, e.g. because it looked like a leftover.

        Raises what ``FileLock`` raises. Once another process has had the lock, every call raises ``StoreLocked``.
        """
        path = self._key[1]
        if self._is_lost:
            raise StoreLocked(f"{path} has been in use by another engine: this one is out of date, make a new one")
        if not self._is_named(self._fd):
            try:
                fd = self._take(path)
            except StoreLocked:
                self._is_lost = True
                raise
            os.close(self._fd)
            self._fd = fd

    def release(self) -> None:
        """Release the lock. Does nothing in a forked child, which does not have it."""
        if _held.get(self._key) is not self or self._key[0] != os.getpid():
            return
        with suppress(OSError):  # Windows does not remove an open file
            if self._is_named(self._fd):
                os.unlink(self._path)
        os.close(self._fd)
        del _held[self._key]


def _signature(fd: int) -> str:
    """Return ``, process PID`` for the holder of the lock; an empty string if the pid is unknown."""
    try:
        pid = int(os.pread(fd, 20, 0)) if hasattr(os, "pread") else int(os.read(fd, 20))
    except (OSError, ValueError):
        return ""
    return f", process {pid}"
