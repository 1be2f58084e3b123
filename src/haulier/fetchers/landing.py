"""Write a file as ``NAME.part``, and name it ``NAME`` once it is complete and on disk."""

from __future__ import annotations

import hashlib
import os
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from haulier.fetchers.destination import (
    MOST_LOOKED_AT,
    Overwrite,
    find_twin,
    give_name,
    make_folder,
    numbers,
    sync,
    sync_folder,
)
from haulier.fetchers.faults import explained
from haulier.fetchers.filenames import numbered
from haulier.fetchers.origin import Mark, write_mark
from haulier.fetchers.parts import Begun, Part, part_path, take_part

__all__ = ["Landing"]

_BUFFER_BYTES: Final = 64 * 1024


class Landing:
    """One file on its way to ``name`` (relative, safe) in ``dest``; use it in a ``with`` statement.

    ``key`` is that of the download, see ``origin.key_of``. If a file or another download has the name, the file is
    named ``NAME (1).ext`` and so on. ``overwrite='always'`` replaces a file that is there; ``'changed'`` only one
    that carries this download's mark. A link or a folder is never replaced.

    Without a successful ``land()`` the partial file stays only if ``note`` said that it can be resumed.

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
        """What the partial file holds already; None if it cannot be resumed."""
        self.length = 0
        """Bytes in the part."""
        self.found_twin = False
        """Whether ``land`` found the file in place, and dropped its own copy."""
        self.found = self.kept = 0
        """Bytes of an earlier attempt that can be resumed, and bytes that stay for the next one."""

    def __enter__(self) -> Landing:
        with self._explained():
            self._open(self._left_behind())
        if self._part is not None:
            self.begun = self._part.begun
        if self.begun is not None:
            assert self._file is not None
            self._goes_on = True
            self.length = self.found = self._file.seek(0, os.SEEK_END)
        return self

    def __exit__(self, *exc_info: object) -> None:
        part, file = self._part, self._file
        self._part = self._file = None
        if file is None:
            return
        with suppress(OSError):
            file.flush()
        if part is not None:
            with suppress(OSError):
                self.kept = os.fstat(part.fd).st_size if self._goes_on else 0
            if self.kept:
                numbers.keep(self._dest, self._name, self._key, self._number)
            else:
                part.remove()
        with suppress(OSError):
            file.close()

    def restart(self) -> None:
        """Empty the part and start from the beginning."""
        if self._file is not None:
            with self._explained():
                self._file.seek(0)
                self._file.truncate()
        self.begun, self.length, self._goes_on = None, 0, False

    def go_on(self) -> bool:
        """Continue behind what was written since ``begun``. Returns False if nothing was, or if nothing can resume."""
        if self.begun is None or self.length <= self.begun.length:
            return False
        self.begun = self.begun._replace(length=self.length)
        return True

    def note(self, etag: str | None, last_modified: str | None, size: int | None, *, resumable: bool) -> None:
        """Describe the file before its first byte, and say whether it can be resumed after an interruption."""
        if self._part is None:
            with self._explained():
                self._dest = make_folder(self._root, self._dest)
                self._open(self._taken())
        assert self._part is not None
        self._goes_on = resumable and bool(etag or last_modified)
        with self._explained():
            self._part.describe(self._key, Begun(0, etag, last_modified, size) if self._goes_on else None)

    def discard(self) -> None:
        """Remove the part at the end, as its content is of no use."""
        self._goes_on = False

    def write(self, chunk: bytes) -> None:
        """Append ``chunk`` to the part."""
        assert self._file is not None
        with self._explained():
            self._file.write(chunk)
        self.length += len(chunk)

    def digest(self, algorithm: str) -> str:
        """The hash of the whole part in hex. ``algorithm`` is a name that ``hashlib.new`` takes."""
        assert self._file is not None
        with self._explained():
            self._file.flush()
            self._file.seek(0)
            found = hashlib.file_digest(self._file, algorithm)  # type: ignore[arg-type]  # it has a readinto
            self._file.seek(0, os.SEEK_END)
        return found.hexdigest()

    def land(self, name: str | None = None, *, mtime: float | None = None, mark: Mark | None = None) -> Path:
        """Make the file durable, give it its name (by default the one it began with), and return its path.

        If the same file is there already (see ``find_twin``), returns its path, and this one is removed.
        ``mtime``: the modification time, UTC seconds.
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
            sync(part.fd)
            if os.name == "nt":
                file.close()  # an open file cannot be renamed there
            place = self._dest / self._name
            twin = find_twin(part.path, place, self._key, self._overwrite)
            self.found_twin = twin is not None
            if twin is not None:
                part.path.unlink()
                numbers.give_back(self._dest, self._begun_as, self._number)
            final = twin or give_name(part.path, place, self._key, self._overwrite, self._number)
            self._part = None
            with suppress(OSError):
                part.sidecar.unlink()
            sync_folder(self._dest)
        numbers.forget(self._dest, self._begun_as, self._key)
        return final

    def _open(self, part: Part | None) -> None:
        if part is not None:
            self._part = part
            self._file = os.fdopen(part.fd, "r+b", buffering=_BUFFER_BYTES)

    def _left_behind(self) -> Part | None:
        """Take the part that an earlier attempt or process left of this download. None if there is none."""
        kept, _ = numbers.known(self._dest, self._name, self._key)
        number = 0 if kept is None else kept
        while os.path.lexists(self._path(number)):
            self._number = number
            part = take_part(self._path(number), self._key, create=False)
            if part is not None or number >= MOST_LOOKED_AT:
                return part
            number += 1
        return None

    def _taken(self) -> Part:
        """Create a part whose final name is free at this moment."""
        first, number = numbers.known(self._dest, self._name, self._key)[1], 0
        while True:
            is_free = self._overwrite != "never" or not os.path.lexists(self._dest / numbered(self._name, number))
            part = take_part(self._path(number), self._key, create=is_free)
            if part is not None:
                self._number = number
                numbers.took(self._dest, self._name, number)
                return part
            number = max(number + 1, first)

    def _path(self, number: int) -> Path:
        return part_path(self._dest, numbered(self._name, number))

    def _explained(self) -> AbstractContextManager[None]:
        return explained(self._name, str(self._dest))
