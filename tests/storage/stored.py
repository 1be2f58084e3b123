"""What a storage has, as a test reads it."""

from __future__ import annotations

from haulier._engine.storage import Row, Storage


def stored_rows(storage: Storage) -> list[Row]:
    return list(storage.load().rows)


def stored_ids(storage: Storage) -> list[str]:
    return [row.id for row in storage.load().rows]
