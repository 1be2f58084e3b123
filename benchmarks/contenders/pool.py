"""What a good programmer would write in an afternoon: a ThreadPoolExecutor per source, a dict and a lock.

The pool promises order, one download at a time at each source, cancel and delay. It does not survive a crash, a hung
impl blocks its source for ever, and no queue outlives the process.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.contenders import Impl
from benchmarks.contenders.book import Book

__all__ = ["PoolPerSource", "make"]


class PoolPerSource(Book):
    def __init__(self) -> None:
        super().__init__()
        self._pools: dict[str, ThreadPoolExecutor] = {}

    def dispatch(self, source: str, target_id: Any, display_name: str, filename: str, impl: Impl) -> str:
        record = self._new_record(source, filename)
        download_id: str = record["id"]
        with self._lock:
            self._records[source, download_id] = record
            pool = self._pools.get(source)
            if pool is None:
                pool = self._pools[source] = ThreadPoolExecutor(max_workers=1, thread_name_prefix=source)
        pool.submit(self._run, source, download_id, target_id, display_name, impl)
        return download_id

    def close(self) -> None:
        for pool in self._pools.values():
            pool.shutdown(wait=True)


make = PoolPerSource
