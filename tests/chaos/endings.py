"""The ends of an engine: in order, in a hurry, from anywhere, or not at all."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any, Final

from tests.chaos.callers import Hearer
from tests.chaos.calls import Calls
from tests.chaos.plan import Deed, Errand
from tests.chaos.world import CLOSER, GUARD_S

from haulier import EngineClosed, UnknownDownload, aio

__all__ = ["end", "settle"]


def settle(calls: Calls) -> None:
    """Let everything come to its end, and each source, at rest by then, take one more; whatever does not, hangs.

    Only what is paused or down is touched: a call that has everybody look again would hide a wake-up that was lost.
    """
    world, books = calls.world, calls.books
    world.let_go.set()
    for name, status in calls.engine.stats().items():
        with calls.allowing("resume and revive"):
            if status["paused"]:
                calls.engine.resume(name)
            if status["down"]:
                calls.engine.revive(name)
    seen = 0
    while seen < len(books.ids):  # an impl may have dispatched more meanwhile
        ids = books.ids[seen:]
        seen += len(ids)
        if not all(_comes_to_its_end(calls, each) for each in ids):
            return
    for setup in world.plan.sources:
        download_id = calls.dispatch(setup.name, Errand(-4, (Deed("instant", 0.0, 0.0),), 0))
        if download_id is not None and not _comes_to_its_end(calls, download_id):
            return


def _comes_to_its_end(calls: Calls, download_id: str) -> bool:
    patience_s = 0.0 if calls.books.facts[download_id].replaced else GUARD_S  # no engine ends a caller's own record
    try:
        calls.saw(download_id, calls.engine.wait(download_id, patience_s), over=True)
    except UnknownDownload:
        pass
    except TimeoutError:
        if not calls.books.facts[download_id].replaced:
            record = calls.engine.get_download_status(download_id)
            calls.books.blame("hang", f"{download_id} does not come to its end: {record}, {calls.engine.stats()}")
            return False
    return True


def end(calls: Calls, how: str) -> None:
    """End the engine; in a hurry, where it hangs already."""
    calls.books.count(f"end: {how}")
    calls.books.closing = calls.books.closing or how != "dropped"
    hangs = any(each.promise == "hang" for each in calls.books.broken)
    _ENDINGS["abrupt" if hangs else how](calls)
    if calls.world.engine is not None:
        calls.engine.close(timeout=0.0)  # twice is fine


def _abrupt(calls: Calls) -> None:
    calls.engine.close(timeout=0.02)


def _patient(calls: Calls) -> None:
    calls.world.let_go.set()
    calls.engine.close()


def _drain(calls: Calls) -> None:
    """Whatever was accepted is carried out: nothing fails since the engine was closed."""
    settle(calls)
    before = len(calls.books.ids)
    calls.engine.close(drain=True)
    for download_id in calls.books.ids[:before]:
        record = calls.engine.get_download_status(download_id)
        if record is not None and record.get("error") == "engine closed" and calls.world.plan.closes_at is None:
            calls.books.blame("lost", f"{download_id} was not drained: {record}")


def _drain_in_vain(calls: Calls) -> None:
    calls.engine.close(drain=True, timeout=0.1)


def _many(calls: Calls) -> None:
    engine = calls.engine
    closes: list[Callable[[], Any]] = [
        lambda: engine.close(timeout=0.0),
        lambda: engine.close(timeout=0.05),
        lambda: engine.close(drain=True, timeout=0.1),
        lambda: engine.close(drain=True, timeout=0.0),
        lambda: engine.close(timeout=0.2),
    ]
    threads = [threading.Thread(target=close, name="chaos-closes", daemon=True) for close in closes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD_S)
        if thread.is_alive():
            calls.books.blame("hang", "close() hangs")


def _impl(calls: Calls) -> None:
    """An impl closes the engine that runs it, and is left to end."""
    download_id = calls.dispatch(CLOSER, Errand(-1, (Deed("close", 0.05, 0.0),), 0))
    if download_id is not None:
        try:
            calls.engine.wait(download_id, GUARD_S)
        except TimeoutError:
            calls.books.blame("hang", "an impl that closes its engine hangs")


def _callback(calls: Calls) -> None:
    """A subscriber closes the engine that it listens to."""
    closed = threading.Event()
    engine = calls.engine

    def callback(_: object) -> None:
        engine.close(timeout=0.05)
        closed.set()

    with calls.allowing("subscribe", EngineClosed):
        engine.subscribe(callback)
        download_id = calls.dispatch(CLOSER, Errand(-3, (Deed("instant", 0.0, 0.0),), 0))
        if download_id is not None and not closed.wait(GUARD_S):
            calls.books.blame("hang", "a callback that closes its engine hangs")


def _loop(calls: Calls) -> None:
    async def main() -> None:
        await aio.DownloadEngine(calls.engine).close(timeout=0.05)

    asyncio.run(main())


def _dropped(calls: Calls) -> None:
    """Nobody holds the engine any longer: it does what can still be done, and ends by itself."""
    with calls.allowing("subscribe", EngineClosed):
        calls.engine.subscribe(Hearer(calls.books, 0.5))
    calls.world.let_go.set()
    calls.books.stuck.update(name for name, status in calls.engine.stats().items() if status["paused"])
    calls.world.engine = None
    gc.collect()


_ENDINGS: Final[dict[str, Callable[[Calls], None]]] = {
    "abrupt": _abrupt,
    "patient": _patient,
    "drain": _drain,
    "drain_in_vain": _drain_in_vain,
    "many": _many,
    "impl": _impl,
    "callback": _callback,
    "loop": _loop,
    "dropped": _dropped,
}
