"""dramatiq in one process: StubBroker and a Worker with one thread for each source, default middleware.

Messages are encoded and decoded as with a real broker, but stay in memory. StubBroker is meant for tests, and is the
only broker of dramatiq that needs no server. One thread per worker keeps a source serial. dramatiq's own rate limiter
would move a download that has to wait to the end of the queue. dramatiq wants one Worker per process and broker, so
each source has a broker of its own.

dramatiq promises order at a source (one thread), retries (off here) and time limits. Records, cancel and delay are
those of ``Book``. An impl cannot be sent in a message, so it is looked up by its source.
"""

from __future__ import annotations

import logging
from typing import Any

import dramatiq
from dramatiq.brokers.stub import StubBroker

from benchmarks.contenders import Impl
from benchmarks.contenders.book import Book

__all__ = ["DramatiqStub", "make"]

logging.getLogger("dramatiq").setLevel(logging.WARNING)


class DramatiqStub(Book):
    def __init__(self) -> None:
        super().__init__()
        self._impls: dict[str, Impl] = {}
        self._actors: dict[str, Any] = {}
        self._workers: list[Any] = []

    def dispatch(self, source: str, target_id: Any, display_name: str, filename: str, impl: Impl) -> str:
        record = self._new_record(source, filename)
        download_id: str = record["id"]
        with self._lock:
            self._records[source, download_id] = record
            self._impls[source] = impl
            actor = self._actors.get(source)
            if actor is None:
                actor = self._actors[source] = self._hire()
        actor.send(source, download_id, target_id, display_name)
        return download_id

    def _hire(self) -> Any:
        broker = StubBroker()
        actor = dramatiq.actor(self._perform, actor_name="download", broker=broker, max_retries=0)
        worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=100)
        worker.start()
        self._workers.append(worker)
        return actor

    def _perform(self, source: str, download_id: str, target_id: Any, display_name: str) -> None:
        self._run(source, download_id, target_id, display_name, self._impls[source])

    def close(self) -> None:
        for worker in self._workers:
            worker.stop()


make = DramatiqStub
