"""The face for asyncio has each method of the engine and gives the same answers, events included."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.fronts.loops import fetch, run, wait_inside
from tests.waiting import GUARD_S

import haulier
from haulier import aio
from haulier._engine.worker import BackgroundDownloadWorker

if TYPE_CHECKING:
    from tests.waiting import Gatekeeper


OTHERWISE = {"subscribe"}
"""What arrives over time is iterated, with no callback."""


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
        await wait_inside(gatekeeper, 2)
        await face.worker.set_concurrency("tidal", 3)
        await wait_inside(gatekeeper, 3)
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
            with pytest.raises(TypeError, match=r"^impl must be a blocking function"):
                await face.register_source("tidal", None, each)
            with pytest.raises(TypeError, match=r"^impl_callable must be a blocking function"):
                await face.worker.dispatch("tidal", 1, "A song", "song.flac", each)
        assert await face.get_all_downloads() == []

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
        with pytest.raises(RuntimeError, match="subscribe first"):
            await anext(face.subscribe())
        async with face.subscribe() as events:
            for n in range(400):  # more than it takes in hand
                await face.worker.dispatch("tidal", n, "A song", "song.flac", fetch)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.sleep(1)
            assert isinstance(await anext(events), haulier.Changed)
        subscribed = engine._system.subscriptions
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
