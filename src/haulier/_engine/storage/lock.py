"""A lock on a path that the system takes back when its process ends, however it ends.

It is on a file of its own beside the path: SQLite's locks on the database would go with the first descriptor of it
that this process closes, and a lock of ours on it would keep readers out. A record lock, not a ``flock``: a forked
child does not inherit it, so that what a dead parent had is not locked for as long as the child lives.
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
        os.lseek(fd, 1 << 30, os.SEEK_SET)  # far behind the pid: what is locked there cannot be read
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
else:
    from fcntl import LOCK_EX, LOCK_NB, lockf

    def _lock(fd: int) -> None:
        lockf(fd, LOCK_EX | LOCK_NB)


__all__ = ["FileLock"]

SUFFIX: Final = "-lock"

_TAKEN: Final = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})

_held: Final[dict[tuple[int, str], FileLock]] = {}
"""By pid and path. The system gives a process its own lock a second time, and takes both back at the first close."""


class FileLock:
    """The lock on ``path``, which has no link in it, until ``release``.

    Raises ``StoreLocked`` where it is held, by this process or another one, and ``StoreUnavailable`` where the folder
    cannot be written to.
    """

    def __init__(self, path: str) -> None:
        self._path = path + SUFFIX
        self._key = (os.getpid(), path)
        self._is_lost = False
        if _held.setdefault(self._key, self) is not self:
            raise StoreLocked(f"{path} is another engine's in this process: close that one first")
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
                raise StoreLocked(f"{path} is in use by another engine{pid}: one at a time") from None
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # its holder took the file away between the two steps: this lock is on nothing

    def _is_named(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _sign(self, fd: int) -> None:
        with suppress(OSError):  # such as a full disk: the pid is only for the message
            os.ftruncate(fd, 0)
            os.write(fd, f"{os.getpid()}\n".encode())

    def hold(self) -> None:
        """Take it again where somebody has removed the file, taking it for one that was left behind.

        Raises ``StoreLocked`` where another process has it by now, and from then on; and what the making of one raises.
        """
        path = self._key[1]
        if self._is_lost:
            raise StoreLocked(f"{path} has been in use by another engine: what this one knows is out of date")
        if not self._is_named(self._fd):
            try:
                fd = self._take(path)
            except StoreLocked:
                self._is_lost = True
                raise
            os.close(self._fd)
            self._fd = fd

    def release(self) -> None:
        """Let go of it. In a forked child, which does not have it: nothing."""
        if _held.get(self._key) is not self or self._key[0] != os.getpid():
            return
        with suppress(OSError):  # Windows does not remove what is open
            if self._is_named(self._fd):
                os.unlink(self._path)
        os.close(self._fd)
        del _held[self._key]


def _signature(fd: int) -> str:
    """What the holder wrote, as a part of a sentence."""
    try:
        pid = int(os.pread(fd, 20, 0)) if hasattr(os, "pread") else int(os.read(fd, 20))
    except (OSError, ValueError):
        return ""
    return f", process {pid}"
