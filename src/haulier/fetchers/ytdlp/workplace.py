"""The folder that a download of yt-dlp works in, inside the destination: whatever yt-dlp writes, it writes there.

It is called ``HOST KEY.part``, and stays if another attempt, or another process, can resume from what is in it. A
folder of that name is left alone if it belongs to another download, or if another process has locked it.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from haulier.fetchers.destination import make_folder
from haulier.fetchers.faults import FetchError, explained
from haulier.fetchers.filenames import PART_SUFFIX, numbered, safe_filename

try:
    from fcntl import LOCK_EX, LOCK_NB, flock

    _LOCKS = True
except ImportError:  # Windows: an existing folder is never resumed
    _LOCKS = False

__all__ = ["Workplace"]

_ABOUT: Final = "haulier.json"
_VERSION: Final = 1
_MOST: Final = 100
"""How many folders of one download are looked at. Each process that downloads it at the same time has one."""


class Workplace:
    """Use it in a ``with`` statement. Entering takes the folder; leaving removes it, or keeps it for a later attempt.

    Raises ``FetchError`` or ``PermanentError`` if it cannot be made.
    """

    def __init__(self, dest: Path, host: str, key: str) -> None:
        self._dest = dest
        self._name = f"{safe_filename(host)} {key[:12]}"
        self._key = key
        self._fd: int | None = None
        self._keeps = False
        self._seen: dict[str, str] = {}
        self.path = dest
        """The path of the folder, with links resolved."""
        self.found = self.kept = 0
        """Bytes of an earlier attempt that can be resumed, and bytes that stay for the next one."""

    def __enter__(self) -> Workplace:
        with explained(self._name, str(self._dest)):
            make_folder(self._dest, self._dest)
            self._take()
            self.found = self._size()
        return self

    def __exit__(self, *exc_info: object) -> None:
        fd, self._fd = self._fd, None
        worth_it = False
        with suppress(OSError):  # it may have been removed
            worth_it = self._keeps and _LOCKS and bool(set(os.listdir(self.path)) - {_ABOUT})
        if worth_it:
            with suppress(OSError):
                self.kept = self._size()
        else:
            shutil.rmtree(self.path, ignore_errors=True)
        if fd is not None:
            os.close(fd)

    def discard(self) -> None:
        """Remove the folder at the end, because its content is useless or was moved out."""
        self._keeps = False

    def expect(self, slot: str, fingerprint: str, *, goes_on: bool) -> None:
        """Prepare the folder ``slot``, and remove files of another fingerprint from it.

        ``goes_on``: whether files that were begun under the same fingerprint may be resumed.
        """
        if not goes_on or self._seen.get(slot) != fingerprint:
            shutil.rmtree(self.path / slot, ignore_errors=True)
            self._seen[slot] = fingerprint
            self._describe()
        self._keeps = True

    def _take(self) -> None:
        for number in range(_MOST):
            path = self._dest / (numbered(self._name, number) + PART_SUFFIX)
            try:
                path.mkdir()
            except FileExistsError:
                if not self._go_on(path):
                    continue
            else:
                self._own(path)
            return
        raise FetchError(f"{_MOST} processes already download this into {str(self._dest)!r}")

    def _own(self, path: Path) -> None:
        """Take a folder that was created just now."""
        self.path = Path(os.path.realpath(path))
        try:
            if _LOCKS:
                self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                flock(self._fd, LOCK_EX)  # another process that looks at it releases it at once
            self._describe()
        except BaseException:  # such as a full disk
            self.__exit__()
            raise

    def _go_on(self, path: Path) -> bool:
        """Use an existing folder, if it is of this download and no other process works in it."""
        if not _LOCKS:
            return False
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # a file, a link, gone, or not ours to read
            return False
        try:
            flock(fd, LOCK_EX | LOCK_NB)
            values = self._read(path) if os.path.samestat(os.fstat(fd), os.lstat(path)) else {}
        except OSError:
            values = {}
        if values is not None and (values.get("version") != _VERSION or values.get("key") != self._key):
            os.close(fd)
            return False
        self._fd, self.path, self._keeps = fd, Path(os.path.realpath(path)), True
        seen = {} if values is None else values.get("seen")
        self._seen = {str(stem): str(each) for stem, each in seen.items()} if isinstance(seen, dict) else {}
        return True

    def _size(self) -> int:
        """Return the number of bytes of all files in the folder."""
        names = (Path(folder, name) for folder, _, files in os.walk(self.path) for name in files)
        return sum(each.lstat().st_size for each in names if each.name != _ABOUT)

    def _describe(self) -> None:
        values = {"version": _VERSION, "key": self._key, "seen": self._seen}
        begun = self.path / (_ABOUT + ".new")
        begun.write_text(json.dumps(values), encoding="utf-8")
        begun.replace(self.path / _ABOUT)

    @staticmethod
    def _read(path: Path) -> dict[str, Any] | None:
        """Return what the description in a folder says. None if its process was killed before it wrote one."""
        if not set(os.listdir(path)) - {_ABOUT + ".new"}:
            return None
        with suppress(OSError, ValueError):
            values = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
            return values if isinstance(values, dict) else {}
        return {}
