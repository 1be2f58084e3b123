"""``Events``: an asyncio subscriber to an engine's events."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from haulier._engine.shells.system import System
from haulier._threads.subscription import Subscription
from haulier.aio.loops import soon
from haulier.events import Event

__all__ = ["Events"]

IN_HAND: Final = 256
"""How many events may wait in the loop. The rest wait in the subscription, which counts what it drops."""


class Events:
    """An engine's events from ``async with`` on. See ``DownloadEngine.subscribe`` and ``haulier.events``."""

    def __init__(self, system: System, aside: Callable[..., Future[Any]], capacity: int) -> None:
        self._system = system
        self._aside = aside
        self._capacity = capacity
        self._arrived: asyncio.Queue[Event | None] = asyncio.Queue()
        self._room = threading.Semaphore(IN_HAND)
        self._left = False
        self._loop: asyncio.AbstractEventLoop
        self._feed: _Feed | None = None

    async def __aenter__(self) -> Events:
        if self._feed is not None:
            raise RuntimeError("this subscription was entered before: call subscribe() for another one")
        self._system.check_open()
        self._loop = asyncio.get_running_loop()
        self._feed = _Feed(self._hand_over, self._capacity, self._system.unsubscribe)
        try:
            await asyncio.wrap_future(self._aside(self._system.subscribe, self._feed))
        except BaseException:
            self._leave(self._feed)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._feed is not None:
            # Shielded: if this task is cancelled, the feed must still be closed, since it has a thread.
            await asyncio.shield(asyncio.wrap_future(self._leave(self._feed)))

    def _leave(self, feed: _Feed) -> Future[None]:
        self._left = True
        self._room.release()
        self._arrived.put_nowait(None)  # ends whoever iterates
        return self._aside(feed.close)

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        if self._feed is None:
            raise RuntimeError("subscribe first: async with engine.subscribe() as events")
        event = await self._arrived.get()
        if event is None:
            self._arrived.put_nowait(None)  # a further __anext__ ends, too
            raise StopAsyncIteration
        self._room.release()
        return event

    def _hand_over(self, event: Event | None) -> None:
        """Pass an event to the loop. Waits on the feed's thread while ``IN_HAND`` events are on their way."""
        while event is not None and not self._left and not self._room.acquire(timeout=1.0):
            self._left = self._loop.is_closed()
        if not self._left:
            soon(self._loop, self._arrived.put_nowait, event)


class _Feed(Subscription):
    """A subscription that hands over None after its last event."""

    def _run(self) -> None:
        super()._run()
        self._callback(None)  # type: ignore[arg-type]  # it is Events._hand_over
