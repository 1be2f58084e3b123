"""The pool with ids as haulier makes them: one ``os.urandom`` for many ids.

``uuid.uuid4()`` makes a system call for each id and releases the interpreter lock, so a worker takes over. Without that
the remaining lead of haulier over the pool comes from its queue, its records and its wake-ups.
"""

from __future__ import annotations

from benchmarks.contenders.floor import IDS_AT_ONCE, uuid4s
from benchmarks.contenders.pool import PoolPerSource

__all__ = ["PoolWithIds", "make"]


class PoolWithIds(PoolPerSource):
    def __init__(self) -> None:
        super().__init__()
        self._ids: list[str] = []

    def _new_id(self) -> str:
        """Return a new id. May be called from any thread, because each step on the list is atomic in CPython."""
        try:
            return self._ids.pop()
        except IndexError:
            first, *rest = uuid4s(IDS_AT_ONCE)
            self._ids.extend(rest)
            return first


make = PoolWithIds
