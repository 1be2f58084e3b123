"""A coroutine that waits for a download, or for a busy store, does not block its loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.fronts.loops import fetch, run, store_held, wait_inside
from tests.waiting import GUARD_S

import haulier
from haulier import aio
from haulier._engine import messages as m
from haulier._engine.shells import backlog
from haulier.aio.loops import soon

if TYPE_CHECKING:
    from tests.waiting import Gatekeeper


# ---- waiting ---------------------------------------------------------------------------------------------------------


def test_wait_does_not_block_the_loop(face: aio.DownloadEngine, gatekeeper: Gatekeeper) -> None:
    async def main() -> None:
        ids = [await face.worker.dispatch(f"source-{n}", n, "A song", "song.flac", gatekeeper) for n in range(40)]
        waits = [asyncio.create_task(face.wait(download_id)) for download_id in ids]
        await wait_inside(gatekeeper, 40)
        assert not any(wait.done() for wait in waits)
        assert sum(thread.name.startswith("haulier-aio") for thread in threading.enumerate()) <= 1
        gatekeeper.open()
        assert {record["state"] for record in await asyncio.gather(*waits)} == {"Completed, Succeeded"}
        assert (await face.wait(ids[0]))["id"] == ids[0]

    run(main())


def test_wait_raises_what_the_other_wait_raises(face: aio.DownloadEngine, gatekeeper: Gatekeeper) -> None:
    async def main() -> None:
        with pytest.raises(haulier.UnknownDownload):
            await face.wait("no such download")
        download_id = await face.worker.dispatch("tidal", 1, "A song", "song.flac", gatekeeper)
        with pytest.raises(ValueError, match="timeout"):
            await face.wait(download_id, -1)
        for timeout in (0, 0.01):
            with pytest.raises(TimeoutError, match="not all"):
                await face.wait(download_id, timeout)
        gatekeeper.open()
        await face.wait(download_id)
        assert (await face.wait(download_id, 0))["state"] == "Completed, Succeeded"
        await face.close()
        assert (await face.wait(download_id, 0))["state"] == "Completed, Succeeded"

    run(main())


def test_no_watch_is_left_by_who_no_longer_waits(
    engine: haulier.DownloadEngine, face: aio.DownloadEngine, gatekeeper: Gatekeeper
) -> None:
    async def main() -> None:
        download_id = await face.worker.dispatch("tidal", 1, "A song", "song.flac", gatekeeper)
        await wait_inside(gatekeeper)
        with pytest.raises(TimeoutError):
            await face.wait(download_id, 0.001)
        waits = [asyncio.create_task(face.wait(download_id)) for _ in range(20)]
        for turns, wait in enumerate(waits):  # cancelled before it began, while it watches, and later
            for _ in range(turns):
                await asyncio.sleep(0)
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        assert all(wait.cancelled() for wait in waits)
        await face.cancel_download("behind what was told before")
        engine._system.store.ask(m.Sync())
        assert engine._system.ledger.table.watches.callbacks == {}

    run(main())


def test_as_completed_may_be_left_early(face: aio.DownloadEngine, make_gatekeeper: Callable[[], Gatekeeper]) -> None:
    first, second = make_gatekeeper(), make_gatekeeper()

    async def main() -> None:
        slow = await face.worker.dispatch("tidal", 1, "A song", "song.flac", first)
        fast = await face.worker.dispatch("qobuz", 1, "A song", "song.flac", second)
        second.open()
        async for record in face.as_completed([slow, fast, slow]):
            assert record["id"] == fast
            break

    run(main())
    first.open()


def test_everybody_who_waits_has_a_record_of_his_own(face: aio.DownloadEngine, gatekeeper: Gatekeeper) -> None:
    async def main() -> None:
        download_id = await face.worker.dispatch("tidal", 1, "A song", "song.flac", gatekeeper)
        await wait_inside(gatekeeper, 1)
        waits = [asyncio.create_task(face.wait(download_id, GUARD_S)) for _ in range(2)]
        while len(face._engine._system.ledger.table.watches.callbacks.get(download_id, [])) < len(waits):
            await asyncio.sleep(0)
        gatekeeper.open()
        first, second = await asyncio.gather(*waits)
        assert first == second
        assert first is not second

    run(main())


def test_a_closed_loop_hears_no_more_and_harms_nobody(
    engine: haulier.DownloadEngine, face: aio.DownloadEngine, gatekeeper: Gatekeeper
) -> None:
    events = face.subscribe()
    download_id = engine.worker.dispatch("tidal", 1, "A song", "song.flac", gatekeeper)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(events.__aenter__())
    face._watch([download_id], partial(soon, loop, print))
    loop.close()
    gatekeeper.open()
    assert engine.wait(download_id, GUARD_S)["state"] == "Completed, Succeeded"


def test_an_impl_with_a_loop_of_its_own(engine: haulier.DownloadEngine, face: aio.DownloadEngine) -> None:
    seen: list[Any] = []

    def impl(download_id: str, target_id: Any, display_name: str) -> str:
        async def main() -> None:
            await face.update_record("tidal", download_id, {"transferred": 7})
            seen.append(await face.get_record("tidal", download_id))
            with pytest.raises(RuntimeError, match="own download"):
                await face.wait(download_id)
            other = await face.worker.dispatch("qobuz", 1, "A song", "song.flac", fetch)
            seen.append(await face.wait(other))
            await face.close()

        asyncio.run(main())
        return "song.flac"

    download_id = engine.worker.dispatch("tidal", 1, "A song", "song.flac", impl)
    assert engine.wait(download_id, GUARD_S)["state"] == "Completed, Succeeded"
    assert [seen[0]["transferred"], seen[1]["state"]] == [7, "Completed, Succeeded"]


# ---- the loop is never blocked ---------------------------------------------------------------------------------------


def test_the_loop_turns_while_the_store_is_busy(
    engine: haulier.DownloadEngine, face: aio.DownloadEngine, gatekeeper: Gatekeeper
) -> None:
    async def main() -> None:
        await face.register_source("tidal", None, gatekeeper)
        download_id = await face.worker.dispatch("tidal", 0, "A song", "song.flac")
        await wait_inside(gatekeeper)
        await face.get_record("tidal", download_id)
        async with store_held(engine):
            another = await face.worker.dispatch("tidal", 1, "A song", "song.flac")
            await face.update_record("tidal", download_id, {"transferred": 1})
            await face.pause("tidal")
            await face.worker.set_delay("tidal", 0)
            await face.worker.set_concurrency("tidal", 1)
            asked: list[asyncio.Future[Any]] = [
                asyncio.ensure_future(asking)
                for asking in (
                    face.get_record("tidal", another),
                    face.get_all_downloads(),
                    face.add_record("host", "x", {}),
                    face.update_record_unless_state("tidal", download_id, {"n": 1}),
                    face.cancel_download("unknown"),
                    face.remove_record("host", "unknown"),
                    face.wait(download_id),
                    face.stats(),
                )
            ]
            for _ in range(100):
                await asyncio.sleep(0)
            assert not any(each.done() for each in asked)
        gatekeeper.open()
        answers = await asyncio.gather(*asked)
        assert answers[0]["id"] == another
        assert answers[3:6] == [True, False, None]
        assert answers[6]["state"] == "Completed, Succeeded"

    run(main())


def test_a_read_of_what_is_published_needs_no_thread(engine: haulier.DownloadEngine, face: aio.DownloadEngine) -> None:
    async def main() -> None:
        face._asker.shutdown()  # so that what needs it ends the test
        engine.add_record("host", "x", {"n": 1})
        engine.get_record("host", "x")
        for _ in range(1000):
            await face.update_record("host", "x", {"n": 2})
            assert await face.get_record("host", "x") == {"n": 2}

    run(main())


def test_who_writes_too_fast_waits_while_the_loop_turns(
    engine: haulier.DownloadEngine, face: aio.DownloadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "ROOM_S", 6 * GUARD_S)

    async def main() -> None:
        await face.add_record("tidal", "1", {})
        async with store_held(engine):
            while not engine._system.store.is_full:
                engine._system.store.tell(m.Sync())
            writing = [asyncio.create_task(face.update_record("tidal", "1", {str(n): n})) for n in range(20)]
            for _ in range(100):
                await asyncio.sleep(0)
            assert not any(task.done() for task in writing)
        await asyncio.gather(*writing)
        assert await face.get_record("tidal", "1") == {str(n): n for n in range(20)}

    run(main())


def test_close_does_not_block_the_loop(face: aio.DownloadEngine, gatekeeper: Gatekeeper) -> None:
    async def main() -> None:
        ids = [await face.worker.dispatch("tidal", n, "A song", "song.flac", gatekeeper) for n in range(3)]
        await wait_inside(gatekeeper)
        closing = [asyncio.create_task(face.close(drain=True)) for _ in range(2)]
        waiting = [asyncio.create_task(face.wait(download_id)) for download_id in ids]
        closing[0].cancel()
        await asyncio.gather(closing[0], return_exceptions=True)
        assert not closing[1].done()
        gatekeeper.open()
        assert {record["state"] for record in await asyncio.gather(*waiting)} == {"Completed, Succeeded"}
        await closing[1]
        with pytest.raises(haulier.EngineClosed):
            await face.worker.dispatch("tidal", 1, "A song", "song.flac", gatekeeper)
        with pytest.raises(ValueError, match="timeout"):
            await face.close(timeout=-1)

    run(main())
