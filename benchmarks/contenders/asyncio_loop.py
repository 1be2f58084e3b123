"""asyncio: an event loop on a thread of its own, a task per download, a semaphore per source.

Impls are blocking functions, because the clients of most sites are. A good programmer runs each in a thread pool
(``run_in_executor``), because it would block the loop. The pool has 64 threads, more than any workload has sources. The
default of asyncio, a few more than CPUs, would let one source block another. The delay is slept on the impl's thread as
well, because the loop's timers are rounded up to whole milliseconds.

The contender promises order (asyncio's semaphores are fair), one at a time at each source, cancel and delay. A queued
download is a task: no thread, but some kilobytes. A crash of the loop ends everything, a hung impl blocks its source
for ever, and no queue outlives the process.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from benchmarks.contenders import Impl
from benchmarks.contenders.book import Book

__all__ = ["AsyncioLoop", "make"]

THREADS: Final = 64


class AsyncioLoop(Book):
    def __init__(self) -> None:
        super().__init__()
        self._pool = ThreadPoolExecutor(THREADS)
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self._thread.start()

    def dispatch(self, source: str, target_id: Any, display_name: str, filename: str, impl: Impl) -> str:
        record = self._new_record(source, filename)
        download_id: str = record["id"]
        with self._lock:
            self._records[source, download_id] = record
        asyncio.run_coroutine_threadsafe(self._serve(source, download_id, target_id, display_name, impl), self._loop)
        return download_id

    async def _serve(self, source: str, download_id: str, target_id: Any, display_name: str, impl: Impl) -> None:
        slot = self._slots.get(source)
        if slot is None:
            slot = self._slots[source] = asyncio.Semaphore(1)
        async with slot:
            await self._loop.run_in_executor(self._pool, self._run, source, download_id, target_id, display_name, impl)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._pool.shutdown(wait=True)
        self._loop.close()


make = AsyncioLoop
