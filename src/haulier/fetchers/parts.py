"""Own ``NAME.part``, the file while it grows, and ``NAME.part.json``, the sidecar that describes it.

A partial file belongs to the process that holds its lock *and* finds it under its name. Only the owner writes,
renames or removes it. A partial file without a sidecar of the same download belongs to another program, and stays as it
is.
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
except ImportError:  # Windows: an existing part is never taken over
    _LOCKS = False

__all__ = ["OPEN_FLAGS", "Begun", "FileBusy", "Part", "part_path", "take_part", "tidy"]

OPEN_FLAGS: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_VERSION: Final = 1
_NO_FILE: Final = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV})
"""A link, a folder or a device has the name of the part."""
_LONGEST_SIDECAR: Final = 64 * 1024


_MOST_LOOKS: Final = 20
_LOOK_S: Final = 0.01
"""How often, and after how many seconds, a locked part without a sidecar is looked at again: it may be new."""
_NEVER: Final = Event()


class FileBusy(NotYet):
    """Another download, probably in another process, fetches the same URL into the same folder at present."""


class _Locked(Exception):
    """Another process or download has locked the part."""


class Begun(NamedTuple):
    """What an earlier attempt or process left: the bytes so far, and the validators and the size of the whole file."""

    length: int
    etag: str | None
    last_modified: str | None
    size: int | None


class Part(NamedTuple):
    """A part that this attempt owns: open and locked. It is empty if ``begun`` is None."""

    fd: int
    path: Path
    begun: Begun | None

    @property
    def sidecar(self) -> Path:
        """The path of the sidecar."""
        return _sidecar(self.path)

    def describe(self, key: str, begun: Begun | None) -> None:
        """Write the sidecar. ``begun``: None if the partial file cannot be resumed."""
        values: dict[str, Any] = {"version": _VERSION, "key": key}
        if begun is not None:
            values |= {"etag": begun.etag, "last_modified": begun.last_modified, "size": begun.size}
        fd = os.open(self.sidecar, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | OPEN_FLAGS, 0o666)
        with os.fdopen(fd, "wb") as file:
            file.write(json.dumps(values).encode())  # json.dump would write many small pieces

    def remove(self) -> None:
        """Remove the part and its sidecar. Call it under the lock: later the names may belong to another attempt."""
        for path in (self.path, self.sidecar):
            with suppress(OSError):
                path.unlink()


def take_part(path: Path, key: str, *, create: bool) -> Part | None:
    """The part at ``path``, if it is of the download ``key``, or new; None if it belongs to another download.

    ``create``: whether to make it if there is none. Raises ``FileBusy`` if another download writes the same URL.
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
            # Somebody took the part between its creation and the lock, or it is gone by now: look again.
        except _Locked:
            values = _read_sidecar(_sidecar(path))
            if values is not None and values.get("key") != key:
                return None
            if values is not None:
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
    """Remove the part and the sidecar at ``path`` that a process left that was killed while its file landed.

    Does nothing if they belong to another download than ``key``, or if another download writes them.
    """
    try:
        part = take_part(path, key, create=False)
    except FileBusy:
        return
    if part is not None:
        part.remove()
        os.close(part.fd)
        return
    values = _read_sidecar(_sidecar(path))
    if values is not None and values.get("key") == key and not os.path.lexists(path):
        with suppress(OSError):
            _sidecar(path).unlink()


def _is_ours(fd: int, path: Path, *, existed: bool) -> bool:
    """Lock the open part, and check that it still has its name. Raises ``_Locked`` if the lock is taken."""
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
    values = _read_sidecar(_sidecar(path))
    if values is None:
        # Its process was killed before it wrote the sidecar; if not, nothing is lost, as the part is empty.
        return Part(fd, path, None) if status.st_size == 0 and status.st_nlink == 1 else None
    if values.get("version") != _VERSION or values.get("key") != key:
        return None
    if status.st_nlink > 1:
        # Its process was killed while the file landed: the file has its name already and must not be written to.
        os.unlink(path)
        return None
    etag, modified, size = values.get("etag"), values.get("last_modified"), values.get("size")
    if status.st_size == 0 or not (isinstance(etag, str) or isinstance(modified, str)):
        return Part(fd, path, None)
    return Part(fd, path, Begun(status.st_size, etag, modified, size if isinstance(size, int) else None))


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + SIDECAR_SUFFIX)


def _read_sidecar(sidecar: Path) -> dict[str, Any] | None:
    """The content of a sidecar; None if it is missing or unreadable."""
    try:
        fd = os.open(sidecar, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | OPEN_FLAGS)
        with os.fdopen(fd, "rb") as file:
            values = json.loads(file.read(_LONGEST_SIDECAR))
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def part_path(dest: Path, name: str) -> Path:
    """The path of the part of ``name``."""
    return dest / (name + PART_SUFFIX)
