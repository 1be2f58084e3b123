"""The end of an engine, on real threads and in real processes."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from typing import Any

import pytest
from tests.dispatching import dispatch
from tests.waiting import Gatekeeper

import haulier
from haulier import DownloadEngine, State


def run(program: str, *, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=timeout
    )


def polite(*_: Any) -> str:
    transfer = haulier.current_transfer()
    while not transfer.cancelled:
        threading.Event().wait(0.001)
    transfer.raise_if_cancelled()
    return "/x"


def test_close_ends_every_record_truthfully(engine: DownloadEngine) -> None:
    running, queued = dispatch(engine, polite), dispatch(engine, polite, 2)
    engine.close()
    for download_id in (running, queued):
        record = engine.get_download_status(download_id)
        assert record is not None
        assert (record["state"], record["error"], record["error_type"]) == (
            State.ERRORED,
            "engine closed",
            "EngineClosed",
        )
    engine.close()
    assert engine.wait(running)["state"] == State.ERRORED
    assert engine.cancel_download(running) is False
    engine.update_record("tidal", running, {"note": 1})
    assert engine.remove_record("tidal", running)["note"] == 1  # type: ignore[index]
    assert engine.clear_all_completed_downloads() == 1


def test_a_run_that_comes_to_its_end_in_time_counts(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    def fetch(*_: Any) -> str:
        while not haulier.current_transfer().cancelled:
            threading.Event().wait(0.001)
        return "/made it"

    download_id = dispatch(engine, fetch)
    engine.close()
    assert engine.get_download_status(download_id)["state"] == State.SUCCEEDED  # type: ignore[index]


def test_what_runs_on_is_given_up_and_fenced(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    download_id = dispatch(engine, gatekeeper)
    gatekeeper.wait_inside(1)
    engine.close(timeout=0.02)
    record = engine.get_download_status(download_id)
    assert record is not None
    assert (record["state"], record["error"]) == (State.ERRORED, "engine closed")
    slots = [thread for thread in threading.enumerate() if thread.name.startswith("haulier-tidal")]
    gatekeeper.open()
    for thread in slots:
        thread.join(10)
        assert not thread.is_alive()
    assert engine.get_download_status(download_id) == record


def test_drain_finishes_the_queue_first(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    ids = [dispatch(engine, gatekeeper, n, source=f"s{n % 3}") for n in range(30)]
    gatekeeper.open()
    engine.close(drain=True)
    assert {engine.get_download_status(i)["state"] for i in ids} == {State.SUCCEEDED}  # type: ignore[index]
    with pytest.raises(haulier.EngineClosed):
        dispatch(engine, gatekeeper)


def test_drain_does_not_wait_for_what_a_pause_holds_back(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    engine.register_source("tidal")
    engine.pause("tidal")
    download_id = dispatch(engine, gatekeeper)
    engine.close(drain=True)
    assert engine.get_download_status(download_id)["error"] == "engine closed"  # type: ignore[index]


def test_leaving_the_with_closes() -> None:
    with DownloadEngine() as engine:
        assert engine.wait(dispatch(engine, lambda *_: "/x"), 10)["state"] == State.SUCCEEDED
    with pytest.raises(haulier.EngineClosed):
        dispatch(engine, lambda *_: "/x")


def test_close_from_an_impl_and_from_a_callback(make_engine: Any) -> None:
    engine = make_engine()
    closed = threading.Event()

    def closes(*_: Any) -> str:
        engine.close()
        closed.set()
        return "/x"

    download_id = dispatch(engine, closes)
    assert closed.wait(10)
    while engine.get_download_status(download_id)["phase"] == "running":
        threading.Event().wait(0.001)
    assert engine.get_download_status(download_id)["state"] == State.SUCCEEDED

    engine, closed = make_engine(), threading.Event()

    def callback(event: haulier.Event) -> None:
        if getattr(event, "phase", "") == "succeeded":
            engine.close()
            closed.set()

    engine.subscribe(callback)
    dispatch(engine, lambda *_: "/x")
    assert closed.wait(10)


def test_close_by_many_at_once(engine: DownloadEngine, at_once: Any) -> None:
    ids = [dispatch(engine, polite, n, source=f"s{n % 4}") for n in range(20)]
    at_once(*[engine.close] * 6)
    assert {engine.get_download_status(i)["state"] for i in ids} == {State.ERRORED}  # type: ignore[index]


def test_dispatch_races_close(make_engine: Any, at_once: Any) -> None:
    """What was accepted has a record that ends; what was refused has none."""
    for _ in range(20):
        engine = make_engine()

        def many(engine: Any = engine) -> list[str]:
            accepted = []
            try:
                for n in range(2000):
                    accepted.append(dispatch(engine, lambda *_: "/x", n, source=f"s{n % 3}"))
            except haulier.EngineClosed:
                pass
            return accepted

        *accepted, _ = at_once(many, many, engine.close)
        ids = [download_id for part in accepted for download_id in part]
        records = {r["id"]: r for r in engine.get_all_downloads()}
        assert set(ids) <= set(records)
        assert {r["phase"] for r in records.values()} <= {"succeeded", "failed"}


def test_a_program_that_never_closes_still_exits() -> None:
    done = run(
        "import haulier, threading\n"
        "engine = haulier.DownloadEngine()\n"
        "busy = engine.worker.dispatch('a', 1, 'n', 'f', lambda *a: threading.Event().wait())\n"
        "engine.worker.dispatch('a', 1, 'n', 'f', lambda *a: '/x')\n"
        "engine.wait(engine.worker.dispatch('b', 1, 'n', 'f', lambda *a: '/x'), 10)\n"
        "print('bye')\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "bye\n", "")


def test_an_engine_that_is_dropped_finishes_and_gives_its_threads_back(gatekeeper: Gatekeeper) -> None:
    engine = DownloadEngine()
    dispatch(engine, gatekeeper)
    gatekeeper.wait_inside(1)
    threads = [t for t in threading.enumerate() if t.name.startswith("haulier")]
    assert len(threads) == 3
    del engine
    gc.collect()
    gatekeeper.open()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert len(gatekeeper.spans) == 1


def test_an_engine_that_is_closed_leaves_nothing_in_memory() -> None:
    """Also where its impl refers to it, as most do, and its supervisor still had time-outs to look after."""
    engine = DownloadEngine()
    engine.register_source("tidal", haulier.SourcePolicy(timeout=3600.0), lambda *_, mine=engine: f"/{mine}")
    engine.wait(engine.worker.dispatch("tidal", 1, "n", "f"), 10)
    engine.close()
    alive = weakref.ref(engine)
    del engine
    gc.collect()
    assert alive() is None


def test_an_engine_that_is_dropped_does_not_wait_for_what_nobody_can_resume() -> None:
    before = set(threading.enumerate())
    engine = DownloadEngine()
    engine.register_source("tidal")
    engine.pause("tidal")
    dispatch(engine, lambda *_: "/x")
    threads = set(threading.enumerate()) - before
    assert len(threads) == 2
    del engine
    gc.collect()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_an_engine_that_is_dropped_lets_its_subscribers_go(gatekeeper: Gatekeeper) -> None:
    heard: list[haulier.Event] = []
    before = set(threading.enumerate())
    engine = DownloadEngine()
    engine.subscribe(heard.append)
    dispatch(engine, gatekeeper)
    gatekeeper.wait_inside(1)
    threads = set(threading.enumerate()) - before
    assert len(threads) == 4
    del engine
    gc.collect()
    gatekeeper.open()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert [getattr(event, "phase", "") for event in heard] == ["queued", "running", "succeeded"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_gets_a_clear_error() -> None:
    done = run(
        "import os, warnings, haulier\n"
        "warnings.simplefilter('ignore')\n"
        "engine = haulier.DownloadEngine()\n"
        "ids = [engine.worker.dispatch('a', 1, 'n', 'f', lambda *a: '/x') for _ in range(2)]\n"
        "half = engine.as_completed(ids, 10)\n"
        "next(half)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    errors = 0\n"
        "    for call in (engine.get_all_downloads, engine.close, engine.stats, lambda: next(half),\n"
        "                 lambda: engine.worker.dispatch('a', 1, 'n', 'f', lambda *a: '/x')):\n"
        "        try: call()\n"
        "        except haulier.ForkedEngine: errors += 1\n"
        "    with haulier.DownloadEngine() as mine:\n"
        "        mine.wait(mine.worker.dispatch('a', 1, 'n', 'f', lambda *a: '/x'), 10)\n"
        "    os._exit(errors)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    assert (done.stdout, done.stderr) == ("5\n", "")
