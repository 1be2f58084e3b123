"""Where the files go that yt-dlp makes: their names, and which existing files they replace."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Final

from yt_dlp.utils import MEDIA_EXTENSIONS

from haulier.errors import PermanentError
from haulier.fetchers.destination import (
    MOST_LOOKED_AT,
    Overwrite,
    find_twin,
    give_name,
    make_folder,
    sync,
    sync_folder,
)
from haulier.fetchers.faults import explained
from haulier.fetchers.filenames import MAX_NAME_BYTES, numbered, safe_filename
from haulier.fetchers.origin import Mark, mark_of, write_mark
from haulier.fetchers.sums import Expected
from haulier.fetchers.urls import redacted
from haulier.fetchers.ytdlp.attempt import Made

__all__ = ["AlreadyThere", "Order"]

_BEGUN: Final = "begun"
_WHOLE: Final = "whole"
"""The etags of a list's folder, before and after all of the list is in it."""

_MEDIA: Final = frozenset((*MEDIA_EXTENSIONS.video, *MEDIA_EXTENSIONS.audio))
_NUMBER_BYTES: Final = len(" (9999)")
_LONG: Final = 100
"""Characters of a name after which it may have been cut."""


class AlreadyThere(Exception):
    """The medium has been downloaded already."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path


@dataclass
class Order:
    """A download of the page ``url``, whose ``key`` is ``origin.key_of``, into ``folder`` of ``root``.

    ``wanted``: the name that was asked for; '' for none.
    """

    url: str
    key: str
    root: Path
    folder: Path
    wanted: str
    overwrite: Overwrite
    fingerprint: str = ""
    """A hash of what the site says of the medium."""
    there: Path | None = None
    """The file or folder of this page that was here, and is fetched again."""

    def look(self, title: str, fingerprint: str, *, unmistakable: bool) -> None:
        """Raise ``AlreadyThere`` if the medium called ``title`` need not be fetched.

        ``unmistakable``: no other page's file would be called so, also if it carries no mark.
        """
        self.fingerprint = fingerprint
        if self.overwrite == "always":
            return
        there = self._found(self.wanted or title, unmistakable=unmistakable and not self.wanted)
        if there is not None and (self.overwrite == "never" or _is(there, fingerprint)):
            raise AlreadyThere(there)
        self.there = there

    def land(self, made: list[Made], list_title: str, expected: Expected) -> Path:
        """Give all files their final names. Returns the path of the file, or of a list's folder ('' for none).

        Raises ``FetchError`` or ``PermanentError``.
        """
        if not made:
            raise PermanentError("there is nothing to download")
        if list_title and expected.of_request is not None:
            raise PermanentError("a checksum is of one file, and this is a list")
        with explained(self.wanted or list_title or made[0].title, str(self.folder)):
            self.folder = make_folder(self.root, self.folder)
            title = _without_suffix(self.wanted) or made[0].title
            for each in made:
                checksum = expected.named((each.title if list_title else title) + each.path.suffix)
                if checksum is not None:
                    checksum.verify(each.path)
            if list_title:
                return self._list(made, self.wanted or list_title)
            final = self._file(made[0], self.folder, title, Mark(self.key, self.fingerprint, redacted(self.url)))
            if self.there is not None and self.there != final and self.there.is_file():
                self.there.unlink()  # ours, in its old form: with another suffix
            return final

    def _found(self, title: str, *, unmistakable: bool) -> Path | None:
        """Return the complete file or folder of this page that is here already."""
        stem = _without_suffix(title)
        named = re.compile(re.escape(stem) + r"( \(\d+\))?(\.\w+)?")
        try:
            names = [each for each in os.listdir(self.folder) if each.startswith(stem[:_LONG])]
        except OSError:
            return None
        names = [each for each in names if len(stem) > _LONG or named.fullmatch(each)]
        for path in sorted(self.folder / each for each in names)[:MOST_LOOKED_AT]:
            mark = mark_of(path)
            if mark is not None and mark.key == self.key and mark.etag != _BEGUN:
                return path
            if mark is None and unmistakable and _is_media(path.name) and path.stem == stem and not path.is_symlink():
                return path
        return None

    def _file(self, made: Made, folder: Path, title: str, mark: Mark, overwrite: Overwrite | None = None) -> Path:
        """Move one medium and its companion files to their names."""
        overwrite = overwrite or self.overwrite
        suffixes = {each: each.name.removeprefix(made.path.stem) for each in (made.path, *made.beside)}
        room = MAX_NAME_BYTES - _NUMBER_BYTES - max(len(suffix.encode()) for suffix in suffixes.values())
        title = safe_filename(title.encode()[:room].decode(errors="ignore")) or "media"
        _finish(made.path, mark)
        final = _give_name(made.path, folder / (title + made.path.suffix), mark.key, overwrite)
        for each in made.beside:
            # A key of its own: otherwise it would be mistaken for the medium.
            key = _key(mark.key, suffixes[each])
            _finish(each, mark._replace(key=key))
            _give_name(each, final.with_name(final.stem + suffixes[each]), key, overwrite)
        sync_folder(folder)
        return final

    def _list(self, made: list[Made], name: str) -> Path:
        """Move all media of a list into its folder."""
        folder = self._list_folder(name)
        shown = redacted(self.url)
        _finish(folder, Mark(self.key, _BEGUN, shown))
        for each in made:
            # A key for each: otherwise the second of two equal titles would get the name of the first.
            self._file(each, folder, each.title, Mark(_key(self.key, each.path.parent.name), None, shown), "changed")
        _finish(folder, Mark(self.key, _WHOLE, shown))
        sync_folder(self.folder)
        return folder

    def _list_folder(self, name: str) -> Path:
        number = 0
        while True:
            path = self.folder / numbered(name, number)
            try:
                path.mkdir()
            except FileExistsError:
                mark = mark_of(path)
                if mark is None or mark.key != self.key or path.is_symlink() or not path.is_dir():
                    number += 1
                    continue
            return path


def _is(there: Path, fingerprint: str) -> bool:
    mark = mark_of(there)
    return mark is not None and mark.etag == fingerprint


def _key(key: str, part: str) -> str:
    return sha256(f"{key} {part}".encode()).hexdigest()


def _is_media(name: str) -> bool:
    suffix = PurePosixPath(name).suffix.lower().removeprefix(".")
    return suffix in _MEDIA


def _without_suffix(name: str) -> str:
    """Return ``name`` without a suffix: the medium brings its own."""
    return PurePosixPath(name).stem if _is_media(name) else name


def _finish(path: Path, mark: Mark) -> None:
    """Mark a complete file or folder, and flush it to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        write_mark(fd, mark)
        sync(fd)
    finally:
        os.close(fd)


def _give_name(made: Path, path: Path, key: str, overwrite: Overwrite) -> Path:
    """Move ``made`` to its name, or remove it if the same file is there already. Returns the path of the file."""
    twin = find_twin(made, path, key, overwrite)
    if twin is None:
        return give_name(made, path, key, overwrite)
    made.unlink()
    return twin
