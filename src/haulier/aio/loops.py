"""Calls between threads and an asyncio loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["next_or_timeout", "on_a_thread", "soon"]

T = TypeVar("T")


async def next_or_timeout(answers: asyncio.Queue[T], when: float | None) -> T:
    """The next answer. Raises ``TimeoutError`` at the loop's second ``when``."""
    try:
        async with asyncio.timeout_at(when):
            return await answers.get()
    except TimeoutError:
        raise TimeoutError("not all downloads have ended yet") from None


async def on_a_thread(call: Callable[[], None]) -> None:
    """Run a call that may take long on its own daemon thread: it blocks no pool, and keeps no interpreter alive."""
    done: Future[None] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            call()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=run, name="haulier-aio-close", daemon=True).start()
    await asyncio.wrap_future(done)


def soon(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: Any) -> None:
    """Have the loop call ``call(*args)``. Does nothing if the loop is closed: nothing waits there any more."""
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:
        pass
