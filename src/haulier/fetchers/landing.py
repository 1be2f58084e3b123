"""How a file comes to its place: ``NAME.part`` while it grows, ``NAME`` once it is complete and on disk.

A part belongs to whoever holds its lock *and* finds it under its name: only the owner writes, renames or removes it.
A part without an owner was left by a process that was killed, and makes way.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from haulier.fetchers.faults import not_written
from haulier.fetchers.filenames import PART_SUFFIX, numbered

try:
    from fcntl import LOCK_EX, LOCK_NB, flock

    _LOCKS = True
except ImportError:  # Windows: no part is ever taken for abandoned
    _LOCKS = False

__all__ = ["Landing"]

_FLAGS: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_BUFFER_BYTES: Final = 64 * 1024


class Landing:
    """One file on its way to ``name`` in ``dest``; use it in a ``with`` statement.

    Where the name is taken, by a file or by another download, it becomes ``NAME (1).ext`` and so on; with
    ``overwrite`` it replaces what is there. Without a successful ``land()`` nothing of it stays.

    Everything here raises ``FetchError`` where another attempt may help (disk full), else ``PermanentError``.
    """

    def __init__(self, dest: Path, name: str, *, overwrite: bool = False) -> None:
        self._dest = dest
        self._name = name
        self._overwrite = overwrite
        self._number = 0
        self._part: Path | None = None
        self._file: BinaryIO | None = None

    def __enter__(self) -> Landing:
        with self._explained():
            self._dest.mkdir(parents=True, exist_ok=True)
            self._file = os.fdopen(self._reserve(), "wb", buffering=_BUFFER_BYTES)
        return self

    def __exit__(self, *exc_info: object) -> None:
        part, file = self._part, self._file
        self._part = self._file = None
        if part is not None and os.name != "nt":
            with suppress(OSError):
                part.unlink()  # while the lock is held: the name may be another's right after
        if file is not None:
            with suppress(OSError):
                file.close()
        if part is not None and os.name == "nt":
            with suppress(OSError):
                part.unlink()

    def write(self, chunk: bytes) -> None:
        """Add ``chunk``."""
        assert self._file is not None
        with self._explained():
            self._file.write(chunk)

    def land(self) -> Path:
        """Make it durable, give it its name, and say where it is."""
        assert self._file is not None
        assert self._part is not None
        with self._explained():
            self._file.flush()
            os.fsync(self._file.fileno())
            if os.name == "nt":
                self._file.close()  # an open file cannot be renamed there
            final = self._overwritten() if self._overwrite else self._claimed()
            self._part = None
            _sync_folder(self._dest)
        return final

    def _reserve(self) -> int:
        """A descriptor of a new part whose final name, as far as can be seen, is free."""
        while True:
            name = numbered(self._name, self._number)
            if self._overwrite or not os.path.lexists(self._dest / name):
                part = self._dest / (name + PART_SUFFIX)
                fd = _new_part(part)
                if fd is not None:
                    self._part = part
                    return fd
            self._number += 1

    def _overwritten(self) -> Path:
        assert self._part is not None
        final = self._dest / self._name
        self._part.replace(final)
        return final

    def _claimed(self) -> Path:
        """Take the first free name from the reserved one on, in one step of the file system: nobody is overwritten."""
        assert self._part is not None
        while True:
            final = self._dest / numbered(self._name, self._number)
            try:
                _move_if_free(self._part, final)
            except FileExistsError:
                self._number += 1
            else:
                return final

    @contextmanager
    def _explained(self) -> Iterator[None]:
        failure: OSError | None = None
        try:
            yield
        except OSError as exc:
            failure = exc
        if failure is not None:
            raise not_written(failure, self._name, str(self._dest))


def _new_part(part: Path) -> int | None:
    """A descriptor of ``part``, new, empty and locked; None where the name is somebody else's."""
    for _ in range(10):
        try:
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o666)
        except FileExistsError:
            if not _remove_abandoned(part):
                return None
            continue
        if _own(fd, part, unlocked_will_do=True):
            return fd
        os.close(fd)  # between the creation and the lock somebody took it for abandoned
    return None


def _remove_abandoned(part: Path) -> bool:
    """Remove the part of a process that was killed. False: it is in use, or no part of ours (a link, a folder)."""
    if not _LOCKS:
        return False
    try:
        fd = os.open(part, os.O_RDWR | os.O_NONBLOCK | _FLAGS)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode) or not _own(fd, part, unlocked_will_do=False):
            return False
        os.unlink(part)  # and never written to: it may be a hard link to something precious
        return True
    finally:
        os.close(fd)


def _own(fd: int, part: Path, *, unlocked_will_do: bool) -> bool:
    """Lock the open part, and see that its name still means it.

    ``unlocked_will_do``: the answer where the file system has no locks.
    """
    if not _LOCKS:
        return unlocked_will_do
    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return unlocked_will_do
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(part))
    except FileNotFoundError:
        return False


def _move_if_free(part: Path, final: Path) -> None:
    """Rename, but raise ``FileExistsError`` where ``final`` exists."""
    if os.name == "nt":
        part.rename(final)  # never replaces there
        return
    try:
        os.link(part, final)
    except OSError as exc:
        if exc.errno not in _NO_HARD_LINKS:
            raise
    else:
        with suppress(OSError):
            part.unlink()
        return
    # No hard links here (FAT, some network shares): an empty file keeps the name until the real one replaces it.
    os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o666))
    try:
        part.replace(final)
    except BaseException:
        final.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """Put the new name itself on disk; a file system that cannot is left alone."""
    if os.name == "nt":
        return
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
