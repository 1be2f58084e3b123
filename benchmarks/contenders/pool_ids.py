"""The pool with ids as haulier makes them: from one ``os.urandom`` for many.

``uuid.uuid4()`` asks the system for each and lets go of the interpreter there, so that a worker takes over. What is
left of haulier's lead over the pool without that is what its queue, its records and its wake-ups are worth.
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
        """From any thread: each step on the list is one of the interpreter's."""
        try:
            return self._ids.pop()
        except IndexError:
            first, *rest = uuid4s(IDS_AT_ONCE)
            self._ids.extend(rest)
            return first


make = PoolWithIds
