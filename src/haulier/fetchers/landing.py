"""How a file comes to its place: ``NAME.part`` while it grows, ``NAME`` once it is complete and on disk."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final, Literal, TypeAlias

from haulier.errors import PermanentError
from haulier.fetchers.faults import not_written
from haulier.fetchers.filenames import numbered
from haulier.fetchers.origin import Mark, mark_of, write_mark
from haulier.fetchers.parts import OPEN_FLAGS, Begun, Part, part_path, take_part, tidy

__all__ = ["Landing", "Overwrite", "present"]

Overwrite: TypeAlias = Literal["never", "changed", "always"]

_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_BUFFER_BYTES: Final = 64 * 1024
_MOST_LOOKED_AT: Final = 100
"""Files of one name that are looked at for a mark: beyond it, a file is fetched once more rather than searched for."""


class Landing:
    """One file on its way to ``name`` (relative, safe) in ``dest``; use it in a ``with`` statement.

    ``key``: of the download, see ``origin.key_of``. Where the name is taken, by a file or by another download, it
    becomes ``NAME (1).ext`` and so on. ``overwrite='always'`` replaces a file that is there; ``'changed'`` only one
    that carries this download's mark. A link or a folder is never replaced.

    Without a successful ``land()`` the part stays only where ``note`` said that it can be gone on with.

    Everything here raises ``FetchError`` where another attempt may help (disk full), else ``PermanentError``.
    """

    def __init__(self, dest: Path, name: str, key: str, *, overwrite: Overwrite = "never") -> None:
        folder, _, self._name = name.rpartition("/")
        self._begun_as = self._name
        self._root, self._dest = dest, dest / folder
        self._key = key
        self._overwrite = overwrite
        self._part: Part | None = None
        self._file: BinaryIO | None = None
        self._number = 0
        self._goes_on = False
        self.begun: Begun | None = None
        """What is in the part already; None: nothing that can be gone on with."""
        self.length = 0
        """Bytes in the part."""

    def __enter__(self) -> Landing:
        with self._explained():
            self._open(self._left_behind())
        if self._part is not None:
            self.begun = self._part.begun
        if self.begun is not None:
            assert self._file is not None
            self._goes_on = True
            self.length = self._file.seek(0, os.SEEK_END)
        return self

    def __exit__(self, *exc_info: object) -> None:
        part, file = self._part, self._file
        self._part = self._file = None
        if file is None:
            return
        with suppress(OSError):
            file.flush()
        if part is not None:
            kept = False
            with suppress(OSError):
                kept = self._goes_on and os.fstat(part.fd).st_size > 0
            if kept:
                _numbers.keep(self._dest, self._name, self._key, self._number)
            else:
                part.remove()
        with suppress(OSError):
            file.close()

    def restart(self) -> None:
        """Throw away what is there."""
        if self._file is not None:
            with self._explained():
                self._file.seek(0)
                self._file.truncate()
        self.begun, self.length, self._goes_on = None, 0, False

    def note(self, etag: str | None, last_modified: str | None, size: int | None, *, resumable: bool) -> None:
        """Begin, before the first byte: say what the file is, and whether it can be gone on with if it breaks off."""
        if self._part is None:
            with self._explained():
                make_folder(self._root, self._dest)
                self._open(self._taken())
        assert self._part is not None
        self._goes_on = resumable and bool(etag or last_modified)
        with self._explained():
            self._part.describe(self._key, Begun(0, etag, last_modified, size) if self._goes_on else None)

    def discard(self) -> None:
        """What is in the part is worth nothing: have nothing stay."""
        self._goes_on = False

    def write(self, chunk: bytes) -> None:
        """Add ``chunk``."""
        assert self._file is not None
        with self._explained():
            self._file.write(chunk)
        self.length += len(chunk)

    def digest(self, algorithm: str) -> str:
        """The hash of all that is in the part, in hex. ``algorithm`` as ``hashlib.new`` takes it."""
        assert self._file is not None
        with self._explained():
            self._file.flush()
            self._file.seek(0)
            found = hashlib.file_digest(self._file, algorithm)  # type: ignore[arg-type]  # it has a readinto
            self._file.seek(0, os.SEEK_END)
        return found.hexdigest()

    def land(self, name: str | None = None, *, mtime: float | None = None, mark: Mark | None = None) -> Path:
        """Make it durable, give it its name (by default the one it began with), and say where it is.

        ``mtime``: its modification time, UTC seconds.
        """
        part, file = self._part, self._file
        assert part is not None
        assert file is not None
        if name is not None and name != self._name:
            self._name, self._number = name, 0
        with self._explained():
            file.flush()
            if mtime is not None:
                with suppress(OSError, OverflowError, ValueError):
                    os.utime(part.fd if os.utime in os.supports_fd else part.path, (mtime, mtime))
            if mark is not None:
                write_mark(part.fd, mark)
            os.fsync(part.fd)
            if os.name == "nt":
                file.close()  # an open file cannot be renamed there
            final = self._named()
            self._part = None
            with suppress(OSError):
                part.sidecar.unlink()
            _sync_folder(self._dest)
        _numbers.forget(self._dest, self._begun_as, self._key)
        return final

    def _open(self, part: Part | None) -> None:
        if part is not None:
            self._part = part
            self._file = os.fdopen(part.fd, "r+b", buffering=_BUFFER_BYTES)

    def _left_behind(self) -> Part | None:
        """The part of this very download that an earlier attempt or process left, if there is one."""
        kept, _ = _numbers.known(self._dest, self._name, self._key)
        number = 0 if kept is None else kept
        while os.path.lexists(self._path(number)):
            self._number = number
            part = take_part(self._path(number), self._key, create=False)
            if part is not None or number >= _MOST_LOOKED_AT:
                return part
            number += 1
        return None

    def _taken(self) -> Part:
        """A part whose final name, as far as can be seen, is free."""
        first, number = _numbers.known(self._dest, self._name, self._key)[1], 0
        while True:
            is_free = self._overwrite != "never" or not os.path.lexists(self._dest / numbered(self._name, number))
            part = take_part(self._path(number), self._key, create=is_free)
            if part is not None:
                self._number = number
                _numbers.took(self._dest, self._name, number)
                return part
            number = max(number + 1, first)

    def _path(self, number: int) -> Path:
        return part_path(self._dest, numbered(self._name, number))

    def _named(self) -> Path:
        """Give the part its name: one that is free, in one step of the file system, or one that is to be replaced."""
        assert self._part is not None
        number = self._number if self._overwrite == "never" else 0
        while True:
            final = self._dest / numbered(self._name, number)
            if number == 0 and self._may_replace(final):
                self._part.path.replace(final)
                return final
            try:
                _move_if_free(self._part.path, final)
            except FileExistsError:
                if number or not self._may_replace(final):  # else it has turned up just now
                    number = max(number + 1, _numbers.known(self._dest, self._name, self._key)[1])
            else:
                _numbers.took(self._dest, self._name, number)
                return final

    def _may_replace(self, final: Path) -> bool:
        if self._overwrite == "never" or not _is_plain_file(final):
            return False
        mark = mark_of(final)
        return self._overwrite == "always" or (mark is not None and mark.key == self._key)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        failure: OSError | None = None
        try:
            yield
        except OSError as exc:
            failure = exc
        if failure is not None:
            raise not_written(failure, self._name, str(self._dest))


def present(dest: Path, name: str, key: str) -> Path | None:
    """The finished file of this very download, if it carries its mark: ``name``, or a numbered one next to it."""
    number = 0
    while True:
        path = dest / numbered(name, number)
        mark = mark_of(path)
        if mark is not None and mark.key == key and _is_plain_file(path):
            tidy(part_path(path.parent, path.name), key)
            return path
        if not os.path.lexists(path) or number >= _MOST_LOOKED_AT:
            return None
        number += 1


class _Numbers:
    """Which numbers of a name this process has used, so that the thousandth file of one name need not try them all."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._next: dict[tuple[Path, str], int] = {}
        self._kept: dict[tuple[Path, str, str], int] = {}

    def known(self, dest: Path, name: str, key: str) -> tuple[int | None, int]:
        """The number of the part that was kept of this download, if any, and the first that nobody has used."""
        with self._lock:
            return self._kept.get((dest, name, key)), self._next.get((dest, name), 0)

    def took(self, dest: Path, name: str, number: int) -> None:
        """A number is used."""
        if number:  # most names are used once, and need no place in memory
            with self._lock:
                self._next[dest, name] = max(self._next.get((dest, name), 0), number + 1)

    def keep(self, dest: Path, name: str, key: str, number: int) -> None:
        """The part of this number is kept for another attempt."""
        with self._lock:
            self._kept[dest, name, key] = number

    def forget(self, dest: Path, name: str, key: str) -> None:
        """It has landed."""
        with self._lock:
            self._kept.pop((dest, name, key), None)


_numbers: Final = _Numbers()


def make_folder(root: Path, folder: Path) -> None:
    """Make ``root`` and, inside it, ``folder``. Raises ``PermanentError`` where a link in between leads elsewhere."""
    root.mkdir(parents=True, exist_ok=True)
    below = root
    for name in folder.relative_to(root).parts:
        below = below / name
        with suppress(FileExistsError):
            below.mkdir()
        if not stat.S_ISDIR(os.lstat(below).st_mode):
            raise PermanentError(f"cannot write into {str(below)!r}: it is a link or a file, and no folder")


def _is_plain_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
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
    os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN_FLAGS, 0o666))
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
