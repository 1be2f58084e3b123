"""Coroutines of the tests: how they are run, and what they wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.waiting import GUARD_S

import haulier
from haulier._engine import messages as m

if TYPE_CHECKING:
    from tests.waiting import Gatekeeper


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 3 * GUARD_S))


def fetch(download_id: str, target_id: Any, display_name: str) -> str:
    return f"{display_name}.bin"


async def wait_inside(gatekeeper: Gatekeeper, count: int = 1) -> None:
    await asyncio.to_thread(gatekeeper.wait_inside, count)


@asynccontextmanager
async def store_held(engine: haulier.DownloadEngine) -> AsyncIterator[None]:
    """Keep the store busy meanwhile, so that whoever waited for it on the loop would hang the test."""
    held, go_on = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        held.set()
        assert go_on.wait(GUARD_S)

    engine.add_record("elsewhere", "the-plug", {"state": "Initializing"})
    watch = m.Watch(["the-plug"], hold)
    engine._system.store.ask(watch)
    engine.add_record("elsewhere", "the-plug", {"state": "Errored"})
    engine._system.store.tell(m.Sync())
    asking = threading.Thread(target=engine._system.store.ask, args=(m.Sync(),))
    asking.start()
    assert await asyncio.to_thread(held.wait, GUARD_S)
    try:
        yield
    finally:
        go_on.set()
        await asyncio.to_thread(asking.join)
