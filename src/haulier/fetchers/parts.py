"""``NAME.part``, the file while it grows, and ``NAME.part.json``, which says whose it is and whether it can go on.

A partial file belongs to the process that holds its lock *and* finds it under its name. Only the owner writes,
renames or removes it.
One without a sidecar of the same download is not ours, and stays as it is.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any, Final, NamedTuple

from haulier.fetchers.faults import NotYet
from haulier.fetchers.filenames import PART_SUFFIX, SIDECAR_SUFFIX

try:
    from fcntl import LOCK_EX, LOCK_NB, flock

    _LOCKS = True
except ImportError:  # Windows: a part that is there is never taken over
    _LOCKS = False

__all__ = ["OPEN_FLAGS", "Begun", "FileBusy", "Part", "part_path", "take_part", "tidy"]

OPEN_FLAGS: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_VERSION: Final = 1
_NO_FILE: Final = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV})
"""What is at the part's place is a link, a folder or a device."""
_LONGEST_SIDECAR: Final = 64 * 1024


_MOST_LOOKS: Final = 20
_LOOK_S: Final = 0.01
"""A locked part without a sidecar was created just now. So often, and so many seconds apart, its sidecar is awaited."""
_NEVER: Final = Event()


class FileBusy(NotYet):
    """Another attempt, most likely in another process, fetches the same URL into the same folder."""


class _Locked(Exception):
    """Somebody else holds the lock of a part."""


class Begun(NamedTuple):
    """What an earlier attempt or process left: so many bytes, of a file with these validators and this size."""

    length: int
    etag: str | None
    last_modified: str | None
    size: int | None


class Part(NamedTuple):
    """A part that is ours now: open, locked and, where ``begun`` is None, empty."""

    fd: int
    path: Path
    begun: Begun | None

    @property
    def sidecar(self) -> Path:
        """The file beside it."""
        return _sidecar(self.path)

    def describe(self, key: str, begun: Begun | None) -> None:
        """Write the sidecar. ``begun``: None if the partial file cannot be resumed."""
        told: dict[str, Any] = {"version": _VERSION, "key": key}
        if begun is not None:
            told |= {"etag": begun.etag, "last_modified": begun.last_modified, "size": begun.size}
        fd = os.open(self.sidecar, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | OPEN_FLAGS, 0o666)
        with os.fdopen(fd, "wb") as file:
            file.write(json.dumps(told).encode())  # in C; 'dump' would write it bit by bit

    def remove(self) -> None:
        """Take both away, while the lock is held: the names may be another's right after."""
        for path in (self.path, self.sidecar):
            with suppress(OSError):
                path.unlink()


def take_part(path: Path, key: str, *, create: bool) -> Part | None:
    """The part at ``path``, if it is of the download ``key``, or new; None if it belongs to another download.

    ``create``: whether to make it if there is none. Raises ``FileBusy`` if somebody works on a part of this download.
    """
    for _ in range(_MOST_LOOKS):
        existed = True
        try:
            fd = os.open(path, os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | OPEN_FLAGS)
        except FileNotFoundError:
            if not create:
                return None
            existed = False
            try:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | OPEN_FLAGS, 0o666)
            except FileExistsError:
                continue
        except OSError as exc:
            if exc.errno in _NO_FILE or (exc.errno == errno.EACCES and os.path.lexists(path)):
                return None
            raise
        part = None
        try:
            if _is_ours(fd, path, existed=existed):
                part = _known(fd, path, key) if existed else Part(fd, path, None)
                if part is not None and part.begun is None:
                    _begin(part, key)
            if part is not None or (existed and path.exists()):
                return part
            # Between the creation and the lock somebody took it, or it is gone by now: look again.
        except _Locked:
            told = _told(_sidecar(path))
            if told is not None and told.get("key") != key:
                return None
            if told is not None:
                raise FileBusy(0.0, f"another download of the same URL writes {path.name!r}") from None
            _NEVER.wait(_LOOK_S)
        finally:
            if part is None:
                os.close(fd)
    return None


def _begin(part: Part, key: str) -> None:
    try:
        os.ftruncate(part.fd, 0)
        part.describe(key, None)
    except BaseException:  # such as a full disk
        part.remove()
        os.close(part.fd)
        raise


def tidy(path: Path, key: str) -> None:
    """Remove what a process that was killed while it landed may have left at ``path`` of the download ``key``."""
    try:
        part = take_part(path, key, create=False)
    except FileBusy:
        return
    if part is not None:
        part.remove()
        os.close(part.fd)
        return
    told = _told(_sidecar(path))
    if told is not None and told.get("key") == key and not os.path.lexists(path):
        with suppress(OSError):
            _sidecar(path).unlink()


def _is_ours(fd: int, path: Path, *, existed: bool) -> bool:
    """Lock the open part, and check that it still has its name. Raises ``_Locked`` if somebody else holds the lock."""
    if not _LOCKS:
        return not existed
    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        raise _Locked from None
    except OSError:
        return not existed  # a file system without locks
    try:
        status = os.fstat(fd)
        return stat.S_ISREG(status.st_mode) and os.path.samestat(status, os.lstat(path))
    except FileNotFoundError:
        return False


def _known(fd: int, path: Path, key: str) -> Part | None:
    status = os.fstat(fd)
    told = _told(_sidecar(path))
    if told is None:
        # A process that was killed between the two names; or somebody's, but then there is nothing in it to lose.
        return Part(fd, path, None) if status.st_size == 0 and status.st_nlink == 1 else None
    if told.get("version") != _VERSION or told.get("key") != key:
        return None
    if status.st_nlink > 1:
        # Killed while it landed: the file has its name already, and must not be written to.
        os.unlink(path)
        return None
    etag, modified, size = told.get("etag"), told.get("last_modified"), told.get("size")
    if status.st_size == 0 or not (isinstance(etag, str) or isinstance(modified, str)):
        return Part(fd, path, None)
    return Part(fd, path, Begun(status.st_size, etag, modified, size if isinstance(size, int) else None))


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + SIDECAR_SUFFIX)


def _told(sidecar: Path) -> dict[str, Any] | None:
    """What a sidecar says; None where there is none, or it is not one of ours."""
    try:
        fd = os.open(sidecar, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | OPEN_FLAGS)
        with os.fdopen(fd, "rb") as file:
            told = json.loads(file.read(_LONGEST_SIDECAR))
    except (OSError, ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def part_path(dest: Path, name: str) -> Path:
    """Where ``name`` grows."""
    return dest / (name + PART_SUFFIX)
