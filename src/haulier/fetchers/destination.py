"""Find finished files and free names in the destination, and give a file its name."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final, Literal, TypeAlias, get_args

from haulier.errors import PermanentError
from haulier.fetchers.filenames import numbered
from haulier.fetchers.origin import mark_of
from haulier.fetchers.parts import OPEN_FLAGS, part_path, tidy

__all__ = [
    "MOST_LOOKED_AT",
    "Overwrite",
    "find_twin",
    "folder_for",
    "give_name",
    "is_plain_file",
    "make_folder",
    "numbers",
    "present",
    "sync",
    "sync_folder",
]

Overwrite: TypeAlias = Literal["never", "changed", "always"]

MOST_LOOKED_AT: Final = 100
"""How many numbered files of one name are searched for a file that is there. Beyond that it is fetched again."""

_NOT_FOR_WANT_OF_LINKS: Final = frozenset(
    {errno.EEXIST, errno.ENOENT, errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO}
)
"""Why a hard link fails where the file system has them. Without them, file systems report errors of many kinds."""

_NO_FSYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EPERM})
_CHUNK_BYTES: Final = 1024 * 1024


def checked_overwrite(overwrite: Overwrite | bool) -> Overwrite:
    """The setting that ``overwrite`` stands for. Raises ``ValueError`` if it is invalid."""
    if isinstance(overwrite, bool):
        return "always" if overwrite else "never"
    if overwrite not in get_args(Overwrite):
        raise ValueError(f"overwrite must be one of {', '.join(get_args(Overwrite))}, not {overwrite!r}")
    return overwrite


def present(dest: Path, name: str, key: str) -> Path | None:
    """The finished file with the mark of the download ``key``: ``name`` or a numbered one. None if there is none."""
    number = 0
    place = dest / name
    while True:
        path = place.with_name(numbered(place.name, number))  # not of the whole path: a folder may have a dot in it
        mark = mark_of(path)
        if mark is not None and mark.key == key and is_plain_file(path):
            tidy(part_path(path.parent, path.name), key)
            return path
        if not os.path.lexists(path) or number >= MOST_LOOKED_AT:
            return None
        number += 1


def find_twin(part: Path, path: Path, key: str, overwrite: Overwrite) -> Path | None:
    """The file that makes ``part`` superfluous: ``path``, or a numbered one next to it. None if there is none.

    - A file without a mark that has the same content: an earlier run may have left it, where no mark can be written.
    - With ``overwrite='never'``, a file that carries the mark of this download: another process was faster.
    """
    number = 0
    while overwrite != "always" and number <= MOST_LOOKED_AT:
        twin = path.with_name(numbered(path.name, number))
        if is_plain_file(twin):
            mark = mark_of(twin)
            if mark is None and _same_content(part, twin):
                return twin
            if mark is not None and mark.key == key and overwrite == "never":
                return twin
        elif not os.path.lexists(twin) and not os.path.lexists(part_path(path.parent, twin.name)):
            return None
        number += 1
    return None


def _same_content(one: Path, other: Path) -> bool:
    """Whether two files have the same bytes. A file that cannot be read counts as another one."""
    try:
        if one.stat().st_size != other.stat().st_size:
            return False
        with one.open("rb") as first, other.open("rb") as second:
            while chunk := first.read(_CHUNK_BYTES):
                if chunk != second.read(_CHUNK_BYTES):
                    return False
    except OSError:
        return False
    return True


def give_name(part: Path, path: Path, key: str, overwrite: Overwrite, number: int = 0) -> Path:
    """Rename ``part`` to ``path``, in one step of the file system: to a free name, or in place of a replaceable file.

    With ``overwrite='never'``, ``number`` is the first number to try. Returns the final path.
    """
    folder, name = path.parent, path.name
    if overwrite != "never":
        number = 0
    while True:
        final = folder / numbered(name, number)
        if number == 0 and _may_replace(final, key, overwrite):
            part.replace(final)
            return final
        try:
            _move_if_free(part, final)
        except FileExistsError:
            if number or not _may_replace(final, key, overwrite):  # else the file appeared just now
                number = max(number + 1, numbers.known(folder, name, key)[1])
        else:
            numbers.took(folder, name, number)
            return final


def _may_replace(final: Path, key: str, overwrite: Overwrite) -> bool:
    if overwrite == "never" or not is_plain_file(final):
        return False
    mark = mark_of(final)
    return overwrite == "always" or (mark is not None and mark.key == key)


class _Numbers:
    """The numbers that this process has used for each name. So the thousandth file of a name need not try them all."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._next: dict[tuple[Path, str], int] = {}
        self._kept: dict[tuple[Path, str, str], int] = {}

    def known(self, dest: Path, name: str, key: str) -> tuple[int | None, int]:
        """The number of the part that was kept of this download, or None, and the first unused number."""
        with self._lock:
            return self._kept.get((dest, name, key)), self._next.get((dest, name), 0)

    def took(self, dest: Path, name: str, number: int) -> None:
        """Record that ``number`` is used."""
        if number:  # most names are used once, and need no place in memory
            with self._lock:
                self._next[dest, name] = max(self._next.get((dest, name), 0), number + 1)

    def give_back(self, dest: Path, name: str, number: int) -> None:
        """Make a number free again, unless a higher one is used by now."""
        with self._lock:
            if self._next.get((dest, name)) == number + 1:
                self._next[dest, name] = number

    def keep(self, dest: Path, name: str, key: str, number: int) -> None:
        """Keep the number of a partial file for another attempt."""
        with self._lock:
            self._kept[dest, name, key] = number

    def forget(self, dest: Path, name: str, key: str) -> None:
        """Drop the number that was kept for a partial file: the file has its final name."""
        with self._lock:
            self._kept.pop((dest, name, key), None)


numbers: Final = _Numbers()


def make_folder(root: Path, folder: Path) -> Path:
    """Make ``root`` and, inside it, ``folder``. Returns its path, which differs where a file has the name of a folder.

    A site may have both ``/docs`` and ``/docs/index.html``: the folder of the second becomes ``docs (1)``, if the first
    landed as the file ``docs``. Raises ``PermanentError`` if a link in between leads elsewhere.
    """
    root.mkdir(parents=True, exist_ok=True)
    below = root
    for name in folder.relative_to(root).parts:
        number = 0
        while True:
            path = below / numbered(name, number)
            with suppress(FileExistsError):
                path.mkdir()
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                raise PermanentError(f"cannot write into {str(path)!r}: it is a link or a file, and no folder")
            if stat.S_ISDIR(mode):
                break
            number += 1
        below = path
    return below


def folder_for(root: Path, folder: str) -> str:
    """Where in ``root`` ``make_folder`` would make ``folder`` now. Both are relative, with '/', or ''."""
    below = root
    for name in filter(None, folder.split("/")):
        number = 0
        while is_plain_file(below / numbered(name, number)):
            number += 1
        below = below / numbered(name, number)
    return "" if below == root else below.relative_to(root).as_posix()


def is_plain_file(path: Path) -> bool:
    """Whether ``path`` is a regular file. A link is not."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _move_if_free(part: Path, final: Path) -> None:
    """Rename ``part`` to ``final``. Raises ``FileExistsError`` if ``final`` exists."""
    if os.name == "nt":
        part.rename(final)  # never replaces there
        return
    try:
        os.link(part, final)
    except (OSError, AttributeError) as exc:  # some builds of Python have no link
        if isinstance(exc, OSError) and exc.errno in _NOT_FOR_WANT_OF_LINKS:
            raise
    else:
        with suppress(OSError):
            part.unlink()
        return
    # Without hard links (FAT, some network shares) an empty file reserves the name until the real one replaces it.
    os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN_FLAGS, 0o666))
    try:
        part.replace(final)
    except BaseException:
        final.unlink(missing_ok=True)
        raise


def sync(fd: int) -> None:
    """Put the content of an open file on disk. Does nothing on a file system without fsync."""
    try:
        os.fsync(fd)
    except OSError as exc:
        if exc.errno not in _NO_FSYNC:
            raise


def sync_folder(folder: Path) -> None:
    """Put the names in ``folder`` on disk. Does nothing on a file system that cannot do this."""
    if os.name == "nt":
        return
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
