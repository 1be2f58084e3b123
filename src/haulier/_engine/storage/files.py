"""The files of a database: whether a path can be one, and whether the files that are in use are still there."""

from __future__ import annotations

import errno
import os
import stat
from typing import TypeAlias

from haulier.errors import StoreUnavailable

__all__ = ["Identity", "identity", "log_identities", "look", "resolved", "size_of"]

Identity: TypeAlias = tuple[int, int]
"""Device and inode: which file a path names at present."""


def resolved(path: str) -> str:
    """Return ``path`` without symbolic links. Raises ``StoreUnavailable`` if no file can be there."""
    without_links = os.path.realpath(path)
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass  # it is created, unless its folder is missing
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StoreUnavailable(
                f"{os.path.abspath(path)} leads to no file, because its symbolic links form a loop: "
                "remove them, or use another path"
            ) from error
        raise StoreUnavailable(f"{without_links} cannot be used: {error.strerror}") from error
    folder = os.path.dirname(without_links)
    if not os.path.isdir(folder):
        raise StoreUnavailable(f"{without_links} cannot be created: there is no folder {folder}")
    return without_links


def look(path: str) -> int:
    """Return the size of the file in bytes, 0 if there is none.

    Raises ``StoreUnavailable`` if the path cannot be a database.
    """
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return 0
    if not stat.S_ISREG(there.st_mode):
        raise StoreUnavailable(f"{path} is not a regular file")
    if there.st_nlink > 1:  # the log and our lock are named after the path: use by another name would break both
        raise StoreUnavailable(f"{path} has another name (a hard link): remove that name, or copy the file")
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreUnavailable(f"{path} cannot be read and written: it is read-only, or belongs to another user")
    return there.st_size


def identity(path: str) -> Identity | None:
    """Return which file ``path`` names; None if there is none."""
    try:
        there = os.stat(path)
    except OSError:
        return None
    return there.st_dev, there.st_ino


def log_identities(path: str) -> dict[str, Identity | None]:
    """Return which files are the log of the database at ``path`` and its index. They live as long as a connection."""
    return {beside: identity(beside) for beside in (f"{path}-wal", f"{path}-shm")}


def size_of(path: str) -> int:
    """Return the size of a file in bytes; 0 if there is none."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0
