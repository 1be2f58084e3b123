"""Where the record store writes to: a file, PostgreSQL, or dicts. ``open_storage`` opens what a program names."""

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
_SCHEME: Final = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]+://")  # two letters at least: C:// is a drive
_MISSPELT: Final = re.compile(r"\s*postgres(ql)?:/|.*\bpassword\s*=", re.IGNORECASE | re.DOTALL)
"""What somebody meant for PostgreSQL. Taken for a path, the password in it would be shown, or be a file's name."""


def open_storage(
    where: str | os.PathLike[str], name: str = "default", synchronous: Literal["full", "normal"] = "full"
) -> Storage:
    """The storage at ``where``: the path of a file, made where there is none, or a ``postgresql://`` URL.

    ``name``: the engine's, 1 to 48 letters, digits, ``_`` and ``-``. Engines of different names share a PostgreSQL
    database; a file is one engine's alone, whatever its name. ``synchronous``: ``'full'``: what was written survives
    power loss; ``'normal'``: not necessarily the latest of it.

    Raises ``ValueError`` or ``TypeError`` for arguments that make no sense, ``ImportError`` where psycopg is missing,
    ``StoreLocked`` where another engine has it, ``StoreUnavailable`` where it cannot be used: that is left as it is.
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
        raise ValueError("':memory:' is no file: leave the store out, and records are kept in memory")
    if not place or "\0" in place:
        raise ValueError(f"the path of a store must not be empty or have a NUL in it: {place!r}")
    if isinstance(where, str) and (scheme := _SCHEME.match(place)):
        raise ValueError(f"a store is the path of a file or a postgresql:// URL, not {scheme[0].strip()}…")
    if _MISSPELT.match(place):
        raise ValueError("a store in PostgreSQL is named by a str that begins with postgresql:// or postgres://")
    from haulier._engine.storage.sqlite import SqliteStorage  # here: what is not used need not be there

    return SqliteStorage(place, synchronous)


def _open_postgres(url: str, name: str, synchronous: Literal["full", "normal"]) -> Storage:
    try:
        from haulier._engine.storage.postgres import PostgresStorage
    except ImportError as error:
        raise ImportError(f"a store in PostgreSQL needs psycopg: pip install 'haulier[postgres]' ({error})") from error
    return PostgresStorage(url, name, synchronous)
