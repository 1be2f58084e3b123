"""Write into the extended attributes of a finished file where it came from, so that a later run recognizes it.

On a file system without them nothing is written. A later run then knows the file by size, date and content alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit

__all__ = ["Mark", "key_of", "mark_of", "write_mark"]

_KEY: Final = "user.haulier.origin"
_ETAG: Final = "user.haulier.etag"
_URL: Final = "user.xdg.origin.url"
"""The name that freedesktop.org proposes, which wget and curl write too."""

_get: Callable[..., bytes] | None = getattr(os, "getxattr", None)
_set: Callable[..., Any] | None = getattr(os, "setxattr", None)


class Mark(NamedTuple):
    """``key``: of the URL, see ``key_of``. ``etag``: strong or weak, if any. ``shown``: the URL without secrets."""

    key: str
    etag: str | None
    shown: str


def key_of(url: str) -> str:
    """The key of ``url`` on disk: its SHA-256 in hex, without user, password and fragment.

    A hash, because the query of a URL may be a secret.
    """
    parts = urlsplit(url.strip())
    place = parts.netloc.rpartition("@")[2].lower()
    return sha256(urlunsplit((parts.scheme, place, parts.path or "/", parts.query, "")).encode()).hexdigest()


def write_mark(fd: int, mark: Mark) -> None:
    """Mark an open file. Does nothing on a file system without extended attributes."""
    for name, value in ((_KEY, mark.key), (_ETAG, mark.etag), (_URL, mark.shown)):
        if _set is not None and value:
            with suppress(OSError):
                _set(fd, name, value.encode())


def mark_of(path: Path) -> Mark | None:
    """The mark of a file; None if there is no file or no mark. Links are not followed."""
    key = _read(path, _KEY)
    return None if key is None else Mark(key, _read(path, _ETAG), _read(path, _URL) or "")


def _read(path: Path, name: str) -> str | None:
    if _get is None:
        return None
    try:
        return _get(path, name, follow_symlinks=False).decode()
    except (OSError, UnicodeDecodeError):
        return None
