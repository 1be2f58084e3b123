"""dramatiq in one process: StubBroker and a Worker with one thread for each source, default middleware.

Messages are encoded and decoded as they would be with a real broker, but live in memory: StubBroker is meant for tests,
and is what dramatiq has that needs no server. One thread at a worker is what keeps a source serial; dramatiq's own rate
limiter would put a download that has to wait at the end of the queue. dramatiq wants one Worker per process and per
broker, so that each source has a broker of its own.

It promises order at a source (one thread), retries (off here) and time limits; nothing about records, cancel and delay:
those are the ``Book``'s. An impl is no message: it is looked up by its source.
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
