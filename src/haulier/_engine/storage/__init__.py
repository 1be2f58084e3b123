"""What the record store writes to: an SQLite file, PostgreSQL, or dicts. ``open_storage`` opens a storage."""

from __future__ import annotations

import os
import re
from typing import Final, Literal

from haulier._engine.storage.protocol import Batch, Change, GateRow, Loaded, Row, Storage
from haulier.records import Attempt, Cursor, HistoryRow

__all__ = [
    "Attempt",
    "Batch",
    "Change",
    "Cursor",
    "GateRow",
    "HistoryRow",
    "Loaded",
    "Row",
    "Storage",
    "open_storage",
]

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,48}")
_SCHEME: Final = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]+://")  # at least two letters, because C:// is a drive
_MISSPELT: Final = re.compile(r"\s*postgres(ql)?:/|.*\bpassword\s*=", re.IGNORECASE | re.DOTALL)
"""A misspelt PostgreSQL URL. Taken for a path, its password would be shown, or become the name of a file."""


def open_storage(
    where: str | os.PathLike[str], name: str = "default", synchronous: Literal["full", "normal"] = "full"
) -> Storage:
    """Open the storage at ``where``, and lock it.

    - ``where``: the path of an SQLite file, which is created if it is missing, or a ``postgresql://`` URL.
    - ``name``: the engine's name: 1 to 48 letters, digits, ``_`` and ``-``. Engines of different names may share a
      PostgreSQL database. A file belongs to one engine, whatever its name.
    - ``synchronous``: with ``'full'`` every write survives power loss; with ``'normal'`` the latest ones may be lost.

    Raises ``ValueError`` or ``TypeError`` for an invalid argument, ``ImportError`` if psycopg is missing,
    ``StoreLocked`` if another engine uses the storage, and ``StoreUnavailable`` if it cannot be used. A storage that
    cannot be used is left unchanged.
    """
    place = os.fsdecode(where)
    if not isinstance(name, str):
        raise TypeError(f"the engine's name must be a str, not {name!r}")
    if not _NAME.fullmatch(name):
        raise ValueError(f"the engine's name must be 1 to 48 letters, digits, _ and -, not {name!r}")
    if synchronous not in ("full", "normal"):
        raise ValueError(f"synchronous must be 'full' or 'normal', not {synchronous!r}")
    if isinstance(where, str) and place.startswith(("postgresql://", "postgres://")):
        return _open_postgres(place, name, synchronous)
    if place == ":memory:":
        raise ValueError("':memory:' is not a file: leave the store out to keep records in memory")
    if not place or "\0" in place:
        raise ValueError(f"the path of a store must not be empty or contain a NUL, not {place!r}")
    if isinstance(where, str) and (scheme := _SCHEME.match(place)):
        raise ValueError(f"a store must be the path of a file or a postgresql:// URL, not {scheme[0].strip()}…")
    if _MISSPELT.match(place):
        raise ValueError("the URL of a store in PostgreSQL must be a str that begins with postgresql:// or postgres://")
    from haulier._engine.storage.sqlite import SqliteStorage  # imported here, because not every Python has sqlite3

    return SqliteStorage(place, synchronous)


def _open_postgres(url: str, name: str, synchronous: Literal["full", "normal"]) -> Storage:
    try:
        from haulier._engine.storage.postgres import PostgresStorage
    except ImportError as error:
        raise ImportError(f"a store in PostgreSQL needs psycopg: pip install 'haulier[postgres]' ({error})") from error
    return PostgresStorage(url, name, synchronous)
