"""Calls between threads and an asyncio loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["next_or_timeout", "on_a_thread", "soon", "without_stop_iteration"]

T = TypeVar("T")


async def next_or_timeout(answers: asyncio.Queue[T], when: float | None) -> T:
    """Return the next answer. Raises ``TimeoutError`` at the loop's second ``when``.

    An answer that is there already is returned even if ``when`` has passed.
    """
    try:
        return answers.get_nowait()
    except asyncio.QueueEmpty:
        pass
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


def without_stop_iteration(call: Callable[..., T]) -> Callable[..., T]:
    """Wrap a call, so that ``StopIteration`` becomes ``RuntimeError``: a future cannot hold it, and would never end."""

    def wrapped(*args: Any) -> T:
        try:
            return call(*args)
        except StopIteration as stop:
            raise RuntimeError("an argument raised StopIteration") from stop

    return wrapped


def soon(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: Any) -> None:
    """Have the loop call ``call(*args)``. Does nothing if the loop is closed: nothing waits there any more."""
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:
        pass
