"""The pool with one lock per record instead of one for all, so that patches of different downloads never wait.

Writers never wait, so they keep the interpreter lock as long as they may. A thread that reads all records waits for
that lock at each record.
"""

from __future__ import annotations

import threading

from benchmarks.contenders import Record
from benchmarks.contenders.pool import PoolPerSource

__all__ = ["PoolWithLocks", "make"]


class PoolWithLocks(PoolPerSource):
    def __init__(self) -> None:
        super().__init__()
        self._locks: dict[str, threading.Lock] = {}

    def get_record(self, source: str, download_id: str) -> Record | None:
        record = self._records.get((source, download_id))
        if record is None:
            return None
        with self._lock_of(download_id):
            return dict(record)

    def records(self) -> list[Record]:
        with self._lock:
            records = list(self._records.values())
        copies = []
        for record in records:
            with self._lock_of(record["id"]):
                copies.append(dict(record))
        return copies

    def update_record(self, source: str, download_id: str, patch: Record) -> None:
        record = self._records.get((source, download_id))
        if record is not None:
            with self._lock_of(download_id):
                record.update(patch)

    def _move(self, source: str, download_id: str, patch: Record) -> bool:
        with self._lock_of(download_id):
            return super()._move(source, download_id, patch)

    def _lock_of(self, download_id: str) -> threading.Lock:
        return self._locks.get(download_id) or self._locks.setdefault(download_id, threading.Lock())


make = PoolWithLocks
