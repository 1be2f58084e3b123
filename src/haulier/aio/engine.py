"""``DownloadEngine`` for asyncio: a wrapper around the blocking engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, suppress
from functools import partial
from types import EllipsisType
from typing import Any, TypeVar

from haulier._engine import engine as sync
from haulier._engine import messages as m
from haulier._engine.core.values import own
from haulier._engine.shells.waiting import ended
from haulier._engine.ticket import Impl
from haulier._engine.worker import BackgroundDownloadWorker as SyncWorker
from haulier.aio.events import Events
from haulier.aio.loops import next_or_timeout, on_a_thread, soon, without_stop_iteration
from haulier.aio.worker import BackgroundDownloadWorker, check_blocking
from haulier.errors import StoreUnavailable, UnknownDownload
from haulier.policies import SourcePolicy, check_int, check_seconds
from haulier.records import Attempt, Cursor, HistoryRow, Record
from haulier.status import Explanation, SourceStatus
from haulier.transfer import running

__all__ = ["DownloadEngine"]

T = TypeVar("T")


class DownloadEngine:
    """``haulier.DownloadEngine`` for asyncio, with the same methods, parameters and results. No call blocks the loop.

    Wraps ``engine``, or a new ``haulier.DownloadEngine(**options)``. One engine may have several wrappers in several
    loops, and threads may use it directly. Leaving ``async with`` closes the engine, even if the program made it.

    Raises ``TypeError`` if both ``engine`` and ``options`` are given.
    """

    def __init__(self, engine: sync.DownloadEngine | None = None, **options: Any) -> None:
        if engine is not None and options:
            raise TypeError(f"pass an engine or the options of a new one, not both: {', '.join(options)}")
        self._engine = sync.DownloadEngine(**options) if engine is None else engine
        # One thread, so that calls to the store arrive in order. It ends with this object.
        self._asker = ThreadPoolExecutor(1, thread_name_prefix="haulier-aio")
        self.worker = BackgroundDownloadWorker(SyncWorker(self._engine, hands_over=False), self._write, self._take_back)

    async def __aenter__(self) -> DownloadEngine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def max_running(self) -> int | None:
        """How many impls run at once, over all sources; None for no limit. It may be changed while the engine runs."""
        return self._engine.max_running

    @max_running.setter
    def max_running(self, limit: int | None) -> None:
        self._engine.max_running = limit

    # ---- records -----------------------------------------------------------------------------------------------------

    async def add_record(self, source_name: str, download_id: str, record: Mapping[str, Any]) -> None:
        """Store a record unchanged. Logs a warning if it replaces one."""
        await self._read(self._engine.add_record, source_name, download_id, record)

    async def update_record(self, source_name: str, download_id: str, patch: Mapping[str, Any]) -> None:
        """Update a record with ``patch``. Does nothing if there is no record."""
        store = self._engine._system.store
        if self._engine._update(source_name, download_id, patch) and store.is_full:
            await self._ask(store.wait_for_room)

    async def update_record_unless_state(
        self, source_name: str, download_id: str, patch: Mapping[str, Any], skip_if_state_in: Collection[Any] = ()
    ) -> bool:
        """Update a record unless its state is in ``skip_if_state_in``, in one atomic step. Returns whether it did."""
        call = self._engine.update_record_unless_state
        return await self._ask(call, source_name, download_id, patch, skip_if_state_in)

    async def remove_record(self, source_name: str, download_id: str) -> Record | None:
        """Remove a record and return it; None if there is none. A download that has not ended is cancelled first."""
        return await self._ask(self._engine.remove_record, source_name, download_id)

    async def get_record(self, source_name: str, download_id: str) -> Record | None:
        """Return a copy of a record; None if there is none."""
        return await self._read(self._engine.get_record, source_name, download_id)

    async def iter_records_for_source(self, source_name: str) -> Iterator[Record]:
        """Copies of all records of a source: ``for record in await engine.iter_records_for_source(name)``."""
        return await self._read(self._engine.iter_records_for_source, source_name)

    async def get_download_status(self, download_id: str) -> Record | None:
        """Return a copy of the record of a download at any source; None if there is none."""
        return await self._read(self._engine.get_download_status, download_id)

    async def get_all_downloads(self, exclude: Iterable[str] = ()) -> list[Record]:
        """Return copies of all records, except those of the sources in ``exclude``."""
        return await self._read(self._engine.get_all_downloads, exclude)

    async def clear_all_completed_downloads(self) -> int:
        """Remove all terminal records. Returns how many."""
        return await self._ask(self._engine.clear_all_completed_downloads)

    async def _read(self, call: Callable[..., T], *args: Any) -> T:
        """Call ``call`` here if the store has applied every message; else on the helper thread, which waits for it."""
        return await self._ask(call, *args) if self._engine._system.store.backlog else call(*args)

    async def _write(self, call: Callable[..., T], undo: Callable[[T], object], *args: Any) -> T:
        """Call ``call`` here if records live in memory; else on the helper thread, which waits for the disk.

        If the awaiting task is cancelled meanwhile, ``undo(result)`` is called once there is a result: nobody gets it.
        """
        if not self._engine._system.is_durable:
            return call(*args)
        result = self._aside(call, *args)
        try:
            return await asyncio.shield(asyncio.wrap_future(result))
        except asyncio.CancelledError:
            if not result.cancel():
                result.add_done_callback(lambda _: self._undo(result, undo))
            raise

    def _take_back(self, ids: Iterable[str]) -> None:
        """Cancel and remove downloads whose ids reached nobody: the task that dispatched them was cancelled."""
        for download_id in ids:
            with suppress(StoreUnavailable):  # the cancel counts all the same, and is written once the store can
                self._engine.cancel_download(download_id, remove=True)

    def _undo(self, result: Future[T], undo: Callable[[T], object]) -> None:
        if result.exception() is None:
            self._aside(undo, result.result())

    async def _ask(self, call: Callable[..., T], *args: Any) -> T:
        """Call ``call`` on the helper thread, which waits for the store, and await the result."""
        return await asyncio.wrap_future(self._aside(call, *args))

    def _aside(self, call: Callable[..., T], *args: Any) -> Future[T]:
        """Call ``call`` on the helper thread, after earlier calls; or here, if the store has ended."""
        call = without_stop_iteration(call)
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
        self,
        source_name: str | None = None,
        *,
        phase: str | None = None,
        before: Cursor | None = None,
        limit: int = 100,
    ) -> list[HistoryRow]:
        """Return at most ``limit`` downloads that have ended, newest first, including those that have left memory.

        Raises ``RuntimeError`` without a durable store.
        """
        return await self._ask(partial(self._engine.history, source_name, phase=phase, before=before, limit=limit))

    async def attempts(self, source_name: str, download_id: str) -> list[Attempt]:
        """Return the ended attempts at a download. Raises ``RuntimeError`` without a durable store."""
        return await self._ask(self._engine.attempts, source_name, download_id)

    # ---- cancel, wait, watch -----------------------------------------------------------------------------------------

    async def cancel_download(self, download_id: str, source_hint: str | None = None, remove: bool = False) -> bool:
        """Cancel a download that waits or runs. Returns False if it has ended or is unknown.

        With a durable store, raises ``StoreUnavailable`` if the cancel could not be written.
        """
        return await self._ask(self._engine.cancel_download, download_id, source_hint, remove)

    async def wait(self, download_id: str, timeout: float | None = None) -> Record:
        """Wait until a download has ended, and return its record. Raises what the blocking ``wait`` raises."""
        async with aclosing(self.as_completed((download_id,), timeout)) as arrivals:
            return await anext(arrivals)

    def as_completed(self, download_ids: Iterable[str], timeout: float | None = None) -> AsyncGenerator[Record, None]:
        """Yield the record of each download as soon as it has ended, for ``async for``.

        ``timeout`` is in seconds, for all downloads together. Raises what ``wait`` raises.
        """
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
            for ended_before in await self._ask(self._watch, ids, arrived):
                answers.put_nowait(ended_before)
            record: Record = {}
            for _ in ids:
                last = record
                while record is last:  # after an interrupted step the store may report a record twice
                    record = await next_or_timeout(answers, when)
                yield ended(own(record), self._engine._system.store)  # each waiting caller gets its own copy
        finally:
            self._aside(self._unwatch, ids, arrived)  # runs after _watch, even if this task was cancelled meanwhile

    def _watch(self, ids: list[str], arrived: Callable[[Record], None]) -> list[Record]:
        watched: m.Watched = self._engine._system.store.ask(m.Watch(ids, arrived))
        if watched.unknown:
            raise UnknownDownload(f"no record of download {watched.unknown[0]!r}")
        return watched.ended

    def _unwatch(self, ids: list[str], arrived: Callable[[Record], None]) -> None:
        self._engine._system.store.tell(m.Unwatch(ids, arrived))

    def subscribe(self, *, capacity: int = 10_000) -> Events:
        """Subscribe to events: ``async with engine.subscribe() as events: async for event in events``.

        The events of one download arrive in order. A subscriber that is more than ``capacity`` events behind loses
        some, and receives a ``Missed`` event that says how many. The iteration ends when the engine has closed.
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
        """Give a source a policy, an impl and aliases. What is left out stays as it is.

        Raises what ``haulier.DownloadEngine.register_source`` raises, and ``TypeError`` if ``impl`` is a coroutine
        function.
        """
        check_blocking("impl", impl)
        self._engine.register_source(name, policy, impl, aliases)

    async def pause(self, source_name: str) -> None:
        """Start no further download at a source. Running impls finish."""
        self._engine.pause(source_name)

    async def resume(self, source_name: str) -> None:
        """Start downloads again at a source that was paused."""
        self._engine.resume(source_name)

    async def revive(self, source_name: str) -> None:
        """Open a source that is down. Does nothing if the source is not down."""
        self._engine.revive(source_name)

    async def stats(self) -> dict[str, SourceStatus]:
        """Return the status of each source, by its name."""
        return await self._read(self._engine.stats)

    async def explain(self, download_id: str) -> Explanation:
        """Say why a download is not running. Raises ``UnknownDownload`` if there is no record."""
        return await self._read(self._engine.explain, download_id)

    # ---- the end -----------------------------------------------------------------------------------------------------

    async def close(self, drain: bool = False, timeout: float | EllipsisType | None = ...) -> None:
        """Stop the engine, as ``haulier.DownloadEngine.close`` does. May be called twice.

        If the awaiting task is cancelled, it stops waiting, but the engine still closes.
        """
        close = partial(self._engine.close, drain, timeout)
        if self._engine._system.is_ours(threading.current_thread()):
            close()  # a loop inside an impl: only on the impl's thread does the engine know not to wait for that impl
        else:
            await on_a_thread(close)
        if not self._engine._system.store.running:
            self._asker.shutdown(wait=False)
