"""The work without actors and without any promise: what the interpreter itself allows.

One plain thread per source takes from a ``SimpleQueue`` (a blocking deque in C), runs the impl and writes the record
in place. It has no lock, cancel or delay, and handles no failure. One ``os.urandom`` makes many ids, as in haulier. A
``uuid.uuid4()`` for each would release the GIL each time, and this would not be the floor.
"""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue
from typing import Any, TypeAlias

from benchmarks.contenders import Impl, Record

__all__ = ["IDS_AT_ONCE", "Floor", "make", "uuid4s"]

_Queue: TypeAlias = SimpleQueue[tuple[Record, Any, str, Impl] | None]

IDS_AT_ONCE = 256


def uuid4s(count: int) -> list[str]:
    """Make ``count`` random ids with the version and variant bits of a UUID4, with one system call."""
    digits = os.urandom(16 * count).hex()
    ids = []
    for start in range(0, 32 * count, 32):
        one = digits[start : start + 32]
        variant = "89ab"[int(one[16], 16) & 3]
        ids.append(f"{one[:8]}-{one[8:12]}-4{one[13:16]}-{variant}{one[17:20]}-{one[20:]}")
    return ids


class Floor:
    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._records: dict[str, Record] = {}
        self._threads: list[threading.Thread] = []
        self._ids: list[str] = []

    def dispatch(self, source: str, target_id: Any, display_name: str, filename: str, impl: Impl) -> str:
        """Queue a download. Call it from one thread only, because there is no lock."""
        if not self._ids:
            self._ids = uuid4s(IDS_AT_ONCE)
        download_id = self._ids.pop()
        record = self._records[download_id] = {
            "id": download_id,
            "filename": filename,
            "username": source,
            "state": "Initializing",
            "progress": 0.0,
            "size": 0,
            "transferred": 0,
            "speed": 0,
            "time_remaining": None,
            "file_path": None,
        }
        queue = self._queues.get(source)
        if queue is None:
            queue = self._start(source)
        queue.put((record, target_id, display_name, impl))
        return download_id

    def get_record(self, source: str, download_id: str) -> Record | None:
        record = self._records.get(download_id)
        return None if record is None else dict(record)

    def records(self) -> list[Record]:
        return [dict(record) for record in list(self._records.values())]

    def close(self) -> None:
        for queue in self._queues.values():
            queue.put(None)
        for thread in self._threads:
            thread.join()

    def _start(self, source: str) -> _Queue:
        queue: _Queue = SimpleQueue()
        self._queues[source] = queue
        thread = threading.Thread(target=self._serve, args=(queue,), daemon=True, name=source)
        self._threads.append(thread)
        thread.start()
        return queue

    @staticmethod
    def _serve(queue: _Queue) -> None:
        while (entry := queue.get()) is not None:
            record, target_id, display_name, impl = entry
            record["state"] = "InProgress, Downloading"
            path = impl(record["id"], target_id, display_name)
            record["progress"] = 100.0
            record["file_path"] = path
            record["state"] = "Completed, Succeeded"


make = Floor
