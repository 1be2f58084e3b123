"""The face for asyncio: complete, the same answers, and nothing in it blocks the loop."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import haulier
from haulier import aio
from haulier._engine import messages as m
from haulier._engine.shells import backlog
from haulier._engine.worker import BackgroundDownloadWorker
from haulier.aio.loops import soon

if TYPE_CHECKING:
    from tests.conftest import Gatekeeper

GUARD_S = 10.0
OTHERWISE = {"subscribe"}
"""What arrives over time is iterated, with no callback."""


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 3 * GUARD_S))


def fetch(download_id: str, target_id: Any, display_name: str) -> str:
    return f"{display_name}.bin"


@pytest.fixture
def face(engine: haulier.DownloadEngine) -> Iterator[aio.DownloadEngine]:
    """A face of ``engine``, closed at the end."""
    face = aio.DownloadEngine(engine)
    yield face
    asyncio.run(face.close())


async def inside(gatekeeper: Gatekeeper, count: int = 1) -> None:
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


# ---- the face is complete --------------------------------------------------------------------------------------------


def public(cls: type) -> dict[str, Any]:
    return {name: member for name, member in inspect.getmembers(cls, callable) if not name.startswith("_")}


def parameters(method: Callable[..., Any]) -> list[tuple[str, object, object]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]


@pytest.mark.parametrize(
    ("sync", "twin"),
    [(haulier.DownloadEngine, aio.DownloadEngine), (BackgroundDownloadWorker, aio.BackgroundDownloadWorker)],
)
def test_every_method_has_a_twin_with_the_same_parameters(sync: type, twin: type) -> None:
    ours, theirs = public(twin), public(sync)
    assert set(ours) == set(theirs)
    for name in set(theirs) - OTHERWISE:
        assert parameters(ours[name]) == parameters(theirs[name]), name
        assert inspect.iscoroutinefunction(ours[name]) or name == "as_completed", name


def test_options_are_the_engines(engine: haulier.DownloadEngine) -> None:
    async def main() -> None:
        async with aio.DownloadEngine(retention=haulier.Retention(max_terminal=1)) as face:
            for _ in range(3):
                await face.wait(await face.worker.dispatch("tidal", 1, "A song", "song.flac", fetch), GUARD_S)
            assert len(await face.get_all_downloads()) == 1

    run(main())
    with pytest.raises(TypeError, match="options"):
        aio.DownloadEngine(engine, idle_timeout=1.0)
    with pytest.raises(TypeError):
        aio.DownloadEngine(no_such_option=1)


# ---- the same answers ------------------------------------------------------------------------------------------------


def test_records(engine: haulier.DownloadEngine) -> None:
    async def main() -> None:
        async with aio.DownloadEngine(engine) as face:
            await face.add_record("host", "x", {"state": "InProgress", "n": 1})
            await face.update_record("host", "x", {"n": 2})
            assert await face.get_record("host", "x") == {"state": "InProgress", "n": 2}
            assert not await face.update_record_unless_state("host", "x", {"n": 3}, ("InProgress",))
            assert await face.update_record_unless_state("host", "x", {"n": 3})
            assert [record["n"] for record in await face.iter_records_for_source("host")] == [3]
            assert await face.get_download_status("x") == {"state": "InProgress", "n": 3}
            assert await face.get_all_downloads(exclude=["host"]) == []
            assert len(await face.get_all_downloads()) == 1
            assert await face.cancel_download("x", "host")
            assert not await face.cancel_download("x")
            assert await face.clear_all_completed_downloads() == 1
            await face.add_record("host", "y", {"state": "InProgress"})
            assert await face.remove_record("host", "y") == {"state": "InProgress"}
            assert await face.remove_record("host", "y") is None
        with pytest.raises(haulier.EngineClosed):
            await face.worker.dispatch("tidal", 1, "A song", "song.flac", fetch)
        assert await face.get_all_downloads() == []
        assert await face.clear_all_completed_downloads() == 0

    run(main())


def test_sources(face: aio.DownloadEngine, gatekeeper: Gatekeeper) -> None:
    async def main() -> None:
        await face.register_source("tidal", haulier.SourcePolicy(concurrency=2), gatekeeper, ["tidal_dl"])
        await face.pause("tidal")
        ids = [await face.worker.dispatch("tidal_dl", n, "A song", "song.flac") for n in range(3)]
        assert (await face.explain(ids[2]))["position"] == 2
        assert (await face.explain(ids[0]))["reason"] == "pause"
        await face.resume("tidal")
        await inside(gatekeeper, 2)
        await face.worker.set_concurrency("tidal", 3)
        await inside(gatekeeper, 3)
        await face.worker.set_delay("tidal", 0.001)
        assert (await face.stats())["tidal"]["delay"] == 0.001
        gatekeeper.open()
        ended = [record["id"] async for record in face.as_completed(ids, GUARD_S)]
        assert sorted(ended) == sorted(ids)
        await face.revive("tidal")
        await face.close()
        await face.close()

    run(main())


def test_a_coroutine_function_is_no_impl(face: aio.DownloadEngine) -> None:
    async def impl(download_id: str, target_id: Any, display_name: str) -> str:
        return "song.flac"

    class Impl:
        __call__ = staticmethod(impl)

    async def main() -> None:
        for each in (impl, Impl()):
            with pytest.raises(TypeError, match=r"^impl must be a function that blocks"):
                await face.register_source("tidal", None, each)
            with pytest.raises(TypeError, match=r"^impl_callable must be a function that blocks"):
                await face.worker.dispatch("tidal", 1, "A song", "song.flac", each)
        assert await face.get_all_downloads() == []

    run(main())


# ---- waiting ---------------------------------------------------------------------------------------------------------


def test_wait_does_not_block_the_loop(face: aio.DownloadEngine, gatekeeper: Gatekeeper) -> None:
    async def main() -> None:
        ids = [await face.worker.dispatch(f"source-{n}", n, "A song", "song.flac", gatekeeper) for n in range(40)]
        waits = [asyncio.create_task(face.wait(download_id)) for download_id in ids]
        await inside(gatekeeper, 40)
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
        await inside(gatekeeper)
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
        assert engine._system.ledger.watches.callbacks == {}

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
        await inside(gatekeeper, 1)
        waits = [asyncio.create_task(face.wait(download_id, GUARD_S)) for _ in range(2)]
        while len(face._engine._system.ledger.watches.callbacks.get(download_id, [])) < len(waits):
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
        await inside(gatekeeper)
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
        await inside(gatekeeper)
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


# ---- events ----------------------------------------------------------------------------------------------------------


def phases(events: list[haulier.Event], download_id: str) -> list[str]:
    return [e.phase for e in events if isinstance(e, haulier.Changed) and e.download_id == download_id]


def test_events_end_with_the_engine(face: aio.DownloadEngine) -> None:
    async def main() -> None:
        heard: list[haulier.Event] = []

        async def listen(events: aio.Events) -> None:
            async for event in events:
                heard.append(event)

        async with face.subscribe() as events:
            listening = asyncio.create_task(listen(events))
            ids = [await face.worker.dispatch("tidal", n, "A song", "song.flac", fetch) for n in range(500)]
            await face.close(drain=True)
            await listening
            with pytest.raises(StopAsyncIteration):
                await anext(events)
        for download_id in ids:
            assert phases(heard, download_id) == ["queued", "running", "succeeded"]

    run(main())


def test_who_does_not_listen_misses_its_own_events_only(face: aio.DownloadEngine) -> None:
    async def main() -> None:
        async with face.subscribe(capacity=10) as slow, face.subscribe() as fast:
            ids = [await face.worker.dispatch("tidal", n, "A song", "song.flac", fetch) for n in range(400)]
            heard: list[haulier.Event] = []
            while len(heard) < 1200:
                heard.append(await anext(fast))
            assert {tuple(phases(heard, download_id)) for download_id in ids} == {("queued", "running", "succeeded")}
            missed = 0
            read = 0
            while read + missed < 1200:
                event = await asyncio.wait_for(anext(slow), GUARD_S)
                missed += event.events if isinstance(event, haulier.Missed) else 0
                read += not isinstance(event, haulier.Missed)
            assert missed > 0
            assert read >= 10

    run(main())


def test_leaving_the_events_early(engine: haulier.DownloadEngine, face: aio.DownloadEngine) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="capacity"):
            face.subscribe(capacity=0)
        with pytest.raises(RuntimeError, match="enter it first"):
            await anext(face.subscribe())
        async with face.subscribe() as events:
            for n in range(400):  # more than it takes in hand
                await face.worker.dispatch("tidal", n, "A song", "song.flac", fetch)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.sleep(1)
            assert isinstance(await anext(events), haulier.Changed)
        subscribed = engine._system._subscriptions
        assert subscribed == ()
        await face.close()
        with pytest.raises(haulier.EngineClosed):
            async with face.subscribe():
                pass

    run(main())


# ---- the interpreter's end -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "last",
    [
        "face.get_record('tidal', '1')",
        "face.subscribe().__aenter__()",
        "asyncio.wait([asyncio.ensure_future(face.close(timeout=None))], timeout=0.01)",
    ],
)
def test_an_engine_that_nobody_closes_keeps_no_interpreter_alive(last: str) -> None:
    program = f"""
import asyncio, haulier.aio, threading
async def main():
    face = haulier.aio.DownloadEngine()
    kept.append(face)
    await face.worker.dispatch('tidal', 1, 'A song', 'song.flac', lambda *_: threading.Event().wait())
    await {last}
kept = []
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=GUARD_S, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
