"""The engine for asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from types import EllipsisType
from typing import Any, TypeVar

from haulier._engine import engine as sync
from haulier._engine import messages as m
from haulier._engine.shells.waiting import ended
from haulier._engine.ticket import Impl
from haulier._engine.worker import BackgroundDownloadWorker as SyncWorker
from haulier.aio.events import Events
from haulier.aio.loops import first, on_a_thread, soon
from haulier.aio.worker import BackgroundDownloadWorker, check_blocking
from haulier.errors import UnknownDownload
from haulier.policies import SourcePolicy, check_int, check_seconds
from haulier.records import Attempt, HistoryRow, Record
from haulier.status import Explanation, SourceStatus
from haulier.transfer import running

__all__ = ["DownloadEngine"]

T = TypeVar("T")


class DownloadEngine:
    """``haulier.DownloadEngine`` for asyncio: same names, same parameters, same results, and no call blocks the loop.

    A thin face of ``engine``, or of a new engine that ``options`` are for. One engine may have several faces, in
    several loops, and be used from threads beside them. Leaving ``async with`` closes the engine, whoever made it.
    """

    def __init__(self, engine: sync.DownloadEngine | None = None, **options: Any) -> None:
        if engine is not None and options:
            raise TypeError("options are for a new engine, not for one that is there")
        self._engine = sync.DownloadEngine(**options) if engine is None else engine
        # One thread, so that what is told to the store from here arrives in order. It ends with this object.
        self._asker = ThreadPoolExecutor(1, thread_name_prefix="haulier-aio")
        self.worker = BackgroundDownloadWorker(SyncWorker(self._engine, hands_over=False), self._write)

    async def __aenter__(self) -> DownloadEngine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # ---- records -----------------------------------------------------------------------------------------------------

    async def add_record(self, source_name: str, download_id: str, record: Mapping[str, Any]) -> None:
        """Set a record as it is. An older one is replaced (logged)."""
        await self._read(self._engine.add_record, source_name, download_id, record)

    async def update_record(self, source_name: str, download_id: str, patch: Mapping[str, Any]) -> None:
        """Lay ``patch`` over a record; without a record, do nothing."""
        store = self._engine._system.store
        if self._engine._update(source_name, download_id, patch) and store.is_full:
            await self._ask(store.wait_for_room)

    async def update_record_unless_state(
        self, source_name: str, download_id: str, patch: Mapping[str, Any], skip_if_state_in: Collection[Any] = ()
    ) -> bool:
        """The same in one step with a look at the state: False, and no change, where it is in ``skip_if_state_in``."""
        call = self._engine.update_record_unless_state
        return await self._ask(call, source_name, download_id, patch, skip_if_state_in)

    async def remove_record(self, source_name: str, download_id: str) -> Record | None:
        """Take a record out and return it; a live download is cancelled first. None where there is none."""
        return await self._ask(self._engine.remove_record, source_name, download_id)

    async def get_record(self, source_name: str, download_id: str) -> Record | None:
        """A copy of a record; None where there is none."""
        return await self._read(self._engine.get_record, source_name, download_id)

    async def iter_records_for_source(self, source_name: str) -> Iterator[Record]:
        """Copies of a source's records, as of now: ``for record in await engine.iter_records_for_source(name)``."""
        return await self._read(self._engine.iter_records_for_source, source_name)

    async def get_download_status(self, download_id: str) -> Record | None:
        """A copy of the record of a download, wherever it is; None where there is none."""
        return await self._read(self._engine.get_download_status, download_id)

    async def get_all_downloads(self, exclude: Iterable[str] = ()) -> list[Record]:
        """Copies of all records but those of the sources in ``exclude``."""
        return await self._read(self._engine.get_all_downloads, exclude)

    async def clear_all_completed_downloads(self) -> int:
        """Remove all terminal records; how many."""
        return await self._ask(self._engine.clear_all_completed_downloads)

    async def _read(self, call: Callable[..., T], *args: Any) -> T:
        """Look at what the store has published; on the side, where it has yet to catch up."""
        return await self._ask(call, *args) if self._engine._system.store.backlog else call(*args)

    async def _write(self, call: Callable[..., T], *args: Any) -> T:
        """Dispatch; on the side, where that waits for a disk."""
        return await self._ask(call, *args) if self._engine._system.is_durable else call(*args)

    async def _ask(self, call: Callable[..., T], *args: Any) -> T:
        """Have a call wait for the store on the side."""
        return await asyncio.wrap_future(self._aside(call, *args))

    def _aside(self, call: Callable[..., T], *args: Any) -> Future[T]:
        """Carry a call out on the side, after those before it; and here, where there is no store left to wait for."""
        if self._engine._system.store.running:
            try:
                return self._asker.submit(call, *args)
            except RuntimeError:
                pass  # the interpreter is about to exit
        done: Future[T] = Future()
        try:
            done.set_result(call(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    async def history(
        self, source_name: str | None = None, *, phase: str | None = None, before: Any = None, limit: int = 100
    ) -> list[HistoryRow]:
        """Downloads that are over, the newest first, also those that have left memory; with a durable store."""
        return await self._ask(partial(self._engine.history, source_name, phase=phase, before=before, limit=limit))

    async def attempts(self, source_name: str, download_id: str) -> list[Attempt]:
        """The attempts at a download that have ended; with a durable store."""
        return await self._ask(self._engine.attempts, source_name, download_id)

    # ---- cancel, wait, watch -----------------------------------------------------------------------------------------

    async def cancel_download(self, download_id: str, source_hint: str | None = None, remove: bool = False) -> bool:
        """Cancel a download that waits or runs. False where it is over already or unknown."""
        return await self._ask(self._engine.cancel_download, download_id, source_hint, remove)

    async def wait(self, download_id: str, timeout: float | None = None) -> Record:
        """Wait until a download is over; its record. Raises what ``haulier.DownloadEngine.wait`` raises."""
        async with aclosing(self.as_completed((download_id,), timeout)) as arrivals:
            return await anext(arrivals)

    def as_completed(self, download_ids: Iterable[str], timeout: float | None = None) -> AsyncGenerator[Record, None]:
        """``async for`` over the records of downloads, each as soon as it is over; ``timeout`` is for all of them."""
        ids = list(dict.fromkeys(download_ids))
        seconds = None if timeout is None else check_seconds("timeout", timeout)
        own = running()
        if own is not None and own.download_id in ids:
            raise RuntimeError("an impl cannot wait for the end of its own download")
        return self._arrivals(ids, seconds)

    async def _arrivals(self, ids: list[str], seconds: float | None) -> AsyncGenerator[Record, None]:
        loop = asyncio.get_running_loop()
        when = None if seconds is None else loop.time() + seconds
        answers: asyncio.Queue[Record] = asyncio.Queue()
        arrived = partial(soon, loop, answers.put_nowait)
        try:
            await self._ask(self._watch, ids, arrived)
            record: Record = {}
            for _ in ids:
                last = record
                while record is last:  # a store that was torn may tell twice
                    record = await first(answers, when)
                yield ended(record.copy())  # each who waits has one of his own
        finally:
            self._aside(self._unwatch, ids, arrived)  # and after _watch, which a cancelled task does not wait for

    def _watch(self, ids: list[str], arrived: Callable[[Record], None]) -> None:
        watched: m.Watched = self._engine._system.store.ask(m.Watch(ids, arrived))
        if watched.unknown:
            raise UnknownDownload(f"no record of download {watched.unknown[0]!r}")
        for record in watched.ended:
            arrived(record)

    def _unwatch(self, ids: list[str], arrived: Callable[[Record], None]) -> None:
        self._engine._system.store.tell(m.Unwatch(ids, arrived))

    def subscribe(self, *, capacity: int = 10_000) -> Events:
        """The events from now on: ``async with engine.subscribe() as events: async for event in events``.

        In order for each download. Who is more than ``capacity`` events behind misses some, and gets a ``Missed`` that
        says how many. The iteration ends when the engine has closed.
        """
        return Events(self._engine._system, self._aside, check_int("capacity", capacity, 1))

    # ---- sources -----------------------------------------------------------------------------------------------------

    async def register_source(
        self,
        name: str,
        policy: SourcePolicy | None = None,
        impl: Impl | None = None,
        aliases: Iterable[str] = (),
    ) -> None:
        """Give a source its manners (default: those it has), an impl of its own, and other names."""
        check_blocking("impl", impl)
        self._engine.register_source(name, policy, impl, aliases)

    async def pause(self, source_name: str) -> None:
        """Start nothing new at a source; what runs goes on."""
        self._engine.pause(source_name)

    async def resume(self, source_name: str) -> None:
        """Go on after ``pause``."""
        self._engine.resume(source_name)

    async def revive(self, source_name: str) -> None:
        """Open a source that is down; one that is not is left as it is."""
        self._engine.revive(source_name)

    async def stats(self) -> dict[str, SourceStatus]:
        """What each source is doing, by its name."""
        return await self._read(self._engine.stats)

    async def explain(self, download_id: str) -> Explanation:
        """Why a download is not running. Raises ``UnknownDownload`` where there is no record."""
        return await self._read(self._engine.explain, download_id)

    # ---- the end -----------------------------------------------------------------------------------------------------

    async def close(self, drain: bool = False, timeout: float | EllipsisType | None = ...) -> None:
        """Take no more downloads, and end, as ``haulier.DownloadEngine.close`` does. Twice is fine.

        Whoever is cancelled while it waits for this no longer waits; the engine closes all the same.
        """
        close = partial(self._engine.close, drain, timeout)
        if self._engine._system._is_ours(threading.current_thread()):
            close()  # a loop of an impl's own: only on its own thread does the engine know not to wait for it
        else:
            await on_a_thread(close)
        if not self._engine._system.store.running:
            self._asker.shutdown(wait=False)
