"""What is left behind when an asyncio task leaves in the middle: ``behaviour.md#watching``."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fronts.loops import fetch, run, store_held
from tests.waiting import GUARD_S

import haulier
from haulier import DownloadEngine, Wanted, aio


async def consume(events: aio.Events, heard: list[haulier.Event]) -> None:
    async for event in events:
        heard.append(event)


@pytest.mark.parametrize("consumers", [1, 3])
def test_leaving_a_subscription_ends_whoever_iterates_over_it(face: aio.DownloadEngine, consumers: int) -> None:
    async def main() -> None:
        heard: list[haulier.Event] = []
        async with face.subscribe() as events:
            tasks = [asyncio.create_task(consume(events, heard)) for _ in range(consumers)]
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*tasks), GUARD_S)
        assert heard == []
        with pytest.raises(StopAsyncIteration):
            await anext(events)

    run(main())


def test_what_had_arrived_before_is_still_read(face: aio.DownloadEngine) -> None:
    async def main() -> None:
        heard: list[haulier.Event] = []
        async with face.subscribe() as events:
            await face.wait(await face.worker.dispatch("s", 1, "n", "f", fetch))
            await anext(events)
        await asyncio.wait_for(consume(events, heard), GUARD_S)
        assert len(heard) <= 2

    run(main())


@pytest.mark.parametrize("inside", [True, False])
def test_a_subscription_is_entered_once(face: aio.DownloadEngine, inside: bool) -> None:
    async def main() -> None:
        async with face.subscribe() as events:
            if inside:
                with pytest.raises(RuntimeError, match="entered before: call subscribe"):
                    await events.__aenter__()
        with pytest.raises(RuntimeError, match="entered before: call subscribe"):
            async with events:
                pass

    run(main())


def test_an_exit_that_is_cancelled_leaves_no_thread(engine: DownloadEngine, face: aio.DownloadEngine) -> None:
    async def main() -> None:
        entered, leaves = asyncio.Event(), asyncio.Event()

        async def subscriber() -> None:
            async with face.subscribe():
                entered.set()
                await leaves.wait()

        task = asyncio.create_task(subscriber())
        await entered.wait()
        (feed,) = engine._system.subscriptions
        async with store_held(engine):  # so that the exit has to wait
            leaves.set()
            for _ in range(5):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.to_thread(feed.thread.join, GUARD_S)
        assert not feed.thread.is_alive()
        assert engine._system.subscriptions == ()

    run(main())


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("many", [False, True])
def test_a_cancelled_dispatch_is_taken_back(tmp_path: Path, many: bool, steps: int) -> None:
    """Wherever the cancel comes: before the store is asked, while it writes, or after."""

    async def main() -> None:
        async with aio.DownloadEngine(store=tmp_path / "haulier.db") as face:
            await face.register_source("s", impl=fetch)
            await face.pause("s")
            for _ in range(10):
                if many:
                    call: Any = face.worker.dispatch_many("s", [Wanted(n, "n", "f") for n in range(3)])
                else:
                    call = face.worker.dispatch("s", 1, "n", "f")
                task = asyncio.create_task(call)
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task], timeout=GUARD_S)
                if not task.cancelled():  # it had its ids before, and so has its caller
                    for download_id in task.result() if many else [task.result()]:
                        await face.cancel_download(download_id, remove=True)
            await face.worker.dispatch("s", 1, "last", "last")
            while {each["filename"] for each in await face.get_all_downloads()} != {"last"}:
                await asyncio.sleep(0.001)

    run(main())
    with DownloadEngine(store=tmp_path / "haulier.db") as engine:
        assert [each["filename"] for each in engine.get_all_downloads()] == ["last"], "nor are they on disk"


def test_a_dispatch_that_started_before_it_was_cancelled_is_cancelled_itself(tmp_path: Path) -> None:
    inside, cancelled = threading.Event(), threading.Event()

    def hold(download_id: str, target_id: Any, display_name: str, transfer: haulier.Transfer) -> str:
        inside.set()
        while not transfer.cancelled:
            threading.Event().wait(0.001)
        cancelled.set()
        transfer.raise_if_cancelled()
        return ""

    async def main() -> None:
        async with aio.DownloadEngine(store=tmp_path / "haulier.db") as face:
            await face.register_source("s", impl=hold)
            task = asyncio.create_task(face.worker.dispatch("s", 1, "n", "f"))
            await asyncio.sleep(0)
            assert inside.wait(GUARD_S)  # on the loop's thread, so that the task does not get its id
            if not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=GUARD_S)
            if not task.cancelled():  # it had its id all the same: the loop was faster than the store
                await face.cancel_download(task.result(), remove=True)
            assert await asyncio.to_thread(cancelled.wait, GUARD_S)
            while await face.get_all_downloads():
                await asyncio.sleep(0.001)

    run(main())


class Stopping(list[Any]):
    """An iterable of a client's own, with a fault."""

    def __iter__(self) -> Iterator[Any]:
        raise StopIteration


def test_an_iterable_that_raises_stop_iteration_does_not_hang(tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.DownloadEngine(store=tmp_path / "haulier.db") as face:
            with pytest.raises(RuntimeError, match="StopIteration"):
                await face.worker.dispatch_many("s", Stopping())
            with pytest.raises(RuntimeError, match="StopIteration"):
                await face.update_record_unless_state("s", "x", {}, Stopping())

    run(main())


@pytest.mark.parametrize("timeout", [0, 0.0, 1e-9])
def test_what_has_ended_needs_no_time(face: aio.DownloadEngine, timeout: float) -> None:
    async def main() -> None:
        download_id = await face.worker.dispatch("s", 1, "n", "f", fetch)
        await face.wait(download_id)
        assert (await face.wait(download_id, timeout))["phase"] == "succeeded"

    run(main())
