"""Where what yt-dlp makes goes: under which name, beside what, instead of what."""

from __future__ import annotations

import mimetypes
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Final

from haulier.fetchers.checksums import Checksum
from haulier.fetchers.destination import MOST_LOOKED_AT, Overwrite, give_name, make_folder, sync_folder
from haulier.fetchers.faults import FetchError, explained
from haulier.fetchers.filenames import numbered, safe_filename
from haulier.fetchers.origin import Mark, mark_of, write_mark
from haulier.fetchers.urls import redacted
from haulier.fetchers.ytdlp.attempt import Made

__all__ = ["AlreadyThere", "Order"]

_BEGUN: Final = "begun"
"""The etag of a list's folder that has not all of the list in it."""


class AlreadyThere(Exception):
    """What would be downloaded is here."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path


@dataclass
class Order:
    """What is wanted of the page ``url``, whose ``key`` is ``origin.key_of``: in ``folder`` of ``root``.

    ``wanted``: how somebody wants it to be called; '' for nobody.
    """

    url: str
    key: str
    root: Path
    folder: Path
    wanted: str
    overwrite: Overwrite
    fingerprint: str = ""
    """What the site says of the medium, as a hash."""

    def look(self, title: str, fingerprint: str, *, unmistakable: bool) -> None:
        """Raise ``AlreadyThere`` if what is called ``title`` need not be fetched.

        ``unmistakable``: no other page's file would be called so, also if it carries no mark.
        """
        self.fingerprint = fingerprint
        if self.overwrite == "always":
            return
        there = self._there(self.wanted or title, unmistakable=unmistakable and not self.wanted)
        if there is not None and (self.overwrite == "never" or _is(there, fingerprint)):
            raise AlreadyThere(there)

    def land(self, made: list[Made], list_title: str, checksum: Checksum | None) -> Path:
        """Give all of it its names, on disk; the path of the file, or of the folder of a list.

        Raises ``FetchError`` or ``PermanentError``.
        """
        if not made:
            raise FetchError("yt-dlp found nothing to download there")
        with explained(self.wanted or list_title or made[0].title, str(self.folder)):
            make_folder(self.root, self.folder)
            if list_title:
                return self._list(made, self.wanted or list_title)
            if checksum is not None:
                checksum.verify(made[0].path)
            name = _with_suffix(self.wanted or made[0].title, made[0].path.suffix, chosen=bool(self.wanted))
            return self._file(made[0], self.folder / name, Mark(self.key, self.fingerprint, redacted(self.url)))

    def _there(self, title: str, *, unmistakable: bool) -> Path | None:
        """What is here of this very page, and whole."""
        try:
            entries = [self.folder / each for each in os.listdir(self.folder) if each.startswith(_stem(title))]
        except OSError:
            return None
        for path in sorted(entries)[:MOST_LOOKED_AT]:
            mark = mark_of(path)
            if mark is not None and mark.key == self.key and mark.etag != _BEGUN:
                return path
            if mark is None and unmistakable and path.stem == title and path.is_file() and not path.is_symlink():
                return path
        return None

    def _file(self, made: Made, path: Path, mark: Mark, overwrite: Overwrite | None = None) -> Path:
        """One medium, and what belongs to it."""
        overwrite = overwrite or self.overwrite
        for each in (made.path, *made.beside):
            _finish(each, mark)
        final = give_name(made.path, path, mark.key, overwrite)
        for each in made.beside:
            suffix = each.name[len(made.stem) :]
            give_name(each, final.with_name(final.stem + safe_filename(f"x{suffix}")[1:]), mark.key, overwrite)
        sync_folder(final.parent)
        return final

    def _list(self, made: list[Made], name: str) -> Path:
        """A list: a folder with all of it."""
        folder = self._list_folder(name)
        _finish(folder, Mark(self.key, _BEGUN, redacted(self.url)))
        for each in made:
            # A key for each, or a second one of the same title would take the first one's name.
            key = sha256(f"{self.key} {each.stem}".encode()).hexdigest()
            path = folder / _with_suffix(each.title, each.path.suffix, chosen=False)
            self._file(each, path, Mark(key, None, redacted(self.url)), "changed")
        _finish(folder, Mark(self.key, "whole", redacted(self.url)))
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
                if mark is None or mark.key != self.key or not path.is_dir():
                    number += 1
                    continue
            return path


def _is(there: Path, fingerprint: str) -> bool:
    mark = mark_of(there)
    return mark is not None and mark.etag == fingerprint


def _stem(name: str) -> str:
    """What all the names of a file of this name begin with, however it is numbered and whatever its suffix is."""
    path = PurePosixPath(name)
    return (path.stem if _is_media(name) else name)[:100]


def _is_media(name: str) -> bool:
    return (mimetypes.guess_type(name)[0] or "").startswith(("video/", "audio/"))


def _with_suffix(name: str, suffix: str, *, chosen: bool) -> str:
    """``name`` with the suffix that fits, in place of one that somebody took for it."""
    if chosen and _is_media(name):
        name = PurePosixPath(name).stem
    return safe_filename(name + suffix) or f"media{suffix}"


def _finish(path: Path, mark: Mark) -> None:
    """Mark what is complete, and have it on disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        write_mark(fd, mark)
        os.fsync(fd)
    finally:
        os.close(fd)
