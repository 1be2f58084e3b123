"""huey in one process: MemoryHuey and a consumer with one worker thread for each source.

Tasks are pickled and kept in memory. One worker keeps a source serial. huey's workers poll; nothing wakes them. By
default they poll every 100 ms up to every 10 s, here every millisecond. That costs CPU while there is no work, and a
dispatch at an idle source waits for the next poll.

huey promises order at a source (one worker) and retries (off here). Records, cancel of running downloads and delay are
those of ``Book``. An impl cannot be sent in a message, so it is looked up by its source.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from huey import Huey, MemoryHuey
from huey.consumer import Consumer

from benchmarks.contenders import Impl
from benchmarks.contenders.book import Book

__all__ = ["HueyMemory", "make"]

POLL_S: Final = 0.001

logging.getLogger("huey").setLevel(logging.WARNING)


class _Consumer(Consumer):  # type: ignore[misc]
    def _set_signal_handlers(self) -> None:
        """Set no signal handlers. A consumer expects to be its own program; here it is embedded."""


class HueyMemory(Book):
    def __init__(self) -> None:
        super().__init__()
        self._impls: dict[str, Impl] = {}
        self._tasks: dict[str, Any] = {}
        self._consumers: list[Any] = []

    def dispatch(self, source: str, target_id: Any, display_name: str, filename: str, impl: Impl) -> str:
        record = self._new_record(source, filename)
        download_id: str = record["id"]
        with self._lock:
            self._records[source, download_id] = record
            self._impls[source] = impl
            task = self._tasks.get(source)
            if task is None:
                task = self._tasks[source] = self._hire(source)
        task(source, download_id, target_id, display_name)
        return download_id

    def _queue(self, source: str) -> Huey:
        return MemoryHuey(source, results=False)

    def _hire(self, source: str) -> Any:
        huey = self._queue(source)
        task = huey.task(name="download")(self._perform)
        consumer = _Consumer(huey, workers=1, periodic=False, initial_delay=POLL_S, max_delay=POLL_S)
        consumer.start()
        self._consumers.append(consumer)
        return task

    def _perform(self, source: str, download_id: str, target_id: Any, display_name: str) -> None:
        self._run(source, download_id, target_id, display_name, self._impls[source])

    def close(self) -> None:
        for consumer in self._consumers:
            consumer.stop(graceful=True)


make = HueyMemory
